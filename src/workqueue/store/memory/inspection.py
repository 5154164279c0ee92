"""What people ask of a MemoryStore: figures, and whether its rows make sense."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from workqueue.job import Job, JobStatus
from workqueue.lifecycle import FINAL
from workqueue.store.clock import instant
from workqueue.store.contract import Engine, Outlook, Overview, Standing
from workqueue.store.memory.keeping import Keeping
from workqueue.store.memory.rows import Row
from workqueue.store.memory.runners import Runner, enlisted
from workqueue.store.paging import Find, Page

_RULES: Final[dict[str, Callable[[Row], bool]]] = {
    "has completed without having been claimed": lambda row: (
        row.job.claimed_at is None and row.job.status is JobStatus.COMPLETED
    ),
    "was claimed without running": lambda row: (
        row.job.claimed_at is not None and not (row.runs() or row.job.status is JobStatus.COMPLETED)
    ),
    "is ready without waiting": lambda row: row.ready and not row.waits(),
    "is kept back without being due": lambda row: row.kept is not None and not row.is_due_now(),
    "follows others without waiting": lambda row: row.following and not row.waits(),
    "does not fit its runner": lambda row: bool(row.runner) is not row.runs(),
    "does not fit its settled_at": lambda row: (row.job.settled_at is None) is (row.job.status in FINAL),
    "is to be cancelled without running": lambda row: row.job.cancel_requested and not row.runs(),
    "has a history beyond its attempts": lambda row: any(a.attempt > row.job.attempt for a in row.history),
    "runs without an attempt": lambda row: row.runs() and row.job.attempt < 1,
    "retries without a reason": lambda row: (
        row.job.status is JobStatus.RETRYING and not row.job.retry_count + row.job.lost
    ),
}


def broken_invariants(rows: Iterable[Row], *, last_id: int) -> list[str]:
    """Give each as a sentence; [] when all is well."""
    found: list[str] = []
    for row in rows:
        found += [f"job {row.job.id} {sentence}" for sentence, is_broken in _RULES.items() if is_broken(row)]
        if row.job.id > last_id:
            found.append(f"job {row.job.id} has an id that was never given out")
    return found


def standing(queue: str, rows: Iterable[Row], *, now: int) -> Standing:
    """Give the figures of one queue, whose rows these are."""
    rows = list(rows)
    count = Counter(row.job.status for row in rows)
    waiting = [row for row in rows if row.waits()]
    due = [row.job for row in waiting if row.is_due(now)]
    return Standing(
        queue=queue,
        pending=count[JobStatus.PENDING],
        retrying=count[JobStatus.RETRYING],
        running=count[JobStatus.RUNNING],
        failed=count[JobStatus.FAILED],
        cancelled=count[JobStatus.CANCELLED],
        completed=count[JobStatus.COMPLETED],
        later=len(waiting) - len(due),
        oldest_due=due[0].run_at if due else None,
    )


def overview(rows: Iterable[Row], runners: Mapping[int, Runner], paused: Collection[str], now: int) -> Overview:
    """Give the figures of the whole store. paused: queues of which something is."""
    rows = list(rows)
    running = Counter(row.runner for row in rows if row.runs())
    listed = enlisted(runners, running)
    queues = {row.job.queue for row in rows} | {runner.queue for runner in listed} | set(paused)
    return Overview(
        now=instant(now),
        queues=[standing(queue, [row for row in rows if row.job.queue == queue], now=now) for queue in sorted(queues)],
        runners=listed,
        engine=Engine(name="memory", notes=["the jobs end with the process"]),
    )


def find(rows: Iterable[Row], which: Find) -> Page:
    """Give a page of the jobs that are meant."""
    found, following = meant(rows, which)
    return Page([row.job for row in found], following)


def meant(
    rows: Iterable[Row], which: Find, statuses: Collection[JobStatus] = frozenset(JobStatus)
) -> tuple[list[Row], int | None]:
    """Give the rows that make the page, of those in one of these statuses; and what to go on from, as in a Page."""
    found: list[Row] = []
    for row in sorted(rows, key=lambda row: row.job.id, reverse=which.newest_first):
        if row.job.status in statuses and is_meant(row.job, which):
            if len(found) == which.limit:
                return found, found[-1].job.id if found else None
            found.append(row)
    return found, None


def is_meant(job: Job, which: Find) -> bool:
    """Say whether `which` means the job."""
    text = None if which.text is None else which.text.encode("utf-8", "surrogatepass")
    return (
        which.after < job.id < (job.id + 1 if which.before is None else which.before)
        and which.queue in (None, job.queue)
        and which.status in (None, job.status)
        and which.name in (None, job.name)
        and (which.batch is None or (job.terms is not None and job.terms.batch == which.batch))
        and (text is None or text in job.data or text in job.message.encode())
    )


def outlook(row: Row | None, job: int, keeping: Keeping) -> Outlook:
    """Say how a job stands. row: its row, if it is still there."""
    kept, progress = keeping.beside.results.get(job), keeping.beside.progress.get(job)
    if row is not None and (kept is None or row.job.status is not JobStatus.COMPLETED):
        return Outlook(status=row.job.status, message=row.job.message, progress=progress)
    if kept is not None:
        return Outlook(status=JobStatus.COMPLETED, result=kept[0], progress=progress)
    return Outlook(status=None)
