"""What several commands take: a store, a duration, a queue, JSON, leave to destroy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, TypeVar

import click

from workqueue.arguments import LARGEST_ID
from workqueue.cli import configuration
from workqueue.cli.command import StoreArgument
from workqueue.cli.completion import complete_names, complete_paths, complete_queues
from workqueue.duration import parse_duration
from workqueue.errors import InvalidOption, UsageError
from workqueue.store import is_url, open_existing
from workqueue.store.contract import Store
from workqueue.words import printable

_F = TypeVar("_F", bound=Callable[..., object])


def _as_duration(ctx: click.Context, param: click.Parameter, value: str | None) -> timedelta | None:
    try:
        return None if value is None else parse_duration(value)
    except InvalidOption as error:
        raise click.BadParameter(str(error), ctx, param) from error


def as_path(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Take the path of a file, or the URL of a database. What is wrong with a URL is told without it: a password."""
    if value == ":memory:":
        raise click.BadParameter("expected a file, got: ':memory:', which no other process can see", ctx, param)
    if not value or "\0" in value:
        raise click.BadParameter(f"expected the path of a file, got: {'' if '://' in value else value!r}", ctx, param)
    scheme, separator, _ = value.partition("://")
    if separator and not is_url(value):
        raise click.BadParameter(
            f"expected the path of a file, or a URL that begins with postgresql://, got: {scheme}://…", ctx, param
        )
    return value


def _as_queue(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    del param
    return value if value is not None or ctx.resilient_parsing else configuration.queue()


def duration_option(name: str, text: str) -> Callable[[_F], _F]:
    """Make an option that takes 10m, 1h30m, 250ms and gives a timedelta."""
    return click.option(name, metavar="DURATION", callback=_as_duration, help=text)


def id_option(name: str, text: str) -> Callable[[_F], _F]:
    """Make an option that takes an id, or 0, as a bound."""

    def checked(ctx: click.Context, param: click.Parameter, value: int | None) -> int | None:
        if value is not None and not 0 <= value <= LARGEST_ID:
            raise click.BadParameter(f"expected the id of a job, or 0, got: {value}", ctx, param)
        return value

    return click.option(name, type=int, metavar="ID", callback=checked, help=text)


def store_argument(name: str, metavar: str) -> Callable[[_F], _F]:
    """Make the first argument of a `Command`, which the configuration may stand in for."""
    return click.argument(
        name, cls=StoreArgument, metavar=f"[{metavar}]", callback=as_path, shell_complete=complete_paths
    )


ID: Final = click.IntRange(1, LARGEST_ID)
file_argument = store_argument("file", "FILE")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
queue_option = click.option(
    "--queue", metavar="ID", shell_complete=complete_queues, help="Only this queue of the file."
)
its_queue_option = click.option(
    "--queue",
    metavar="ID",
    callback=_as_queue,
    shell_complete=complete_queues,
    help="The queue of the file.  [default: that of pyproject.toml, else default]",
)
name_option = click.option("--name", shell_complete=complete_names, help="Only jobs of this name.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@contextmanager
def existing(file: str) -> Generator[Store]:
    """Open the file of a queue for one command; never makes one."""
    store = open_existing(file, allow_network=network_allowed())
    try:
        yield store
    finally:
        store.close()


def network_allowed() -> bool:
    """Say whether `--allow-network` was given before the command."""
    return bool(click.get_current_context().find_root().params.get("allow_network"))


def ask(question: str) -> None:
    """Ask on the terminal before something is destroyed; anything but yes ends the command.

    Raises UsageError where there is no terminal to ask on.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"expected --yes, because there is no terminal to ask on. {question}")
    click.confirm(printable(question), abort=True, err=True)
