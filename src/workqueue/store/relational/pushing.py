"""Storing new jobs: one statement for each run of jobs that differ in their data and headers alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias, TypeVar

from workqueue.job import NewJob
from workqueue.store.clock import later, micros
from workqueue.store.headers import headers_of
from workqueue.store.relational import terms
from workqueue.store.relational.session import Session

T = TypeVar("T")
Columns: TypeAlias = dict[str, object]
Pushing: TypeAlias = tuple[Callable[[Session, int], list[int]], Callable[[Session, list[int]], bool]]
"""What `Database.write` takes: the work, and whether it is in the file after a commit of unknown fate."""
_FOLLOWING: Final = 3  # as `ready`
_TRIES: Final = 12


class Stored(NamedTuple):
    """The jobs of a push: what its caller is told, and those that were stored for it, with their queues."""

    ids: list[int]
    new: list[tuple[int, str]]


def store(session: Session, now: int, batches: Sequence[tuple[int, Sequence[NewJob]]]) -> Stored:
    """Store batches of alike jobs, each with its backoff: all, or none when it raises, inside a guest's block too.

    Raises MetAnotherError when others take a key again and again, or take it where this transaction does not see it.
    """
    if session.is_lent or not any(is_special(batch[0]) for _, batch in batches):
        return _store(session, now, batches)
    return all_or_none(session, lambda: _store(session, now, batches))


def _store(session: Session, now: int, batches: Sequence[tuple[int, Sequence[NewJob]]]) -> Stored:
    stored = Stored([], [])
    for backoff, batch in batches:
        if is_special(batch[0]):
            _insert_special(session, now, backoff, batch, stored)
        else:
            ids = session.insert(_columns(batch[0], now, backoff), [job.data for job in batch], headers_of(batch))
            stored.ids.extend(ids)
            stored.new.append((ids[-1], batch[-1].queue))
    return stored


def all_or_none(session: Session, work: Callable[[], T]) -> T:
    """Do the work; undo what it did when it raises, and nothing before. Where it met another, it is done again."""
    tries = 0
    while True:
        session.ask("begin_push")
        try:
            done = work()
        except BaseException as error:
            if session.is_whole():  # a full disk has rolled back all of it
                session.ask("undo_push")
                session.ask("end_push")
            tries += 1
            if tries == _TRIES or not isinstance(error, terms.MetAnotherError):
                raise
        else:
            session.ask("end_push")
            return done


def is_special(job: NewJob) -> bool:
    """Say whether it asks for more than its turn."""
    return job.terms is not None or job.expires is not None


def _insert_special(session: Session, now: int, backoff: int, batch: Sequence[NewJob], stored: Stored) -> None:
    holder = terms.holder(session, batch[0], now)  # one with a key is a batch of its own
    if holder is not None:
        stored.ids.append(holder)
        return
    before = stored.ids[-1] if stored.ids else None
    asked = [terms.resolved(job, now, before) for job in batch]
    follows = asked[0].follows is not None or asked[0].follows_batch is not None
    columns = _columns(batch[0], now, backoff) | {"special": 1} | ({"ready": _FOLLOWING} if follows else {})
    ids = session.insert(columns, [job.data for job in batch], headers_of(batch))
    terms.add(session, batch[0], now, dict(zip(ids, zip(batch, asked, strict=True), strict=True)))
    stored.ids.extend(ids)
    stored.new.append((ids[-1], batch[-1].queue))


def _columns(head: NewJob, now: int, backoff: int) -> Columns:
    """Give what jobs like this one have in common."""
    run_at = now if head.delay is None else later(now, head.delay)
    if head.run_at is not None:
        run_at = micros(head.run_at)
    return {
        "queue": head.queue,
        "name": head.name,
        "priority": head.priority,
        "position": run_at if head.timing else 0,
        "run_at": run_at,
        "now": now,
        "ready": int(run_at <= now),
        "special": 0,
        "backoff": backoff,
    }


def alike(jobs: Sequence[NewJob]) -> Iterator[Sequence[NewJob]]:
    """Cut `jobs` where anything but the data and the headers changes: each piece is one statement."""
    start = 0
    for index in range(1, len(jobs) + 1):
        if index == len(jobs) or not _same_head(jobs[start], jobs[index]):
            yield jobs[start:index]
            start = index


def _same_head(a: NewJob, b: NewJob) -> bool:
    if is_special(a) or is_special(b):
        return _same_special(a, b)
    return _same_place(a, b)


def _same_special(a: NewJob, b: NewJob) -> bool:
    """Say so of those whose terms may differ; not of what must be looked at by itself: a key, or one that follows."""
    return (
        a.terms is not None
        and b.terms is not None
        and a.expires == b.expires
        and all(one.key is None and one.follows is None and one.follows_batch is None for one in (a.terms, b.terms))
        and _same_place(a, b)
    )


def _same_place(a: NewJob, b: NewJob) -> bool:
    return (
        a.name == b.name
        and a.queue == b.queue
        and a.run_at == b.run_at
        and a.delay == b.delay
        and a.priority == b.priority
        and a.timing == b.timing
        and (a.backoff is b.backoff or a.backoff == b.backoff)
    )
