"""push, cancel, restore, clean: what people change in a file."""

from __future__ import annotations

import sys
from collections import defaultdict
from datetime import datetime, timedelta

import click
import msgspec

from workqueue import payload
from workqueue.cli.codes import Code
from workqueue.cli.command import Command, examples
from workqueue.cli.completion import complete_names
from workqueue.cli.options import (
    ID,
    ask,
    duration_option,
    existing,
    file_argument,
    its_queue_option,
    network_allowed,
    queue_option,
    yes_option,
)
from workqueue.cli.output import complain, say
from workqueue.errors import JobNotFound, UsageError
from workqueue.job import JobStatus
from workqueue.queue import Queue
from workqueue.store.contract import Store


@click.command(
    cls=Command,
    short_help="Store a job.",
    epilog=examples(
        """workqueue push jobs.db mail '{"to": "ada@example.org"}'""",
        "workqueue push jobs.db report '[2030, 1]' --at 2030-01-31T12:00+01:00",
        "workqueue push mail - --after 10m --priority 5 < mail.json",
    ),
)
@file_argument
@click.argument("name", shell_complete=complete_names)
@click.argument("json_text", metavar="JSON")
@duration_option("--after", "Not before this long from now: 10m, 1h30m, 250ms.")
@click.option("--at", metavar="ISO", help="Not before this instant: 2030-01-31T12:00+01:00.")
@click.option("--priority", type=int, default=0, show_default=True, help="Higher runs first.")
@its_queue_option
@click.option("--timing", is_flag=True, help="For a queue that runs the earliest first (Queue(timing=True)).")
def push(
    file: str,
    *,
    name: str,
    json_text: str,
    after: timedelta | None,
    at: str | None,
    priority: int,
    queue: str,
    timing: bool,
) -> None:
    """Store a job NAME with the data JSON (- reads it from stdin), and print its id. FILE is made when missing."""
    if after is not None and at is not None:
        raise click.UsageError("expected --after or --at, got both")
    run_at = None if at is None else _instant(at)
    data = sys.stdin.buffer.read() if json_text == "-" else json_text.encode("utf-8", "surrogateescape")
    payload.decode(data)
    obj = msgspec.Raw(data.strip())  # these very bytes: 1.10 stays 1.10
    with Queue(file, id=queue, timing=timing, allow_network=network_allowed()) as target:
        if after is None:
            job_id = target.push(name, obj, run_at=run_at, priority=priority)
        else:
            job_id = target.push_after(name, obj, after, priority=priority)
    say(str(job_id))


def _instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.utcoffset() is None:
        raise click.BadParameter(
            f"expected an instant with its offset from UTC, such as 2030-01-31T12:00+01:00 or 2030-01-31T12:00Z, "
            f"got: {text!r}",
            param_hint="--at",
        )
    return found


@click.command(
    cls=Command, short_help="Cancel jobs.", epilog=examples("workqueue cancel jobs.db 17 18", "workqueue cancel 17")
)
@file_argument
@click.argument("job_ids", type=ID, nargs=-1, required=True, metavar="ID...")
@click.pass_context
def cancel(ctx: click.Context, file: str, job_ids: tuple[int, ...]) -> None:
    """Cancel the jobs ID... of FILE: waiting ones at once; of a running one, its handler is told."""
    cancelled = unknown = 0
    with existing(file) as store:
        for job_id in dict.fromkeys(job_ids):
            try:
                ran = store.get(job_id).status is JobStatus.RUNNING
                if store.cancel(job_id):
                    cancelled += 1
                    say(f"{job_id}: {'runs; its handler is told' if ran else 'cancelled'}")
                else:
                    say(f"{job_id}: was settled already")
            except JobNotFound as error:
                unknown += 1
                complain(str(error))
    if unknown or not cancelled:
        ctx.exit(Code.USAGE if unknown else Code.NO)


@click.command(
    cls=Command,
    short_help="Let failed or cancelled jobs wait again.",
    epilog=examples("workqueue restore jobs.db 17", "workqueue restore jobs.db --queue mail   # all that failed there"),
)
@file_argument
@click.argument("job_ids", type=ID, nargs=-1, metavar="[ID...]")
@queue_option
@click.pass_context
def restore(ctx: click.Context, file: str, job_ids: tuple[int, ...], *, queue: str | None) -> None:
    """Make failed jobs of FILE wait again, due now: all of them, or those named (cancelled ones too)."""
    with existing(file) as store:
        if job_ids:
            restored = sum(store.restore(of, ids) for of, ids in _by_queue(store, job_ids, queue).items())
        else:
            restored = sum(store.restore(of, None) for of in _queues(store, queue))
    say(f"restored {restored}")
    if not restored:
        ctx.exit(Code.NO)


def _by_queue(store: Store, job_ids: tuple[int, ...], queue: str | None) -> dict[str, list[int]]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    for job_id in dict.fromkeys(job_ids):
        job = store.get(job_id)
        if queue not in (None, job.queue):
            raise UsageError(f"expected a job of queue {queue!r}, but job {job_id} is in queue {job.queue!r}")
        found[job.queue].append(job_id)
    return found


def _queues(store: Store, queue: str | None) -> list[str]:
    return [found.queue for found in store.overview().queues] if queue is None else [queue]


@click.command(
    cls=Command,
    short_help="Delete jobs that are over.",
    epilog=examples("workqueue clean jobs.db", "workqueue clean jobs.db --status cancelled --queue mail --yes"),
)
@file_argument
@click.option("--status", "which", type=click.Choice(["failed", "cancelled"]), default="failed", show_default=True)
@queue_option
@yes_option
def clean(file: str, *, which: str, queue: str | None, yes: bool) -> None:
    """Delete the failed (or cancelled) jobs of FILE for good."""
    status = JobStatus[which.upper()]
    with existing(file) as store:
        counts = {
            found.queue: found.failed if status is JobStatus.FAILED else found.cancelled
            for found in store.overview().queues
            if queue in (None, found.queue)
        }
        if any(counts.values()):
            ask(_question(store.path, which, counts), yes=yes)
        say(f"deleted {sum(store.clean(name, status) for name, count in counts.items() if count)}")


def _question(path: str, which: str, counts: dict[str, int]) -> str:
    queues = ", ".join(f"{count:,} of queue {name!r}" for name, count in counts.items() if count)
    return f"Delete {which} jobs of {path} for good: {queues}?"
