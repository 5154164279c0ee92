"""copy, reopen, migrate: what people do with a whole store."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from workqueue.cli.options import as_path, existing, file_argument, json_option, network_allowed
from workqueue.cli.output import complain, printable, say, say_json, table
from workqueue.store import copying, is_url, migrate_schema, open_store
from workqueue.store.contract import Store

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar


@click.command()
@click.argument("source", callback=as_path)
@click.argument("target", callback=as_path)
@click.option("--verify", is_flag=True, help="Compare all rows of both sides, before the target is opened.")
@click.option(
    "--while-running", is_flag=True, help="Copy what there is just now, and leave SOURCE in use: a snapshot, no move."
)
@json_option
@click.pass_context
def copy(ctx: click.Context, source: str, target: str, *, verify: bool, while_running: bool, as_json: bool) -> None:
    """Move all of SOURCE into TARGET: files or postgresql:// URLs.

    The ids stay. SOURCE is shut, and TARGET takes workers in when all is there. Interrupted, say it again: it goes on.
    """
    began = time.monotonic()
    with existing(source) as from_there, _opened(target) as to_here, _progress() as tell:
        found = copying.copy(from_there, to_here, while_running=while_running, verify=verify, tell=tell)
        paths = from_there.path, to_here.path
    seconds = time.monotonic() - began
    wrong = [one for one in found.sums or () if not one.is_alike]
    if as_json:
        say_json(
            {
                "source": printable(paths[0]),
                "target": printable(paths[1]),
                "jobs": found.jobs,
                "handed_back": found.handed_back,
                "went_on": found.went_on,
                "before": found.before,
                "seconds": round(seconds, 3),
                "sums": found.sums,
            }
        )
    else:
        _say_for_people(found, paths, seconds, verify=verify, while_running=while_running)
    if wrong:
        complain(
            f"{len(wrong)} sums differ: {paths[1]} stays shut; report this. `workqueue reopen {paths[0]}` gives it up"
        )
        ctx.exit(1)


def _say_for_people(
    found: copying.Copied, paths: tuple[str, str], seconds: float, *, verify: bool, while_running: bool
) -> None:
    source, target = paths
    if found.before:
        say(f"{source} was copied into {target} before; nothing was changed")
        return
    if found.went_on:
        say("went on with a copy that had been interrupted")
    rate = f", {found.jobs / seconds:,.0f} a second" if found.jobs else ""
    say(f"copied {found.jobs:,} jobs from {source} into {target} in {seconds:.1f} s{rate}")
    if found.handed_back:
        say(f"{found.handed_back:,} jobs that ran wait again")
    if found.sums is not None:
        table(
            ["TABLE", "QUEUE", "ROWS", "CHECKSUM", "ROWS COPIED", "ITS CHECKSUM", ""],
            [
                [s.table, s.queue, s.rows, s.checksum, s.rows_copied, s.checksum_copied, "" if s.is_alike else "WRONG"]
                for s in found.sums
            ],
        )
    elif verify:
        say("not compared: the copy that was interrupted had got past that")
    if while_running:
        say("note: this is a snapshot. What has run in the source since runs again in the target if that is worked on")
    else:
        say(f"note: {source} takes no jobs and no workers any more; `workqueue reopen` would change that")


@contextmanager
def _opened(target: str) -> Generator[Store]:
    """Open the target, made when missing."""
    if not is_url(target) and os.path.exists(target):
        with existing(target) as there:
            yield there
        return
    store = open_store(target, allow_network=network_allowed())
    try:
        yield store
    finally:
        store.close()


class _Progress:
    """A bar on a terminal for each thing that is done."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._what = ""
        self._bar: ProgressBar[int] | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._bar is None or what != self._what:
            self._stack.close()
            self._what = what
            bar: ProgressBar[int] = click.progressbar(
                length=total, label=what, file=sys.stderr, hidden=not sys.stderr.isatty(), show_pos=True
            )
            self._bar = self._stack.enter_context(bar)
        self._bar.update(done - self._bar.pos)


@contextmanager
def _progress() -> Generator[_Progress]:
    with ExitStack() as stack:
        yield _Progress(stack)


@click.command()
@file_argument
@click.pass_context
def reopen(ctx: click.Context, file: str) -> None:
    """Let FILE take jobs and workers again after `copy` has moved them, or was interrupted.

    What was copied stays where it is, too: whoever works on both runs those jobs twice.
    """
    with existing(file) as store:
        moves = store.overview().moves
        done = copying.reopen(store)
        path = store.path
    if not done:
        complain(f"{path} was not moved; nothing was changed")
        ctx.exit(1)
    say(f"{path} takes jobs and workers again")
    for move in moves:
        say(f"note: before, {move}")


@click.command()
@click.argument("url", callback=as_path)
@click.option("--grant", metavar="ROLE", multiple=True, help="Let this role do all but change the tables.")
def migrate(url: str, *, grant: tuple[str, ...]) -> None:
    """Make the tables of workqueue in the database URL, or bring them up to date, as a role that may.

    A file needs none of this: it is brought up to date when it is opened.
    """
    if not is_url(url):
        raise click.BadParameter("expected a postgresql:// URL; a file is brought up to date when it is opened")
    for line in migrate_schema(url, grant):
        say(line)
