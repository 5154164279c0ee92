"""push, cancel, retry, restore, clean: what people change in a file: jobs that they name, or all that match."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import click
import msgspec

from workqueue import payload
from workqueue.cli.codes import Code
from workqueue.cli.command import Command, examples
from workqueue.cli.completion import complete_names
from workqueue.cli.filters import Filters, filter_options
from workqueue.cli.options import (
    ID,
    ask,
    duration_option,
    existing,
    file_argument,
    its_queue_option,
    network_allowed,
    yes_option,
)
from workqueue.cli.output import complain, say
from workqueue.cli.progress import progress
from workqueue.errors import JobNotFound, UsageError
from workqueue.job import Job, JobStatus
from workqueue.lifecycle import WAITING
from workqueue.queue import Queue
from workqueue.store import durability_found
from workqueue.store.contract import Store
from workqueue.store.paging import DONE_TO, Deed, Find, Page, changes

_AT_ONCE: Final = 500  # jobs in one transaction
_OPEN: Final = sorted(DONE_TO["cancel"])
_RESTORABLE: Final = sorted(DONE_TO["restore"])
_UNKNOWN: Final = "workqueue: an id was not known"  # in the context's meta
_NOTHING: Final = Page([], None)
_DOING: Final = {"cancel": "cancelling", "retry": "retrying", "restore": "restoring", "delete": "deleting"}
_ids = click.argument("job_ids", type=ID, nargs=-1, metavar="[ID...]")


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
    kept = durability_found(file)
    with Queue(file, id=queue, timing=timing, durability=kept, allow_network=network_allowed()) as target:
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
    cls=Command,
    short_help="Cancel jobs.",
    epilog=examples(
        "workqueue cancel jobs.db 17 18",
        "workqueue cancel jobs.db --name mail --text ada@example.org",
        "workqueue cancel --queue crawl --status pending --yes",
    ),
)
@file_argument
@_ids
@filter_options(*_OPEN)
@yes_option
@click.pass_context
def cancel(ctx: click.Context, file: str, job_ids: tuple[int, ...], *, filters: Filters, yes: bool) -> None:
    """Cancel the jobs ID... of FILE, or all that match: waiting ones at once; of a running one, its handler is told.

    It asks before it cancels what matches.
    """
    filters.check(job_ids, alone=False)
    with existing(file) as store:
        if job_ids:
            _leave(ctx, [_cancelled(store, job) for job in _each(store, job_ids)])
            return
        if not yes:
            ask(f"Cancel {filters.question(store, _OPEN)}?")
        _say_changed(ctx, "cancelled", _change_all(store, [filters.find()], "cancel"))


def _cancelled(store: Store, job: Job) -> bool:
    if not store.cancel(job.id):
        say(f"{job.id}: was settled already")
        return False
    say(f"{job.id}: {'runs; its handler is told' if job.status is JobStatus.RUNNING else 'cancelled'}")
    return True


@click.command(
    cls=Command,
    short_help="Run jobs again, now.",
    epilog=examples(
        "workqueue retry jobs.db 17",
        "workqueue retry jobs.db --status retrying       # the server is back: wait for no backoff",
        "workqueue retry --name mail --text 'ConnectionError'",
    ),
)
@file_argument
@_ids
@filter_options(*_RESTORABLE, JobStatus.PENDING, JobStatus.RETRYING)
@click.pass_context
def retry(ctx: click.Context, file: str, job_ids: tuple[int, ...], *, filters: Filters) -> None:
    """Run the jobs ID... of FILE again now, or all that match: those that wait for their time are due.

    What failed or was cancelled is restored, with fresh counters; those of the others stay as they are. Without
    --status the retrying and the failed ones are meant.
    """
    filters.check(job_ids, alone=False)
    with existing(file) as store:
        if job_ids:
            _leave(ctx, [_retried(store, job) for job in _each(store, job_ids)])
            return
        statuses = [JobStatus.RETRYING, JobStatus.FAILED] if filters.status is None else [filters.status]
        _say_changed(ctx, "retried", _change_all(store, [filters.find(status) for status in statuses], "retry"))


def _retried(store: Store, job: Job) -> bool:
    if store.change(Find.only(job.id), "retry").count:
        say(f"{job.id}: {'due now' if job.status in WAITING else 'waits again, due now'}")
        return True
    if job.status in _RESTORABLE:
        say(f"{job.id}: another job has its key by now; `workqueue why` says which")
    else:
        state = {JobStatus.RUNNING: "runs already", JobStatus.COMPLETED: "has completed"}
        say(f"{job.id}: {state.get(job.status, 'is due already')}")
    return False


@click.command(
    cls=Command,
    short_help="Let failed or cancelled jobs wait again.",
    epilog=examples(
        "workqueue restore jobs.db 17",
        "workqueue restore jobs.db --queue mail          # all that failed there",
        "workqueue restore --status cancelled --name mail",
    ),
)
@file_argument
@_ids
@filter_options(*_RESTORABLE)
@click.pass_context
def restore(ctx: click.Context, file: str, job_ids: tuple[int, ...], *, filters: Filters) -> None:
    """Make failed jobs of FILE wait again, due now, with fresh counters: all, those that match, or those named.

    Cancelled ones too where they are named, or --status says so.
    """
    filters.check(job_ids, alone=True, but_queue=True)
    with existing(file) as store:
        if job_ids:
            done = sum(store.restore(of, ids) for of, ids in _by_queue(store, job_ids, filters.queue).items())
        else:
            done = _change_all(store, [filters.find(JobStatus.FAILED)], "restore")
    _say_changed(ctx, "restored", done)


def _by_queue(store: Store, job_ids: tuple[int, ...], queue: str | None) -> dict[str, list[int]]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    for job_id in dict.fromkeys(job_ids):
        job = store.get(job_id)
        if queue not in (None, job.queue):
            raise UsageError(f"expected a job of queue {queue!r}, but job {job_id} is in queue {job.queue!r}")
        found[job.queue].append(job_id)
    return found


@click.command(
    cls=Command,
    short_help="Delete jobs that are over.",
    epilog=examples(
        "workqueue clean jobs.db",
        "workqueue clean jobs.db 17 18",
        "workqueue clean jobs.db --status cancelled --queue mail --yes",
    ),
)
@file_argument
@_ids
@filter_options(*_RESTORABLE, JobStatus.COMPLETED)
@yes_option
@click.pass_context
def clean(ctx: click.Context, file: str, job_ids: tuple[int, ...], *, filters: Filters, yes: bool) -> None:
    """Delete jobs of FILE that are over, for good: all that failed, those that match, or those named. It asks.

    Without --status the failed ones are meant.
    """
    filters.check(job_ids, alone=True)
    with existing(file) as store:
        if job_ids:
            jobs = list(_each(store, job_ids))
            if jobs and not yes:
                ask(f"Delete jobs {', '.join(str(job.id) for job in jobs)} of {store.path} for good?")
            _leave(ctx, [_deleted(store, job) for job in jobs])
            return
        which = filters.find(JobStatus.FAILED)
        if not yes and store.find(msgspec.structs.replace(which, limit=1)) != _NOTHING:
            ask(f"Delete {filters.question(store, [JobStatus.FAILED])} for good?")
        say(f"deleted {_change_all(store, [which], 'delete'):,}")


def _deleted(store: Store, job: Job) -> bool:
    done = store.change(Find.only(job.id), "delete").count
    say(f"{job.id}: {'deleted' if done else f'is {job.status}, and was not deleted; cancel it first'}")
    return bool(done)


# one by one


def _each(store: Store, job_ids: tuple[int, ...]) -> Iterator[Job]:
    """Give those that are there; complain of the others."""
    ctx = click.get_current_context()
    for job_id in dict.fromkeys(job_ids):
        try:
            yield store.get(job_id)
        except JobNotFound as error:
            ctx.meta[_UNKNOWN] = True
            complain(str(error))


def _leave(ctx: click.Context, done: list[bool]) -> None:
    """End with the code that says whether all ids were known, and anything was done."""
    if ctx.meta.get(_UNKNOWN):
        ctx.exit(Code.USAGE)
    if not any(done):
        ctx.exit(Code.NO)


# all that match


def _change_all(store: Store, which: list[Find], deed: Deed) -> int:
    """Do it to all that match, some hundred at a time; give how many."""
    done = 0
    with progress() as tell:
        for meant in which:
            following = msgspec.structs.replace(meant, limit=_AT_ONCE, newest_first=True)
            first = 0  # how far it is is told by the ids, which come downwards from here
            for changed in changes(store.change, following, deed):
                done += changed.count
                if changed.next is not None:
                    first = first or changed.next
                    tell(_DOING[deed], first - changed.next, first)
    return done


def _say_changed(ctx: click.Context, word: str, done: int) -> None:
    say(f"{word} {done:,}")
    if not done:
        ctx.exit(Code.NO)
