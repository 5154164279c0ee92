"""Pushes: one statement where that will do, else the shared steps in a transaction; of ours, or the application's."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

import msgspec
from psycopg import errors

from workqueue.backoff import Backoff
from workqueue.errors import StoreUnavailable, UsageError
from workqueue.job import NewJob
from workqueue.store.clock import END, micros
from workqueue.store.headers import headers_of
from workqueue.store.postgres.database import Database
from workqueue.store.relational.pushing import Pushing, alike, is_special, store
from workqueue.store.relational.session import Session

_encode = msgspec.json.encode


class Pushes:
    """database: gives this process's own, or raises QueueClosed."""

    def __init__(self, database: Callable[[], Database]) -> None:
        self._database = database
        self._backoff_ids: dict[tuple[object, ...], int] = {}

    def push(self, jobs: Sequence[NewJob], *, within: object | None) -> list[int]:
        """See `store.contract.Store`."""
        database = self._database()
        batch = next(alike(jobs), jobs)
        if jobs and len(batch) == len(jobs) and not is_special(jobs[0]) and not database.is_joined():
            _refuse_nul(batch)
            row = self._row(database, batch)
            if within is not None:
                return sorted(job for (job,) in database.loans.ask(within, "push_within", row, jobs[0].queue))
            return self._push_at_once(database, row, jobs[0].queue)
        work, landed = self.pushing(jobs)
        gated = any(job.on_conflict == "replace" and job.terms is not None for job in jobs)
        return database.write(work, landed, gated=gated, within=within)

    def _row(self, database: Database, batch: Sequence[NewJob]) -> dict[str, object]:
        head = batch[0]
        return {
            "now": database.given_now(),
            "queue": head.queue,
            "name": head.name,
            "priority": head.priority,
            "timing": head.timing,
            "run_at": None if head.run_at is None else micros(head.run_at),
            "delay": 0 if head.delay is None else min(micros(head.delay), END),
            "end": END,
            "backoff": self._backoff_id(head.backoff),
            "data": [job.data for job in batch],
            "headers": headers_of(batch),
        }

    def _push_at_once(self, database: Database, row: dict[str, object], queue: str) -> list[int]:
        token = secrets.randbits(63)
        row["token"] = token
        said = False

        def attempt(again: bool) -> list[int]:
            nonlocal said
            del again
            with database.pool.lend() as connection:
                try:
                    said = True
                    found = connection.one("push", row)
                except errors.UniqueViolation:  # of the token: the first try was done, and its answer lost
                    found = connection.one("pushed", {"token": token})
            return list(found[0])

        try:
            ids = database.patiently(attempt)
        except StoreUnavailable:
            if not said or not database.lasted(token):
                raise
            ids = list(database.read(lambda connection: connection.one("pushed", {"token": token}))[0])
        database.ring({queue})
        return ids

    def pushing(self, jobs: Sequence[NewJob]) -> Pushing:
        """Give the work of a push, to be done in another's write."""
        _refuse_nul(jobs)
        batches = [(self._backoff_id(batch[0].backoff), batch) for batch in alike(jobs)]

        def work(session: Session, now: int) -> list[int]:
            stored = store(session, now, batches)
            session.to_wake.update(head.queue for _, (head, *_) in batches)
            return stored.ids

        return work, lambda _session, _ids: False

    def _backoff_id(self, backoff: Backoff) -> int:
        rule = (backoff.factor, backoff.jitter, backoff.min, backoff.max, backoff.expiration, backoff.limit)
        found = self._backoff_ids.get(rule)
        if found is None:
            text = {"rule": _encode(backoff.copy()).decode()}

            def attempt(again: bool) -> int:
                del again
                # Never in a caller's transaction, which may be rolled back.
                with self._database().pool.lend() as connection:
                    connection.ask("add_backoff", text)
                    row = connection.one("backoff_id", text)
                return int(row[0])

            found = self._backoff_ids[rule] = self._database().patiently(attempt)
        return found


def _refuse_nul(jobs: Sequence[NewJob]) -> None:
    for job in jobs:
        if "\0" in job.name or "\0" in job.queue:
            raise UsageError(
                f"expected names without NUL, which PostgreSQL's text has no place for, got: {job.name!r}, "
                f"queue {job.queue!r}"
            )
