"""Rows as records: jobs and their history, and the figures of queues."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import Final

import msgspec

from workqueue.backoff import Backoff
from workqueue.job import Attempt, Job, JobStatus, Terms
from workqueue.store.clock import instant
from workqueue.store.contract import Engine, Overview, Standing, TaskStanding
from workqueue.store.headers import read_headers
from workqueue.store.relational.session import Session
from workqueue.store.situation import Enlisted

_encode = msgspec.json.encode
_WORDS: Final = {0: "later", 1: "due", 6: "completed"}  # the kinds of `standings` that are no status by their number
_OF_TERMS: Final = (
    "jobs are said to have terms, and have none",
    "terms belong to no job",
    "terms say that their job runs, and it does not, or the reverse",
    "terms say that their job is open, and it is not, or the reverse",
    "terms say that their job is kept back, and it is not, or the reverse",
    "jobs wait for others, and nobody knows for which",
)


_OF_FIGURES: Final = (
    "figures are less than nothing, or know of more waits than runs",
    "tasks have more in the figures of their hours than in those of all time",
)


def get(session: Session, job_id: int) -> Job | None:
    """Give one job, or None."""
    row = session.ask("get", {"id": job_id}).fetchone()
    return None if row is None else _job(row)


def jobs_of(session: Session, ids: Collection[int]) -> list[Job]:
    """Give those of these jobs that are there, in no order."""
    return [_job(row) for row in session.ask("jobs_of", {"ids": _encode(list(ids)).decode()}).fetchall()]


def history(session: Session, job_id: int) -> list[Attempt]:
    """Give the kept attempts of a job, oldest first."""
    return [
        Attempt(attempt, runner, instant(started_at), timedelta(microseconds=duration), outcome, error, traceback)
        for attempt, runner, started_at, duration, outcome, error, traceback in session.ask(
            "history", {"id": job_id}
        ).fetchall()
    ]


def enlisted(session: Session, is_dead: Callable[[int], bool]) -> list[Enlisted]:
    """Give the runners of the whole store, by id."""
    return [
        Enlisted(
            id=runner,
            queue=queue,
            label=label,
            started_at=instant(started_at),
            alive=not is_dead(runner),
            running=running,
            knows=knows,
        )
        for runner, queue, label, started_at, running, knows in _enlisted_rows.decode(
            session.ask("enlisted").fetchone()[0]
        )
    ]


def overview(session: Session, now: int, engine: Engine, *, is_dead: Callable[[int], bool]) -> Overview:
    """Give the figures of the whole store. is_dead: whether the process of a runner has certainly ended."""
    runners = enlisted(session, is_dead)
    figures: dict[str, dict[str, int]] = {runner.queue: {} for runner in runners}
    oldest: dict[str, tuple[int, int]] = {}
    standings = _standing_rows.decode(session.ask("standings", {"now": now}).fetchone()[0])
    for queue, kind, jobs, first, run_at in standings:
        counts = figures.setdefault(queue, {})
        word = _word(kind)
        counts[word] = counts.get(word, 0) + jobs
        if first is not None and run_at is not None:
            oldest[queue] = min(oldest.get(queue, (first, run_at)), (first, run_at))
    return Overview(
        now=instant(now),
        queues=[_standing(queue, figures[queue], oldest.get(queue)) for queue in sorted(figures)],
        runners=runners,
        engine=engine,
        moves=moves(session),
    )


def task_standings(session: Session, now: int, most: int) -> list[TaskStanding]:
    """Count the newest jobs by queue and name."""
    figures: dict[tuple[str, str], dict[str, int]] = {}
    for queue, name, kind, jobs in session.ask("task_standings", {"now": now, "most": most}).fetchall():
        figures.setdefault((queue, name), {})[_word(kind)] = jobs
    return [TaskStanding(queue=queue, name=name, **figures[queue, name]) for queue, name in sorted(figures)]


def _word(kind: int) -> str:
    return _WORDS.get(kind) or str(JobStatus(kind))


def moves(session: Session) -> list[str]:
    """Say where the jobs of the store were moved to, and of where what is not all here yet is copied from."""
    found = [
        f"its jobs {'are being' if done_at is None else 'were'} moved to {target}; it takes no new ones, and runs none"
        for _, target, done_at in session.ask("moves").fetchall()
    ]
    found += [
        f"jobs are being copied here from {source}; none runs before all are here"
        for _, source, *_, done_at in session.ask("copies").fetchall()
        if done_at is None
    ]
    return found


def _standing(queue: str, counts: dict[str, int], oldest: tuple[int, int] | None) -> Standing:
    due = counts.pop("due", 0)
    pending = due + counts.get("later", 0) - counts.get("retrying", 0)
    return Standing(queue=queue, pending=pending, oldest_due=None if oldest is None else instant(oldest[1]), **counts)


def broken_invariants(session: Session, of_jobs: Sequence[str]) -> list[str]:
    """Give what is wrong with the rows. of_jobs: the sentences for the counts of the engine's own `check_jobs`."""
    found: list[str] = []
    for statement, sentences in (("check_jobs", of_jobs), ("check_terms", _OF_TERMS), ("check_figures", _OF_FIGURES)):
        counts = session.ask(statement).fetchone()
        found += [f"{count} {sentence}" for count, sentence in zip(counts, sentences, strict=True) if count]
    odd = session.ask("check_rows").fetchone()[0]
    if odd:
        found.append(f"{odd} jobs have columns that do not fit their status")
    return found


def _job(row: Sequence[object]) -> Job:
    stored = msgspec.convert(row, _Stored)
    return Job(
        id=stored.id,
        queue=stored.queue,
        name=stored.name,
        data=stored.data,
        status=JobStatus(stored.status),
        priority=stored.priority,
        run_at=instant(stored.run_at),
        pushed_at=instant(stored.pushed_at),
        settled_at=None if stored.settled_at is None else instant(stored.settled_at),
        attempt=stored.attempt,
        retry_count=stored.retry_count,
        lost=stored.lost,
        cancel_requested=bool(stored.cancel_requested),
        message=stored.message,
        backoff=msgspec.json.decode(stored.rule, type=Backoff),
        terms=None if stored.spec is None else msgspec.json.decode(stored.spec, type=Terms),
        claimed_at=None if stored.claimed_at is None else instant(stored.claimed_at),
        runner=stored.runner,
        headers=read_headers(stored.headers),
    )


_enlisted_rows = msgspec.json.Decoder(list[tuple[int, str, str, int, int, list[str] | None]])
_standing_rows = msgspec.json.Decoder(list[tuple[str, int, int, int | None, int | None]])


class _Stored(msgspec.Struct, array_like=True):
    """A row of `get` or `jobs_of`."""

    id: int
    queue: str
    name: str
    status: int
    priority: int
    run_at: int
    pushed_at: int
    settled_at: int | None
    attempt: int
    retry_count: int
    lost: int
    cancel_requested: int
    message: str
    data: bytes
    rule: str
    spec: str | None
    claimed_at: int | None
    runner: str
    headers: str | None
