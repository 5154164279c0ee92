"""Witness: stands beside a program's store and notes what it gave, accepted and refused, at the time of the commit."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence

from workqueue import Queue
from workqueue.lifecycle import Settlement
from workqueue.store.clock import micros
from workqueue.store.contract import Turn, Want

from prove.crash.part import now
from prove.journal import AnyEvent, Claimed, Journal, Refused, Settled


class Witness:
    """Notes for one process. name: the runner as the journal knows it; a restart in place gives it another.

    Several processes note what they did after they did it, so their lines need not be in the order of the commits: `at`
    is the time that the transaction itself read under the write lock.
    """

    def __init__(self, journal: Journal, name: str) -> None:
        self.journal = journal
        self.name = name
        self._began = threading.local()
        self._turns = 0
        self._by_time = False

    def note(self, *events: AnyEvent) -> None:
        self.journal.note(*events)

    def committed_at(self) -> int:
        """Give the time of the transaction that this thread began last."""
        return int(getattr(self._began, "at", 0)) or now()

    def watch(self, queue: Queue) -> None:
        """Stand beside the queue's store from now on."""
        self._by_time = queue._pusher.timing
        store = queue._store
        database = store._database
        begin, turn = database._begin, store.turn

        def noted_begin(connection: sqlite3.Connection) -> int:
            self._began.at = begin(connection)
            return int(self._began.at)

        def noted_turn(settlements: Sequence[Settlement], want: Want | None) -> Turn:
            store.turn = turn  # a turn may take another inside
            try:
                result = turn(settlements, want)
            finally:
                store.turn = noted_turn
            events = self._events(settlements, want, result)
            if events:
                self.note(*events)
            return result

        database._begin = noted_begin
        store.turn = noted_turn

    def _events(self, settlements: Sequence[Settlement], want: Want | None, result: Turn) -> list[AnyEvent]:
        at = self.committed_at()
        refused = {(claim.job.id, claim.job.attempt) for claim in result.refused}
        events: list[AnyEvent] = []
        for settlement in settlements:
            job = settlement.claim.job
            if (job.id, job.attempt) in refused:
                events.append(Refused(at=at, job=job.id, attempt=job.attempt, by=self.name))
            else:
                to = settlement.to.name.lower()
                events.append(Settled(at=at, job=job.id, attempt=job.attempt, to=to, by=self.name))
        self._turns += bool(result.claims)
        for claim in result.claims:
            assert want is not None
            events.append(
                Claimed(
                    at=claim.lease_until - micros(want.lease),
                    job=claim.job.id,
                    attempt=claim.job.attempt,
                    by=self.name,
                    turn=self._turns,
                    priority=claim.job.priority,
                    place=micros(claim.job.run_at) if self._by_time else 0,
                )
            )
        return events
