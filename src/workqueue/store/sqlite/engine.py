"""SqliteStore: the verbs of the contract, on one SQLite file. How a write is made safe is `database.py`'s part."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, cast

import msgspec

from workqueue.errors import LeaseLost, QueueClosed, StoreUnavailable, UsageError
from workqueue.job import Claim, JobStatus, NewJob
from workqueue.lifecycle import WAITING, Returned, Settlement, completion
from workqueue.logs import Log
from workqueue.store.clock import Clock, instant, micros, system_clock
from workqueue.store.contract import Beat, Bell, Durability, Overview, Transaction, Turn, Want
from workqueue.store.guest import GuestTransaction
from workqueue.store.relational import records
from workqueue.store.relational.ledger import StoredLedger
from workqueue.store.relational.pushing import Pushing, Stored, alike, store
from workqueue.store.relational.session import Session
from workqueue.store.relational.settling import SomeRefusedError, complete, settle_all, settle_each
from workqueue.store.relational.verbs import Verbs
from workqueue.store.sqlite import backup, inspection
from workqueue.store.sqlite.bell import SocketBell
from workqueue.store.sqlite.claiming import claim
from workqueue.store.sqlite.connection import Connection, disk_in_our_words
from workqueue.store.sqlite.database import Database
from workqueue.store.sqlite.line import Horizon, horizon
from workqueue.store.sqlite.room import SqliteSurplus
from workqueue.store.sqlite.rules import Ids
from workqueue.store.sqlite.schema import SQL
from workqueue.store.sqlite.shared import give_up, open_database

_NOTHING: Final = Horizon()
_MOST_TAKEN: Final = 1000  # ids that a runner passes by

log = Log("workqueue.store")
_encode = msgspec.json.encode
_ids = msgspec.json.Decoder(list[int])
_held_rows = msgspec.json.Decoder(list[tuple[int, int, int]])


class SqliteStore(Verbs):
    """The store in one SQLite file; see `store.contract.Store` for what each verb promises."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "full",
        allow_network: bool = False,
        clock: Clock = system_clock,
    ) -> None:
        super().__init__()
        self._ledger = StoredLedger(self._db, refuse=lambda session: self._db().refuse_pushes_when_full(session))
        self._surplus = SqliteSurplus(self._db)
        self.path = os.path.realpath(Path(path))
        self._clock = clock
        self._durability: Durability = durability
        self._allow_network = allow_network
        self._closed = False
        self._transacting: int | None = None  # the thread that has a transaction of this store open
        self._enlisted: set[int] = set()
        self._database = self._open()

    # push

    def push(self, jobs: Sequence[NewJob], *, within: object | None = None) -> list[int]:
        database = self._db()
        new_rules: Ids = {}
        known = database.rules  # of the file as it is open now: what is written to another one is not noted there
        ids = database.write(*self._pushing(jobs, new_rules), within=within)
        if new_rules and within is None and not database.is_joined():  # else it may be rolled back yet
            known.note(new_rules)
        return ids

    def _pushing(self, jobs: Sequence[NewJob], new_rules: Ids | None = None) -> Pushing:
        """Give the work of a push, to be done in a write of its own or within another's, and how to see it landed.

        new_rules: takes the ids of rules that were not known to be stored.
        """
        database = self._db()
        batches = list(alike(jobs))
        new: Ids = {} if new_rules is None else new_rules

        def work(session: Session, now: int) -> list[int]:
            database.refuse_pushes_when_full(session)
            rules = database.rules
            stored[:] = [store(session, now, [(rules.id_of(session, b[0].backoff, new), b) for b in batches])]
            database.checkpoints.note_bytes(sum(len(job.data) for job in jobs))
            pushed_at.append(now)
            session.to_wake.update(batch[0].queue for batch in batches)
            return stored[0].ids

        def landed(session: Session, ids: list[int]) -> bool:
            del ids  # those of jobs that had a key already are among them
            if not stored[0].new:
                return True
            last, queue = stored[0].new[-1]
            row = {"last": last, "queue": queue, "at": pushed_at[-1]}
            ours, anyones, given_out = session.ask("pushed", row).fetchone()
            return bool(ours or (given_out and not anyones))

        pushed_at: list[int] = []
        stored: list[Stored] = []
        return work, landed

    # claim and settle

    def turn(self, settlements: Sequence[Settlement], want: Want | None) -> Turn:
        database = self._db()
        if not settlements:
            if want is None:
                return _NOTHING.turn([], [], database.clock())
            ahead = database.read_again(("horizon", want.queue), lambda connection: horizon(connection, want.queue))
            if not _may_claim(ahead, want, database.clock()):
                return ahead.turn([], [], database.clock())

        def work(connection: Connection, now: int, *, one_by_one: bool) -> tuple[Turn, bool]:
            refused: list[Claim] = []
            if one_by_one:
                refused = settle_each(connection, now, settlements)
            else:
                settle_all(connection, now, settlements)
            connection.to_wake.update(s.claim.job.queue for s in settlements if s.to in WAITING)
            found = None if want is None else claim(connection, now, want, database.rules)
            claims, ahead = found or ([], _NOTHING)
            return ahead.turn(claims, refused, now), want is not None and found is None

        def landed(connection: Connection, result: tuple[Turn, bool]) -> bool:
            # One of what was written tells for the whole: a transaction lasts or does not.
            claims, refused = result[0].claims, result[0].refused
            if claims:
                return _holds(connection, claims[0])
            accepted = [settlement.claim for settlement in settlements if settlement.claim not in refused]
            return not accepted or not _holds(connection, accepted[0])

        try:
            result, promoting = database.write(lambda c, now: work(c, now, one_by_one=False), landed)
        except SomeRefusedError:
            result, promoting = database.write(lambda c, now: work(c, now, one_by_one=True), landed)
        if promoting:
            later = self.turn([], want)
            return Turn(later.claims, result.refused, later.suspects, later.next_due)
        return result

    @contextmanager
    def transaction(
        self, claim: Claim | None = None, *, returned: Callable[[], Returned] = Returned, stays: bool = False
    ) -> Generator[Transaction]:
        database = self._db()

        def last(connection: Connection, now: int) -> None:
            guest.check()
            if claim is None:
                return
            try:
                complete(connection, now, [completion(claim, returned(), stays=stays)])
            except SomeRefusedError:
                raise LeaseLost(claim.job.id, claim.job.attempt) from None

        with ExitStack() as after, database.guest(last=last) as connection:
            guest = GuestTransaction(connection, lambda error: disk_in_our_words(error, self.path))
            after.callback(guest.end)
            self._transacting = threading.get_ident()
            try:
                yield guest
            finally:
                self._transacting = None
                guest.close_cursors()

    def is_joined(self) -> bool:
        return self._db().is_joined()

    # runners

    def enlist(self, queue: str, label: str) -> int:
        database = self._db()
        if database.is_joined():
            raise UsageError(
                "expected a runner to start outside of transactions, but this code is inside the block of one of this "
                "queue, which may be rolled back; start it after the block"
            )
        row = {"queue": queue, "label": label}
        held: list[int] = []

        def let_go() -> None:
            while held:
                database.owners.release(held.pop())

        def work(connection: Connection, now: int) -> int:
            let_go()  # of what is held for a try that was rolled back
            for _ in range(_MOST_TAKEN):
                runner = cast("int", connection.execute(SQL["enlist"], row | {"now": now}).lastrowid)
                # Before the commit: nobody may see the runner and find it dead. Another has the byte where the file was
                # put in the place of one that it still works on.
                if database.owners.hold(runner):
                    held.append(runner)
                    return runner
                connection.execute(SQL["retire"], {"id": runner})
            raise StoreUnavailable(
                f"expected a free byte for a runner in {self.path + '-owners'!r}, but {_MOST_TAKEN:,} of them are "
                "locked; end the programs that still work on an older file of this name",
                path=self.path,
            )

        def landed(connection: Connection, runner: int) -> bool:
            return runner in _ids.decode(connection.execute(SQL["runners"]).fetchone()[0])

        try:
            runner = database.write(work, landed)
        except BaseException:
            let_go()
            raise
        database.bells[runner] = SocketBell(database.exchange, runner)
        self._enlisted.add(runner)
        self._remove_dead_runners(database)
        return runner

    def retire(self, runner: int) -> None:
        database = self._db()
        self._enlisted.discard(runner)
        database.take_bell(runner)  # before its row, which tells the next runner of a bell that was left behind
        try:
            self._strike_off(database, [runner])
        finally:
            database.owners.release(runner)

    def _remove_dead_runners(self, database: Database) -> None:
        enlisted = database.read(lambda connection: _ids.decode(connection.execute(SQL["runners"]).fetchone()[0]))
        dead = [runner for runner in enlisted if database.owners.is_dead(runner)]
        for runner in dead:
            database.exchange.remove(runner)
        if dead:
            self._strike_off(database, dead)

    def _strike_off(self, database: Database, runners: Sequence[int]) -> None:
        def work(connection: Connection, now: int) -> None:
            del now
            for runner in runners:
                connection.execute(SQL["retire"], {"id": runner})

        database.write(work, lambda _connection, _none: False)

    def bell(self, runner: int) -> Bell:
        return self._db().bells[runner]

    def beat(self, runner: int, lease: timedelta) -> Beat:
        def work(connection: Connection, now: int) -> Beat:
            connection.execute(SQL["beat"], {"runner": runner, "now": now, "lease": micros(lease)})
            database.checkpoints.note_size()
            return _beat(connection, runner)

        database = self._db()
        database.reserve.keep()
        return database.write(work, lambda _connection, _beat: False)

    def held(self, runner: int) -> Beat:
        return self._db().read(lambda connection: _beat(connection, runner))

    def orphans(self, *, expired: bool, limit: int) -> list[Claim]:
        database = self._db()

        holders = database.read_again("holders", lambda c: _ids.decode(c.execute(SQL["holders"]).fetchone()[0]))
        dead = [runner for runner in holders if database.owners.is_dead(runner)]
        if not dead and not (holders and expired):
            return []

        def work(connection: Connection) -> list[Claim]:
            now = self._clock()
            row = {"dead": _encode(dead).decode(), "expired_before": now if expired else -1, "limit": limit}
            found = connection.execute(SQL["orphans"], row).fetchall()
            claims: list[Claim] = []
            for job_id, runner, lease_until in found:
                job = records.get(connection, job_id)
                if job is not None and job.status is JobStatus.RUNNING:
                    claims.append(Claim(job, runner, timedelta(microseconds=now - micros(job.pushed_at)), lease_until))
            return claims

        return database.read(work)

    # people

    def _deaths(self) -> Callable[[int], bool]:
        return self._db().owners.is_dead

    def overview(self) -> Overview:
        database = self._db()

        def work(connection: Connection) -> Overview:
            engine = inspection.engine(connection, self.path)
            return records.overview(connection, database.clock(), engine, is_dead=self._deaths())

        return database.read(work)

    # itself

    def now(self) -> datetime:
        return instant(self._clock())

    def check(self) -> list[str]:
        return self._db().read(inspection.broken_invariants)

    def back_up(self, target: str, *, force: bool, tell: backup.Tell) -> backup.Backup:
        """Put a copy of the whole file at `target`, while others work on it; see `backup.back_up`."""

        def opened(path: str) -> SqliteStore:
            return SqliteStore(path, durability=self._durability, allow_network=True, clock=self._clock)

        return backup.back_up(self._db(), target, force=force, tell=tell, opened=opened)

    def close(self) -> None:
        if self._transacting == threading.get_ident():
            raise UsageError("expected close() after the transaction's block, but it was called inside")
        if not self._closed:
            self._closed = True
            if self._database.pid == os.getpid():  # else they are the parent's
                for runner in self._enlisted:  # what they still hold is orphaned at once
                    self._database.take_bell(runner)
                    self._database.owners.release(runner)
            give_up(self._database)

    def _db(self) -> Database:
        if self._closed:
            raise QueueClosed(self.path)
        if self._database.pid != os.getpid():  # a forked child: the parent's connections are not ours to use
            self._database = self._open()
        return self._database

    def _open(self) -> Database:
        return open_database(self.path, self._durability, clock=self._clock, allow_network=self._allow_network)


def _may_claim(ahead: Horizon, want: Want, now: int) -> bool:
    return ahead.is_due(now) or (ahead.suspects if want.alone else ahead.ready)


def _holds(connection: Connection, claim: Claim) -> bool:
    """Say whether the runner of the claim holds this attempt: it may hold an earlier one, and another runner this."""
    row = {"id": claim.job.id, "attempt": claim.job.attempt, "runner": claim.runner}
    return bool(connection.execute(SQL["holds"], row).fetchone()[0])


def _beat(connection: Connection, runner: int) -> Beat:
    rows = _held_rows.decode(connection.execute(SQL["held"], {"runner": runner}).fetchone()[0])
    return Beat({row[0]: row[1] for row in rows}, frozenset(row[0] for row in rows if row[2]))
