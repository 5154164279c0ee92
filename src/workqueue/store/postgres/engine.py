"""PostgresStore: the verbs of the contract, on a PostgreSQL server."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import Final

import msgspec

from workqueue.errors import LeaseLost, QueueClosed, StoreUnavailable, UsageError
from workqueue.job import Claim, NewJob
from workqueue.lifecycle import WAITING, Returned, Settlement, completion
from workqueue.store.clock import Clock, instant, micros, system_clock
from workqueue.store.contract import Beat, Bell, Overview, Transaction, Turn, Want
from workqueue.store.paging import Changed, Deed, Find, Page
from workqueue.store.postgres import address, inspection
from workqueue.store.postgres.claiming import CLAIM_BYTES, Claims, Row, claim_gated, horizon, place, read_turn
from workqueue.store.postgres.connection import Connection, not_the_statements_fault
from workqueue.store.postgres.database import Database, give_up, open_database
from workqueue.store.postgres.guest import PostgresTransaction
from workqueue.store.postgres.holdups import HoldUps
from workqueue.store.postgres.looking import Looks
from workqueue.store.postgres.pushing import Pushes
from workqueue.store.postgres.runners import Runners
from workqueue.store.postgres.settling import columns, complete_plain, is_plain, there_still
from workqueue.store.relational import records
from workqueue.store.relational.pushing import Pushing
from workqueue.store.relational.settling import SomeRefusedError, complete, refused, settle_all, settle_each
from workqueue.store.relational.verbs import Verbs

_FORGET_EACH: Final = 60.0  # seconds
_PUSHES_STAY: Final = timedelta(hours=1)  # far longer than a push looks for what became of it
_encode = msgspec.json.encode
_ids = msgspec.json.Decoder(list[int])


class PostgresStore(Verbs):
    """The store in one schema of a PostgreSQL database; see `store.contract.Store` for what each verb promises."""

    def __init__(self, url: str, *, clock: Clock = system_clock) -> None:
        super().__init__()
        self._address = address.parse(url)
        self.path = self._address.shown
        self._clock = clock
        self._closed = False
        self._transacting: int | None = None  # the thread that has a transaction of this store open
        self._claims = Claims()
        self._forget_at = 0.0
        self._looks: defaultdict[str, Looks] = defaultdict(Looks)  # by queue
        self._database = open_database(self._address, self._clock)
        self._runners = Runners(self._db)
        self._hold_ups = HoldUps(self._db)
        self._pushes = Pushes(self._db)

    # push

    def push(self, jobs: Sequence[NewJob], *, within: object | None = None) -> list[int]:
        return self._pushes.push(jobs, within=within)

    def _pushing(self, jobs: Sequence[NewJob]) -> Pushing:
        return self._pushes.pushing(jobs)

    # claim and settle

    def turn(self, settlements: Sequence[Settlement], want: Want | None) -> Turn:
        if self.is_joined():
            return self._take_turn(settlements, want)
        return self._hold_ups.turn_without(self._take_turn, settlements, want)

    def _take_turn(self, settlements: Sequence[Settlement], want: Want | None) -> Turn:
        database = self._db()
        if database.is_joined():
            refused = self._settle(database, settlements) if settlements else []
            turn = Turn([], [], False, None) if want is None else self._claim_gated(database, want)
            return Turn(turn.claims, refused, turn.suspects, turn.next_due)
        if all(is_plain(settlement) for settlement in settlements):
            stay = any(settlement.stays for settlement in settlements)
            if want is None:
                return Turn([], complete_plain(database, settlements), suspects=False, next_due=None)
            if not want.alone and not stay:
                return self._turn(database, settlements, want)
            refused = complete_plain(database, settlements)
        else:
            refused = self._settle(database, settlements)
        if want is None:
            return Turn([], refused, suspects=False, next_due=None)
        if want.alone:
            return _settled_before(settlements, refused, lambda: self._claim_gated(database, want))
        return _settled_before(settlements, refused, lambda: self._turn(database, [], want))

    def _turn(self, database: Database, settlements: Sequence[Settlement], want: Want) -> Turn:
        """Settle what is complete and claim what is wanted, in one statement where that will do."""
        token = secrets.randbits(63)
        looks = self._looks[want.queue]
        begun = looks.begin()
        row: dict[str, object] = {
            "now": database.given_now(),
            **columns(settlements),
            "count": len(settlements),
            "queue": want.queue,
            "limit": want.limit,
            "most": CLAIM_BYTES,
            "runner": want.runner,
            "token": token,
            "lease": micros(want.lease),
            "from_priority": begun.priority,
            "from_position": begun.position,
            "from_id": begun.id,
        }

        def attempt(again: bool) -> tuple[Turn, bool]:
            with database.pool.lend() as connection:
                if again:
                    return self._turn_again(connection, row, settlements, want), False
                beside, rows = read_turn(connection.ask("turn", row).fetchall())
                lease_until = beside.now + micros(want.lease)
                claims = self._claims.build(connection, want, beside.now, rows, lease_until=lease_until)
            looks.saw(begun, place(rows[0]) if rows else None, beside.took / 1_000_000)
            head_in = looks.until_head(begun) if len(rows) < want.limit else None
            left: list[Claim] = []
            if beside.completed < len(settlements):
                left = refused(settlements, ((job, attempt) for job, attempt in beside.accepted or ()))
            return beside.turn(claims, left, head_in), beside.is_in_the_way()

        found, in_the_way = database.patiently(attempt)
        if not in_the_way:
            return found
        return _settled_before(settlements, found.refused, lambda: self._claim_gated(database, want))

    def _turn_again(
        self, connection: Connection, row: dict[str, object], settlements: Sequence[Settlement], want: Want
    ) -> Turn:
        """Find out what came of a turn whose answer was lost, and do what did not come of it.

        Its claims are those with its token. What it settled is gone; so is what another settled before, which no one
        can tell from it. A server that hears of it later may claim more: the runner hands back what it does not know.
        """
        left: list[Claim] = []
        if settlements:
            connection.ask("completed", {name: row[name] for name in ("ids", "attempts", "runners")})
            left = there_still(connection, settlements)
        found = connection.ask("claimed_by", {"runner": want.runner, "token": row["token"]}).fetchall()
        now = connection.one("now", {"now": row["now"]})
        claims: list[Claim] = []
        for line in found:
            claims += self._claims.build(connection, want, now[0], [Row(*line[:15])], lease_until=line[15])
        turn = horizon(connection, now[0], want.queue, claims)
        return Turn(claims, left, turn.suspects, turn.next_due if claims else timedelta(0))

    def _claim_gated(self, database: Database, want: Want) -> Turn:
        token = secrets.randbits(63)

        def work(connection: Connection, now: int) -> Turn:
            return claim_gated(connection, now, want, token, self._claims)

        return database.write(work)

    def _settle(self, database: Database, settlements: Sequence[Settlement]) -> list[Claim]:
        """Settle whatever they are, in a transaction; give the claims that were refused."""
        in_order = sorted(settlements, key=lambda settlement: settlement.claim.job.id)
        gated = any(settlement.claim.job.terms is not None for settlement in settlements)

        def work(connection: Connection, now: int, *, one_by_one: bool) -> list[Claim]:
            refused: list[Claim] = []
            if one_by_one:
                refused = settle_each(connection, now, in_order)
            else:
                settle_all(connection, now, in_order)
            connection.to_wake.update(s.claim.job.queue for s in settlements if s.to in WAITING)
            return refused

        try:
            return database.write(lambda c, now: work(c, now, one_by_one=False), gated=gated)
        except SomeRefusedError:
            return database.write(lambda c, now: work(c, now, one_by_one=True), gated=gated)

    @contextmanager
    def transaction(
        self, claim: Claim | None = None, *, returned: Callable[[], Returned] = Returned, stays: bool = False
    ) -> Generator[Transaction]:
        database = self._db()

        def last(connection: Connection, now: int) -> None:
            guest.check()
            if claim is None:
                return
            if claim.job.terms is not None:
                connection.gate()
            try:
                complete(connection, now, [completion(claim, returned(), stays=stays)])
            except SomeRefusedError:
                raise LeaseLost(claim.job.id, claim.job.attempt) from None

        with ExitStack() as after, database.guest(last=last) as connection:
            guest = PostgresTransaction(connection, lambda error: not_the_statements_fault(error, self.path))
            after.callback(guest.end)
            self._transacting = threading.get_ident()
            try:
                yield guest
            finally:
                self._transacting = None

    def is_joined(self) -> bool:
        return self._db().is_joined()

    # runners

    def enlist(self, queue: str, label: str) -> int:
        return self._runners.enlist(queue, label)

    def retire(self, runner: int) -> None:
        self._runners.retire(runner)

    def bell(self, runner: int) -> Bell:
        return self._db().listener.bell(runner)

    def beat(self, runner: int, lease: timedelta) -> Beat:
        return self._runners.beat(runner, lease)

    def held(self, runner: int) -> Beat:
        return self._runners.held(runner)

    def orphans(self, *, expired: bool, limit: int) -> list[Claim]:
        return self._runners.orphans(expired=expired, limit=limit)

    # people

    def find(self, which: Find) -> Page:
        return super().find(which) if _can_be_there(which) else Page([], None)

    def change(self, which: Find, deed: Deed) -> Changed:
        return super().change(which, deed) if _can_be_there(which) else Changed(0, None)

    def sweep(self, queue: str, limit: int) -> int:
        ended = super().sweep(queue, limit)
        if time.monotonic() >= self._forget_at:
            self._forget_at = time.monotonic() + _FORGET_EACH
            database = self._db()
            before = {"before": database.clock() - micros(_PUSHES_STAY)}
            database.read(lambda connection: connection.ask("forget_pushes", before))
            self._runners.strike_off_dead()
        return ended

    def _deaths(self) -> Callable[[int], bool]:
        answer = self._db().read(lambda connection: connection.one("runners"))
        return frozenset(self._runners.surely_dead(_ids.decode(answer[0]))).__contains__

    def overview(self) -> Overview:
        database = self._db()
        now, is_dead = database.clock(), self._deaths()

        def work(connection: Connection) -> Overview:
            return records.overview(connection, now, inspection.engine(connection), is_dead=is_dead)

        return database.read(work)

    # itself

    def now(self) -> datetime:
        return instant(self._clock() if self._closed else self._db().clock())

    def check(self) -> list[str]:
        return self._db().read(lambda connection: records.broken_invariants(connection, inspection.SENTENCES))

    def close(self) -> None:
        if self._transacting == threading.get_ident():
            raise UsageError("expected close() after the transaction's block, but it was called inside")
        if not self._closed:
            if self._database.pid == os.getpid():  # else they are the parent's
                self._runners.leave()
            self._closed = True
            give_up(self._database)

    def _db(self) -> Database:
        if self._closed:
            raise QueueClosed(self.path)
        if self._database.pid != os.getpid():  # a forked child: the parent's connections are not ours to use
            self._database = open_database(self._address, self._clock, anew=True)
        return self._database


def _settled_before(settlements: Sequence[Settlement], refused: list[Claim], claim: Callable[[], Turn]) -> Turn:
    """Claim, and tell of what was settled before, whatever comes of the claim."""
    try:
        later = claim()
    except StoreUnavailable:
        if not settlements:
            raise
        return Turn([], refused, suspects=False, next_due=timedelta(0))
    return Turn(later.claims, refused, later.suspects, later.next_due)


def _can_be_there(which: Find) -> bool:
    """Say so of a name and a queue; text of PostgreSQL has no place for NUL."""
    return "\0" not in (which.name or "") + (which.queue or "")
