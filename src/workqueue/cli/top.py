"""top: the monitor, live on a terminal; or one frame of it, for scripts."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from datetime import timedelta
from typing import Final

import click

from workqueue.cli.command import Command, examples
from workqueue.cli.options import duration_option, file_argument, json_option, network_allowed
from workqueue.cli.output import say, say_json, table
from workqueue.errors import UsageError

_INTERVAL: Final = timedelta(seconds=1)
_SHORTEST: Final = timedelta(milliseconds=100)
_LONGEST: Final = timedelta(hours=1)
_FOR_EVER: Final = 3600.0  # seconds; one frame is worth the wait


@click.command(
    cls=Command,
    short_help="Watch it all live, and act by keys.",
    epilog=examples(
        "workqueue top jobs.db",
        "workqueue top postgresql://me@host/jobs --interval 5s",
        "workqueue top jobs.db --once --json | jq '.failures[0].message'",
    ),
)
@file_argument
@duration_option("--interval", "How long from one look to the next.  [default: 1s]")
@click.option("--once", is_flag=True, help="Print what there is to see, and end; needs no terminal, and no extra.")
@json_option
def top(file: str, *, interval: timedelta | None, once: bool, as_json: bool) -> None:
    """Watch the queues, tasks, runners and failures of FILE live; look into jobs, retry, cancel, pause, by keys.

    It asks before it changes anything.
    """
    between = _INTERVAL if interval is None else interval
    if not _SHORTEST <= between <= _LONGEST:
        raise click.BadParameter(f"expected 100ms to 1h, got: {between.total_seconds():g}s", param_hint="--interval")
    if as_json and not once:
        raise click.UsageError("expected --once beside --json")
    if not once and not _is_terminal():
        raise UsageError(
            "expected a terminal to draw on, which this is not; say `workqueue status`, or `workqueue top --once`"
        )
    from workqueue import monitor

    with closing(monitor.Desk(file, period=between.total_seconds(), allow_network=network_allowed())) as desk:
        if not once:
            monitor.watch(desk, between)
        elif as_json:
            say_json(monitor.record(desk.frame(_FOR_EVER)))
        else:
            for number, (columns, rows) in enumerate(monitor.tables(desk.frame(_FOR_EVER))):
                if number:
                    say()
                table(columns, rows)


def _is_terminal() -> bool:
    streams = (sys.stdin, sys.stdout, sys.stderr)  # textual draws on the last of them
    return all(stream.isatty() for stream in streams) and os.environ.get("TERM", "") not in ("", "dumb")
