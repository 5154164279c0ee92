"""copy, reopen, migrate: what people do with a whole store."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from contextlib import contextmanager

import click

from workqueue.cli.codes import Code
from workqueue.cli.command import NAMED_BY, Command, examples
from workqueue.cli.completion import complete_paths
from workqueue.cli.options import (
    as_path,
    ask,
    existing,
    file_argument,
    json_option,
    network_allowed,
    store_argument,
    yes_option,
)
from workqueue.cli.output import complain, say, say_json, table
from workqueue.cli.progress import progress
from workqueue.duration import times
from workqueue.store import copying, is_url, migrate_schema, open_store
from workqueue.store.contract import Store
from workqueue.words import printable


@click.command(
    cls=Command,
    short_help="Move a file or a database into another one.",
    epilog=examples(
        "workqueue copy jobs.db postgresql://me@host/jobs --verify",
        "workqueue copy 'postgresql://me@host/jobs?schema=mail' back.db",
        "workqueue copy jobs.db snapshot.db --while-running",
    ),
)
@store_argument("source", "SOURCE")
@click.argument("target", callback=as_path, shell_complete=complete_paths)
@click.option("--verify", is_flag=True, help="Compare all rows of both sides, before the target is opened.")
@click.option(
    "--while-running", is_flag=True, help="Copy what there is just now, and leave SOURCE in use: a snapshot, no move."
)
@json_option
@yes_option
@click.pass_context
def copy(
    ctx: click.Context, source: str, target: str, *, verify: bool, while_running: bool, as_json: bool, yes: bool
) -> None:
    """Move all of SOURCE into TARGET: files or postgresql:// URLs.

    The ids stay. SOURCE is shut, and TARGET takes workers in when all is there. Interrupted, say it again: it goes on.
    It asks where SOURCE was not said.
    """
    with existing(source) as from_there:
        if NAMED_BY in ctx.meta and not (while_running or yes):  # who says one path alone may mean a snapshot
            ask(f"Move all of {from_there.path}, and shut it for jobs and workers?")
        began = time.monotonic()
        with _opened(target) as to_here, progress() as tell:
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
        ctx.exit(Code.NO)


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
    say(f"copied {times(found.jobs, 'job')} from {source} into {target} in {seconds:.1f} s{rate}")
    if found.handed_back:
        say(f"{times(found.handed_back, 'job')} that ran wait{'s' if found.handed_back == 1 else ''} again")
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


@click.command(cls=Command, short_help="Take a move back.", epilog=examples("workqueue reopen jobs.db"))
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
        ctx.exit(Code.NO)
    say(f"{path} takes jobs and workers again")
    for move in moves:
        say(f"note: before, {move}")


@click.command(
    cls=Command,
    short_help="Make or upgrade the tables in a database.",
    epilog=examples(
        "workqueue migrate postgresql://owner@host/jobs",
        "workqueue migrate postgresql://owner@host/jobs --grant worker",
    ),
)
@store_argument("url", "URL")
@click.option("--grant", metavar="ROLE", multiple=True, help="Let this role do all but change the tables.")
def migrate(url: str, *, grant: tuple[str, ...]) -> None:
    """Make the tables of workqueue in the database URL, or bring them up to date, as a role that may.

    A file needs none of this: it is brought up to date when it is opened.
    """
    if not is_url(url):
        raise click.BadParameter("expected a postgresql:// URL; a file is brought up to date when it is opened")
    for line in migrate_schema(url, grant):
        say(line)
