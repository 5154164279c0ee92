"""Pushes: one statement where that will do, else the shared steps in a transaction; of ours, or the application's."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from psycopg import errors

from workqueue.arguments import without_nul
from workqueue.backoff import Backoff
from workqueue.errors import StoreUnavailable
from workqueue.job import NewJob
from workqueue.store.clock import END, micros
from workqueue.store.headers import headers_of
from workqueue.store.postgres.database import Database
from workqueue.store.relational.pushing import Pushing, alike, is_special, store
from workqueue.store.relational.rules import Rule, rule_of, stored_id
from workqueue.store.relational.session import Session


class Pushes:
    """database: gives this process's own, or raises QueueClosed."""

    def __init__(self, database: Callable[[], Database]) -> None:
        self._database = database
        self._known: tuple[int, dict[Rule, int]] = (0, {})  # the ids of retry rules, as of so many losses

    def push(self, jobs: Sequence[NewJob], *, within: object | None) -> list[int]:
        """See `store.contract.Store`."""
        database = self._database()
        batch = next(alike(jobs), jobs)
        if jobs and len(batch) == len(jobs) and not is_special(jobs[0]) and not database.is_joined():
            _refuse_nul(batch)
            row = self._row(database, batch)
            if within is not None:
                return sorted(job for (job,) in database.loans.ask(within, "push_within", row, jobs[0].queue))
            return self._push_at_once(database, row, jobs[0])
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
            "backoff": self._learn(head.backoff),
            "data": [job.data for job in batch],
            "headers": headers_of(batch),
        }

    def _push_at_once(self, database: Database, row: dict[str, object], head: NewJob) -> list[int]:
        token = secrets.randbits(63)
        row["token"] = token
        said = False

        def attempt(again: bool) -> list[int]:
            nonlocal said
            del again
            with database.pool.lend() as connection:
                row["backoff"] = self._backoff_id(connection, head.backoff)
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
        database.ring({head.queue})
        return ids

    def pushing(self, jobs: Sequence[NewJob]) -> Pushing:
        """Give the work of a push, to be done in another's write."""
        _refuse_nul(jobs)
        batches = list(alike(jobs))
        for batch in batches:
            self._learn(batch[0].backoff)

        def work(session: Session, now: int) -> list[int]:
            stored = store(session, now, [(self._backoff_id(session, batch[0].backoff), batch) for batch in batches])
            session.to_wake.update(batch[0].queue for batch in batches)
            return stored.ids

        return work, lambda _session, _ids: False

    def _learn(self, backoff: Backoff) -> int:
        """Give the id of a rule, stored beside the caller's transaction, which may be rolled back."""
        known = self._ids()
        found = known.get(rule_of(backoff))
        if found is None:

            def attempt(again: bool) -> int:
                del again
                with self._database().pool.lend() as connection:
                    return stored_id(connection, backoff)

            found = known[rule_of(backoff)] = self._database().patiently(attempt)
        return found

    def _backoff_id(self, session: Session, backoff: Backoff) -> int:
        """Give it to what is written on `session`: since it was learnt a connection may have broken."""
        found = self._ids().get(rule_of(backoff))
        return stored_id(session, backoff) if found is None else found

    def _ids(self) -> dict[Rule, int]:
        """Give the known ids: none, once a connection broke, since a standby that took over may have others."""
        losses = self._database().pool.losses
        if self._known[0] != losses:
            self._known = (losses, {})
        return self._known[1]


def _refuse_nul(jobs: Sequence[NewJob]) -> None:
    for job in jobs:
        without_nul(job.name, "name")
        without_nul(job.queue, "queue")
