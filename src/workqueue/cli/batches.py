"""batches: jobs that belong together: how far they are, and the end of what is left of one."""

from __future__ import annotations

import click
import msgspec

from workqueue.cli.codes import Code
from workqueue.cli.command import LIST, Command, Listing, examples
from workqueue.cli.options import ID, ask, existing, file_argument, id_option, json_option, yes_option
from workqueue.cli.output import complain, facts, say, say_json, table
from workqueue.duration import times
from workqueue.store.batching import BatchStanding

_batch_id = click.argument("batch_id", type=ID, metavar="ID")


@click.group(
    cls=Listing,
    short_help="List batches; show or cancel one.",
    epilog=examples(
        "workqueue batches jobs.db",
        "workqueue batches show jobs.db 7",
        "workqueue batches cancel jobs.db 7",
    ),
)
def batches() -> None:
    """List the batches of a file with how far they are; or show or cancel one.

    A program makes one by `queue.batch()`. A week after its end it is forgotten.
    """


@batches.command(
    LIST,
    cls=Command,
    short_help="List them; what `batches` alone does.",
    epilog=examples("workqueue batches jobs.db --limit 20 --before 140", "workqueue batches --json | jq '.[].left'"),
)
@file_argument
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="At most so many.")
@id_option("--before", "Only ids below this one.")
@json_option
def list_batches(file: str, *, limit: int, before: int | None, as_json: bool) -> None:
    """List the batches of FILE, the newest first. It is what `batches` alone does."""
    with existing(file) as store:
        found = store.batches.newest(limit, before=before)
        path = store.path
    if as_json:
        say_json([_record(batch) for batch in found])
    elif found:
        table(
            ["BATCH", "QUEUE", "STATE", "ENDED", "COMPLETED", "FAILED", "CANCELLED", "LEFT", "TOTAL"],
            [[b.id, b.queue, _state(b), _share(b), b.completed, b.failed, b.cancelled, b.left, b.total] for b in found],
            paint={"FAILED": "red"},
        )
    else:
        say(f"{path} has no batches" if before is None else f"{path} has no batches before {before}")
    if len(found) == limit:
        complain(f"there may be more; the next page is --before {found[-1].id}")


@batches.command(
    "show",
    cls=Command,
    short_help="Show how far one is.",
    epilog=examples("workqueue batches show jobs.db 7", "workqueue batches show 7 --json | jq .failed"),
)
@file_argument
@_batch_id
@json_option
def show_batch(file: str, batch_id: int, *, as_json: bool) -> None:
    """Show how far batch ID is."""
    with existing(file) as store:
        batch = store.batches.get(batch_id)
    if as_json:
        say_json(_record(batch))
        return
    facts(
        [
            ("batch", batch.id),
            ("queue", batch.queue),
            ("state", _EXPLAINED[_state(batch)]),
            ("ended", f"{batch.ended:,} of {times(batch.total, 'job')} ({_share(batch)})"),
            ("completed", f"{batch.completed:,}"),
            ("failed", f"{batch.failed:,}"),
            ("cancelled", f"{batch.cancelled:,}"),
            ("left", f"{batch.left:,}"),
        ]
    )


@batches.command(
    "cancel",
    cls=Command,
    short_help="Cancel what is left of one.",
    epilog=examples("workqueue batches cancel jobs.db 7", "workqueue batches cancel 7 --yes"),
)
@file_argument
@_batch_id
@yes_option
@click.pass_context
def cancel_batch(ctx: click.Context, file: str, batch_id: int, *, yes: bool) -> None:
    """Cancel the jobs of batch ID that wait, and tell the handlers of those that run; no more may join it.

    What follows the batch runs when the last of it has ended. It asks.
    """
    with existing(file) as store:
        batch = store.batches.get(batch_id)
        if batch.is_done:
            complain(f"batch {batch_id} has ended: {times(batch.total, 'job')}, none is left")
            ctx.exit(Code.NO)
        if not yes:
            ask(f"Cancel {times(batch.left, 'job')} left of batch {batch_id} of {store.path}?")
        done = store.batches.cancel(batch_id)
        now = store.batches.get(batch_id)
    say(f"batch {batch_id}: cancelled {times(done, 'job')}; no more may join it")
    if now.left:
        say(f"{now.left:,} of them still run{'s' if now.left == 1 else ''}: told to end")


_EXPLAINED = {
    "open": "open: jobs may be added",
    "sealed": "sealed: no more jobs come",
    "done": "done: all its jobs have ended",
}


def _state(batch: BatchStanding) -> str:
    return "done" if batch.is_done else "sealed" if batch.sealed else "open"


def _share(batch: BatchStanding) -> str:
    return f"{100 * batch.ended // batch.total if batch.total else 100 * batch.sealed}%"


def _record(batch: BatchStanding) -> dict[str, object]:
    record: dict[str, object] = msgspec.structs.asdict(batch)
    return record | {"left": batch.left, "done": batch.is_done}
