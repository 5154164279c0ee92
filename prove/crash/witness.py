"""Witness: stands beside a program's store and notes what it gave, accepted and refused, at the time of the commit."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from workqueue import JobStatus, Queue
from workqueue.job import Claim
from workqueue.lifecycle import Returned, Settlement
from workqueue.store.clock import micros
from workqueue.store.contract import Store, Transaction, Turn, Want
from workqueue.store.sqlite.database import Database

from prove.crash.part import now
from prove.journal import AnyEvent, Claimed, Journal, Refused, Settled


class Witness:
    """Notes for one process. name: the runner as the journal knows it; a restart in place gives it another.

    Several processes note what they did after they did it, so their lines need not be in the order of the commits: `at`
    is the time that the transaction itself read under the write lock. A server has no such lock: there, what settles is
    noted with the time before it was sent, what claims with that after its answer; so of one job the settling of an
    attempt and the claim of the next stand in the right order.
    """

    def __init__(self, journal: Journal, name: str, *, on_server: bool = False) -> None:
        self.journal = journal
        self.name = name
        self.on_server = on_server
        self._began = threading.local()
        self._turns = 0
        self._by_time = False

    def note(self, *events: AnyEvent) -> None:
        self.journal.note(*events)

    def committed_at(self) -> int:
        """Give the time of the transaction, or turn, that this thread began last."""
        return int(getattr(self._began, "at", 0)) or now()

    def watch(self, queue: Queue) -> None:
        """Stand beside the queue's store from now on."""
        self._by_time = queue._pusher.timing
        store = queue._store
        turn = store.turn

        def noted_turn(settlements: Sequence[Settlement], want: Want | None) -> Turn:
            store.turn = turn  # a turn may take another inside
            if self.on_server:
                self._began.at, self._began.is_unsure = now(), False
            try:
                result = turn(settlements, want)
            finally:
                store.turn = noted_turn
            events = self._events(settlements, want, result)
            if events:
                self.note(*events)
            return result

        store.turn = noted_turn
        if self.on_server:
            self._watch_server(store)
        else:
            self._watch_file(store._database)

    def _watch_file(self, database: Database) -> None:
        begin = database._begin

        def noted_begin(connection: sqlite3.Connection) -> int:
            self._began.at = begin(connection)
            return int(self._began.at)

        database._begin = noted_begin

    def _watch_server(self, store: Store) -> None:
        transaction, pool = store.transaction, store._database.pool
        forget = pool.forget

        def noted_transaction(*claim: Claim, **options: Callable[[], Returned]) -> AbstractContextManager[Transaction]:
            self._began.at = now()
            return transaction(*claim, **options)

        def noted_forget() -> None:
            self._began.is_unsure = True  # a connection broke: perhaps that of this thread's turn
            forget()

        store.transaction = noted_transaction
        pool.forget = noted_forget

    def _events(self, settlements: Sequence[Settlement], want: Want | None, result: Turn) -> list[AnyEvent]:
        at = self.committed_at()
        is_unsure = getattr(self._began, "is_unsure", False)
        refused = {(claim.job.id, claim.job.attempt) for claim in result.refused}
        events: list[AnyEvent] = []
        for settlement in settlements:
            job = settlement.claim.job
            if (job.id, job.attempt) in refused:
                events.append(Refused(at=at, job=job.id, attempt=job.attempt, by=self.name))
            elif not (is_unsure and settlement.to is JobStatus.COMPLETED):  # it is gone; who knows by whose hand
                to = settlement.to.name.lower()
                events.append(Settled(at=at, job=job.id, attempt=job.attempt, to=to, by=self.name))
        self._turns += bool(result.claims)
        for claim in result.claims:
            assert want is not None
            clock = claim.lease_until - micros(want.lease)
            events.append(
                Claimed(
                    at=now() if self.on_server else clock,
                    clock=clock,
                    job=claim.job.id,
                    attempt=claim.job.attempt,
                    by=self.name,
                    turn=self._turns,
                    priority=claim.job.priority,
                    place=micros(claim.job.run_at) if self._by_time else 0,
                )
            )
        return events
