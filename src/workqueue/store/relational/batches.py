"""Batches in a database; see `store.batching.Batches` for what each verb promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from workqueue.errors import BatchNotFound
from workqueue.job import NewJob
from workqueue.store.batching import BatchStanding
from workqueue.store.relational import terms
from workqueue.store.relational.pushing import Pushing
from workqueue.store.relational.session import Database, Session

_STEP: Final = 5000  # jobs in one transaction
_ABOVE_ALL: Final = 2**63 - 1  # no id
_ids = msgspec.json.Decoder(list[int])


class StoredBatches:
    """database: gives the one of this process. pushing: the store's work of a push."""

    def __init__(self, database: Callable[[], Database], pushing: Callable[[Sequence[NewJob]], Pushing]) -> None:
        self._database = database
        self._pushing = pushing

    def open(self, queue: str, *, within: object | None = None) -> int:
        def work(session: Session, now: int) -> int:
            del now
            return int(session.ask("open_batch", {"queue": queue}).fetchone()[0])

        # After a commit of unknown fate another one: this id may be that of a batch which somebody else opened since.
        return self._database().write(work, lambda _session, _batch: False, within=within)

    def seal(self, batch: int, jobs: Sequence[NewJob] = (), *, within: object | None = None) -> list[int]:
        database = self._database()
        push, pushed = self._pushing(jobs) if jobs else (_push_nothing, _nothing_landed)

        def work(session: Session, now: int) -> list[int]:
            ids = push(session, now)
            standing = _get(session, batch)
            session.to_wake.add(standing.queue)
            session.ask("seal_batch", {"batch": batch})
            terms.finish_batch(session, now, batch)
            if standing.is_done:  # it was sealed and had ended before, as when it was cancelled
                terms.call_after_batch(session, now, batch)
            return ids

        def landed(session: Session, ids: list[int]) -> bool:
            return _get(session, batch).sealed and pushed(session, ids)

        return database.write(work, landed, within=within)

    def get(self, batch: int) -> BatchStanding:
        return self._database().read(lambda session: _get(session, batch))

    def newest(self, limit: int, *, before: int | None = None) -> list[BatchStanding]:
        row = {"before": _ABOVE_ALL if before is None else before, "limit": limit}
        return [_standing(found) for found in self._database().read(lambda s: s.ask("newest_batches", row).fetchall())]

    def cancel(self, batch: int, *, within: object | None = None) -> int:
        database = self._database()

        def seal(session: Session, now: int) -> None:
            session.ask("seal_batch", {"batch": _get(session, batch).id})
            session.to_wake.add(_get(session, batch).queue)
            terms.finish_batch(session, now, batch)

        def work(session: Session, now: int) -> int:
            # In each: what is claimed between two of them waits no more, and nobody has asked it.
            asked = session.ask("cancel_running_of_batch", {"batch": batch}).rowcount
            waiting = _ids.decode(session.ask("batch_waiting", {"batch": batch, "limit": _STEP}).fetchone()[0])
            return asked + sum(terms.cancel_waiting(session, now, job, "cancelled with its batch") for job in waiting)

        database.write(seal, lambda _session, _none: False, within=within)
        total = 0
        while count := database.write(work, lambda _session, _count: False, within=within):
            total += count
        return total


def _push_nothing(_session: Session, _now: int) -> list[int]:
    return []


def _nothing_landed(_session: Session, _ids: list[int]) -> bool:
    return True


def _get(session: Session, batch: int) -> BatchStanding:
    row = session.ask("batch", {"batch": batch}).fetchone()
    if row is None:
        raise BatchNotFound(batch)
    return _standing(row)


def _standing(row: tuple[int, str, int, int, int, int, int]) -> BatchStanding:
    number, queue, sealed, total, completed, failed, cancelled = row
    return BatchStanding(
        id=number,
        queue=queue,
        sealed=bool(sealed),
        total=total,
        completed=completed,
        failed=failed,
        cancelled=cancelled,
    )
