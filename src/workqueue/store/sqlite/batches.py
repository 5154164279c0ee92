"""Batches in a SQLite file; see `store.contract.Batches` for what each verb promises."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final, cast

import msgspec

from workqueue.errors import BatchNotFound
from workqueue.job import NewJob
from workqueue.store.contract import BatchStanding
from workqueue.store.sqlite import terms
from workqueue.store.sqlite.database import Database
from workqueue.store.sqlite.pushing import Pushing
from workqueue.store.sqlite.schema import SQL

_STEP: Final = 5000  # jobs in one transaction
_ids = msgspec.json.Decoder(list[int])


class SqliteBatches:
    """database: gives the one of this process. pushing: the store's work of a push."""

    def __init__(self, database: Callable[[], Database], pushing: Callable[[Sequence[NewJob]], Pushing]) -> None:
        self._database = database
        self._pushing = pushing

    def open(self, queue: str) -> int:
        def work(connection: sqlite3.Connection, now: int) -> int:
            del now
            return cast("int", connection.execute(SQL["open_batch"], {"queue": queue}).lastrowid)

        # After a commit of unknown fate another one: this id may be that of a batch which somebody else opened since.
        return self._database().write(work, lambda _connection, _batch: False)

    def seal(self, batch: int, jobs: Sequence[NewJob] = ()) -> list[int]:
        database = self._database()
        push, pushed = self._pushing(jobs) if jobs else (_push_nothing, _nothing_landed)

        def work(connection: sqlite3.Connection, now: int) -> list[int]:
            ids = push(connection, now)
            database.wake({_get(connection, batch).queue})
            connection.execute(SQL["seal_batch"], {"batch": batch})
            terms.finish_batch(connection, now, batch)
            return ids

        def landed(connection: sqlite3.Connection, ids: list[int]) -> bool:
            return _get(connection, batch).sealed and pushed(connection, ids)

        return database.write(work, landed)

    def get(self, batch: int) -> BatchStanding:
        return self._database().read(lambda connection: _get(connection, batch))

    def cancel(self, batch: int) -> int:
        database = self._database()

        def seal(connection: sqlite3.Connection, now: int) -> int:
            connection.execute(SQL["seal_batch"], {"batch": _get(connection, batch).id})
            database.wake({_get(connection, batch).queue})
            terms.finish_batch(connection, now, batch)
            return connection.execute(SQL["cancel_running_of_batch"], {"batch": batch}).rowcount

        def work(connection: sqlite3.Connection, now: int) -> int:
            answer = connection.execute(SQL["batch_waiting"], {"batch": batch, "limit": _STEP}).fetchone()[0]
            return sum(
                terms.cancel_waiting(connection, now, job, "cancelled with its batch") for job in _ids.decode(answer)
            )

        total = database.write(seal, lambda _connection, _count: False)
        while count := database.write(work, lambda _connection, _count: False):
            total += count
        return total


def _push_nothing(_connection: sqlite3.Connection, _now: int) -> list[int]:
    return []


def _nothing_landed(_connection: sqlite3.Connection, _ids: list[int]) -> bool:
    return True


def _get(connection: sqlite3.Connection, batch: int) -> BatchStanding:
    row = connection.execute(SQL["batch"], {"batch": batch}).fetchone()
    if row is None:
        raise BatchNotFound(batch)
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
