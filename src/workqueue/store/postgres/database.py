"""Database: the one handle a process has on a store: its connections, transactions, and what it does when one breaks.

All of a process's stores at one address share one Database. A transaction of which the server may or may not have told
when its connection broke is asked after by its token: nothing is done twice, and nothing is thought done that is not.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Generator
from contextlib import ExitStack, contextmanager
from typing import Final, TypeVar, cast

import psycopg

from workqueue.errors import StoreUnavailable, UsageError
from workqueue.store import joining
from workqueue.store.clock import Clock, system_clock
from workqueue.store.lender import in_ours_already
from workqueue.store.postgres import schema
from workqueue.store.postgres.address import Address
from workqueue.store.postgres.connection import (
    Connection,
    Pool,
    connect,
    in_our_words,
    is_lost,
    is_starting,
    is_worth_another_try,
    jitter,
    let_go_of_inherited,
    translated,
)
from workqueue.store.postgres.listener import Listener
from workqueue.store.postgres.loan import Loan, Loans
from workqueue.store.relational.terms import MetAnotherError

T = TypeVar("T")

PATIENCE: Final = 8.0  # seconds that a verb waits for a server which is restarting
_FATE_PATIENCE: Final = 30.0
_OURS: Final = 4  # connections that no handler's transaction may have: for the beat, claims and settlements
_TRIES: Final = 12


class Database:
    """See the module. Safe from any thread; `pid` tells whether it is this process's own.

    anew: it was open before, and is waited for as by any verb; else a server that is not there says so at once.
    """

    def __init__(self, address: Address, clock: Clock, *, anew: bool = False) -> None:
        self.address = address
        self.pid = os.getpid()
        self._clock = clock
        self.pool = Pool(address)
        self._here = threading.local()
        with ExitStack() as unless_it_opens:
            unless_it_opens.callback(self.pool.close)
            self.pooled = self._patiently(self._prepare, is_lost if anew else self._is_starting)
            unless_it_opens.pop_all()
        self.pool.greet = lambda connection: schema.refuse_newer(connection, address.schema, address.shown)
        self.listener = Listener(address, self.pool)
        self.loans = Loans(address, ours=lambda: self.read(lambda c: c.one("place")), ring=self.ring)

    def _prepare(self, _again: bool) -> bool:
        """See that there is a schema for us; say whether a pooler stands before it."""
        with self.pool.lend() as connection:
            schema.prepare(connection, self.address.schema, self.address.shown)
            return connection.pooled

    def _is_starting(self, error: BaseException) -> bool:
        return is_starting(self.address, error)

    # time

    def given_now(self) -> int | None:
        """Give the time where the store's clock is not the server's: in tests."""
        return None if self._clock is system_clock else self._clock()

    def clock(self) -> int:
        given = self.given_now()
        if given is not None:
            return given
        return int(self.read(_ask_now))

    # reading and writing

    def read(self, work: Callable[[Connection], T], /) -> T:
        """Run `work(connection)`, which only reads; again, when the connection breaks."""
        joined = self._joined()
        if joined is not None:
            with translated(self.address.shown):
                return work(joined[0])

        def attempt(_again: bool) -> T:
            with self.pool.lend() as connection:
                return work(connection)

        return self._patiently(attempt)

    def write(
        self,
        work: Callable[[Connection, int], T],
        landed: Callable[[Connection, T], bool] | None = None,
        /,
        *,
        gated: bool = True,
        within: object | None = None,
    ) -> T:
        """Run `work(connection, now)` in a transaction, or in the one this context has open already.

        landed: is not asked; the server knows the fate of each transaction. gated: no other gated one is beside it.
        within: the application's connection, in whose open transaction to do it instead.
        """
        del landed
        joined = self._joined()
        if within is not None:
            if joined is not None:
                raise in_ours_already()

            def work_for_any(loan: Loan, now: int) -> T:  # what is done within is written for any session
                return work(cast("Connection", loan), now)

            return self.loans.write(within, work_for_any, self.given_now(), gated=gated)
        if joined is not None:
            with translated(self.address.shown):
                if gated:
                    joined[0].gate()
                return work(*joined)
        return self.patiently(lambda _again: self._attempt(work, gated=gated))

    def _attempt(self, work: Callable[[Connection, int], T], *, gated: bool) -> T:
        with self.pool.lend() as connection:
            now = connection.begin(self.given_now(), gated=gated)
            result = work(connection, now)
            self.commit(connection)
            queues = connection.to_wake
        self.ring(queues)
        return result

    def commit(self, connection: Connection) -> None:
        """Commit; where the answer is lost, find out what came of it. Raises the error of the loss when nothing did.

        The transaction leaves a token. Whoever lost the answer takes that token, too: where it is taken, all is done;
        else nothing is, and nothing will be, however late the server hears of the commit.
        """
        token = secrets.randbits(63)
        try:
            connection.commit_as(token, self.given_now())
        except psycopg.Error as error:
            if not is_lost(error):
                raise
            connection.close()
            if not self.lasted(token):
                raise

    def lasted(self, token: int) -> bool:
        """Say whether the transaction of this token is done; if not, it never will be. Raises StoreUnavailable."""
        until = time.monotonic() + _FATE_PATIENCE
        tries = 0
        while True:
            try:
                with connect(self.address) as connection:  # whoever asks may have one of the pool's still
                    connection.ask("prevent", {"token": token, "now": self.given_now()})
                    return bool(connection.one("fate", {"token": token})[0])
            except psycopg.Error as error:
                if not is_lost(error) and not is_worth_another_try(error):
                    raise in_our_words(error, self.address.shown) from error
                self.pool.forget()
            if time.monotonic() > until:
                raise StoreUnavailable(
                    f"expected {self.address.shown} to say within {_FATE_PATIENCE:.0f} s whether a transaction lasts, "
                    "but it cannot be reached; look what is stored before you do it again",
                    path=self.address.shown,
                )
            tries += 1
            time.sleep(jitter(tries))

    def patiently(self, attempt: Callable[[bool], T]) -> T:
        """As `_patiently`, for what writes: it may wait for a transaction, which this thread must not hold then."""
        if getattr(self._here, "guest", None) is not None and not self.is_joined():
            raise UsageError(
                "expected no await inside `with ctx.transaction()`: another job of this loop has a transaction open"
            )
        return self._patiently(attempt)

    def _patiently(self, attempt: Callable[[bool], T], lost_by: Callable[[BaseException], bool] = is_lost) -> T:
        """Run `attempt(again)` until it meets no other transaction and no broken connection, for as long as is fit.

        again: an earlier try may have been done, its answer lost. lost_by: says which errors tell of a connection that
        another try may have.
        """
        until: float | None = None  # it counts from the first failure: the try itself may have waited long
        tries = 0
        again = False
        while True:
            try:
                return attempt(again)
            except (psycopg.Error, MetAnotherError) as error:
                lost = lost_by(error)
                again = again or lost
                tries += 1
                if lost:
                    self.pool.forget()
                if until is None:
                    until = time.monotonic() + PATIENCE
                if (
                    not (lost or is_worth_another_try(error))
                    or time.monotonic() > until
                    or (not lost and tries > _TRIES)
                ):
                    ours = in_our_words(error, self.address.shown)
                    if ours is error:
                        raise
                    raise ours from error
            time.sleep(jitter(tries))

    @contextmanager
    def guest(self, *, last: Callable[[Connection, int], None]) -> Generator[Connection]:
        """Lend a connection to code that is not ours, inside a transaction; `last` runs before COMMIT."""
        if self._joined() is not None:
            raise UsageError("expected one transaction at a time, but this code is inside a transaction of this queue")

        def attempt(_again: bool) -> tuple[ExitStack, Connection, int]:
            with ExitStack() as held:
                connection = held.enter_context(self.pool.lend(leaving=_OURS))
                now = connection.begin(self.given_now(), gated=False, ours=False)
                return held.pop_all(), connection, now

        held, connection, now = self.patiently(attempt)
        with held:
            opened = joining.Opened(self, connection, now)
            token = opened.join()
            self._here.guest = opened
            try:
                yield connection
                joining.refuse_child(self.pid)
                with translated(self.address.shown):
                    connection.hurry()
                    last(connection, now)
                    self.commit(connection)
                queues = connection.to_wake
            finally:
                self._here.guest = None
                opened.leave(token)
        self.ring(queues)

    def _joined(self) -> tuple[Connection, int] | None:
        opened = joining.opened_by_us(self)
        return None if opened is None else (cast("Connection", opened.connection), opened.now)

    def is_joined(self) -> bool:
        """Say whether this context has a transaction open, which `write` would join."""
        return self._joined() is not None

    @contextmanager
    def look(self) -> Generator[Connection]:
        """Lend a connection that sees everything as it is now, however long the block takes."""
        with translated(self.address.shown), self.pool.lend() as connection:
            connection.ask("begin_look")
            yield connection
            connection.ask("end_look")

    # waking

    def ring(self, queues: Collection[str]) -> None:
        """Wake the runners of these queues now."""
        for queue in queues:
            self.listener.ring(queue)

    def close(self) -> None:
        self.listener.close()
        self.pool.close()


def _ask_now(connection: Connection) -> int:
    row = connection.one("now", {"now": None})
    return int(row[0])


_open: dict[tuple[Address, Clock], Database] = {}
_users: dict[Database, int] = {}
_inherited: list[Database] = []  # a forked child's: kept so that nothing closes them, which would end the parent's
_lock = threading.Lock()


def open_database(address: Address, clock: Clock, *, anew: bool = False) -> Database:
    """Give this process's Database of the address; each must be given up once. anew: see `Database`."""
    place = (address, clock)
    with _lock:
        if place in _open:
            return _used(_open[place])
    made = Database(address, clock, anew=anew)  # without the lock: nobody else is to wait for this server
    with _lock:
        database = _used(_open.setdefault(place, made))
    if database is not made:  # another thread was sooner
        made.close()
    return database


def _used(database: Database) -> Database:
    _users[database] = _users.get(database, 0) + 1
    return database


def give_up(database: Database) -> None:
    """End one use; the last one closes the connections."""
    with _lock:
        if database not in _users:  # the parent's
            return
        _users[database] -= 1
        if _users[database]:
            return
        del _users[database]
        for place in [place for place, known in _open.items() if known is database]:
            del _open[place]
    database.close()


def _forget_inherited() -> None:
    global _lock  # noqa: PLW0603 - whoever waited for the parent's does not exist here
    _lock = threading.Lock()
    let_go_of_inherited()
    _inherited.extend(_open.values())
    _open.clear()
    _users.clear()
    joining.forget()


os.register_at_fork(after_in_child=_forget_inherited)
