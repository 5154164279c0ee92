"""Database: the one handle a process has on a queue's file: its connections, its turn to write, and its guards.

All of a process's stores on one file share one Database, because POSIX locks belong to the process: one writing
connection behind one lock, one owners file, one set of bells. A write goes

    turnstile (threads of this process) → BEGIN IMMEDIATE (processes) → work → COMMIT → is it still our file and WAL?

A commit whose fate is unknown (an I/O error in COMMIT, a WAL that somebody unlinked) is looked up by what it wrote, and
done again when it is not there.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Generator, Hashable
from contextlib import closing, contextmanager, suppress
from typing import Final, TypeAlias, TypeVar, cast

from workqueue.errors import QueueFull, SchemaOutdated, StoreError, StoreUnavailable, UnsuitableFile, UsageError
from workqueue.logs import Log
from workqueue.store import joining
from workqueue.store.clock import Clock
from workqueue.store.contract import Durability
from workqueue.store.guest import authorise
from workqueue.store.lender import in_ours_already
from workqueue.store.relational.session import Session
from workqueue.store.sqlite import connection as sqlite
from workqueue.store.sqlite import location, schema
from workqueue.store.sqlite.bell import Exchange, SocketBell
from workqueue.store.sqlite.checkpoints import PAGE, Checkpoints
from workqueue.store.sqlite.connection import Connection, patiently, primary_code, translated
from workqueue.store.sqlite.handles import Handles
from workqueue.store.sqlite.loan import write_within
from workqueue.store.sqlite.owners import Owners
from workqueue.store.sqlite.reading import Reading
from workqueue.store.sqlite.reserve import Reserve, nearly_full
from workqueue.store.sqlite.rules import Rules
from workqueue.store.sqlite.turnstile import PATIENCE, Turnstile

T = TypeVar("T")
Work: TypeAlias = Callable[[Connection, int], T]
Landed: TypeAlias = Callable[[Connection, T], bool]
log = Log("workqueue.store")

_FORK_PATIENCE: Final = 5.0
_BEGIN: Final = "BEGIN IMMEDIATE -- by workqueue"
_COMMIT: Final = "COMMIT -- by workqueue"
_ROLLBACK: Final = "ROLLBACK -- by workqueue"
_APPLICATIONS_PATIENCE: Final = 1.0  # seconds that a checkpoint waits for a transaction that may be this thread's own

_SUSPECT: Final = frozenset(
    {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }
)


class Database:
    """See the module. Safe from any thread; `pid` tells whether it is this process's own."""

    def __init__(self, path: str, durability: Durability, *, clock: Clock, allow_network: bool) -> None:
        if sqlite3.sqlite_version_info < schema.OLDEST_SQLITE:
            raise UnsuitableFile(f"expected SQLite 3.35 or newer, got: {sqlite3.sqlite_version}", path=path)
        location.prepare(path, allow_network=allow_network)
        self.path = path
        self.durability: Durability = durability
        self.clock = clock
        self.pid = os.getpid()
        self._handles = Handles(path, durability, clock=clock, authorise=self._authorise, owners=lambda: self.owners)
        self._reading = Reading(self._handles, path)
        self._handles.refuse_foreign()  # before there is a file of ours beside it
        self.owners = Owners(f"{path}-owners")
        self.exchange = Exchange(path)
        self.reserve = Reserve(f"{path}-reserve")
        self.bells: dict[int, SocketBell] = {}
        self._turnstile = Turnstile(path)
        self._turn = self._turnstile.turn
        self.checkpoints = Checkpoints(path, self._handles, durability)
        self._guest_speaks = False
        self._held_still: list[threading.RLock] = []
        self._will_checkpoint = False  # a thread of its own is at it
        self._closed = False
        try:
            with self._turn():
                self._handles.writer()
            self.reserve.keep()
        except BaseException:
            self._let_go()
            raise

    @property
    def rules(self) -> Rules:
        """What is known of the retry rules in the file that is open; of another one, nothing."""
        return self._handles.rules

    # writing

    def write(self, work: Work[T], landed: Landed[T], /, *, gated: bool = True, within: object | None = None) -> T:
        """Run `work(session, now)` in a write transaction, or in the one this context has open already.

        now: the store's time, read after the lock was taken, so that the order of commits is the order of times.
        landed: says, after a commit of unknown fate, whether what `work` gave is in the file. gated: each one is here,
        for a file has one writer. within: the application's connection, in whose open transaction to do it instead.
        """
        del gated
        joined = self._joined_transaction()
        if within is not None:
            return self._write_within(within, work, joined)
        if joined is not None:
            with translated(self.path):
                return work(*joined)
        with self._turn(), translated(self.path):
            result = self._attempt(work, landed)
            self._keep_wal_short()
            return result

    def _attempt(self, work: Work[T], landed: Landed[T]) -> T:
        made_room = False
        for _ in range(3):
            connection = self._handles.writer()
            changes = connection.total_changes
            connection.to_wake.clear()
            try:
                result = work(connection, self._begin(connection))
                runners = self._listeners(connection, connection.to_wake)
                lasts = self._commit(connection)
            except BaseException as error:
                self._recover(connection, error)
                if made_room or not _is_full(error):
                    raise
                self._make_room()
                made_room = True
                continue
            self.checkpoints.note_commit(connection.total_changes - changes)
            if lasts or landed(self._handles.reopen(), result):
                self._ring(runners)
                return result
            log.error("a commit to %s did not last; doing it again", self.path)
        raise StoreUnavailable(f"expected a commit to {self.path!r} to last, but three did not", path=self.path)

    def _write_within(self, within: object, work: Work[T], joined: object | None) -> T:
        if joined is not None:
            raise in_ours_already()
        try:  # what is done within is written for any session
            result, loan, lender = write_within(
                within, self.path, lambda loan: work(cast("Connection", loan), self.clock())
            )
        except QueueFull as error:
            if error.__cause__ is not None:  # SQLite's own
                self.reserve.release()
            raise
        if lender.tell is not None and loan.to_wake:
            lender.tell(lambda: self._ring_for(loan.to_wake))
        self._checkpoint_soon()
        return result

    def _ring_for(self, queues: Collection[str]) -> None:
        """Wake the runners of these queues, after a commit that is not ours; a hint, so it raises nothing."""
        try:
            if not self._closed and self.pid == os.getpid():
                self._ring(self.read(lambda connection: self._listeners(connection, queues)))
        except (sqlite3.Error, StoreError) as error:
            log.debug("could not wake the runners of %s: %s; they poll", self.path, error)

    def _make_room(self) -> None:
        """On a full disk: give up the reserve, and let the log begin anew so that it need not grow."""
        self.reserve.release()
        self.checkpoint_in_turn()

    def refuse_pushes_when_full(self, session: Session) -> None:
        """Raise QueueFull unless the disk, or the pages that completed jobs left in the file, have room to spare."""
        if self.reserve.is_low() and PAGE * session.ask("free_pages").fetchone()[0] < self.reserve.size:
            raise nearly_full(self.path)

    @contextmanager
    def guest(self, *, last: Callable[[Connection, int], None]) -> Generator[Connection]:
        """Lend a connection to code that is not ours, inside a write transaction; `last` runs before COMMIT."""
        if self._joined_transaction() is not None:
            raise UsageError("expected one transaction at a time, but this code is inside a transaction of this queue")
        with self._turn():
            with translated(self.path):
                connection = self._handles.guest()
            try:
                with translated(self.path):
                    now = self._begin(connection)
                connection.to_wake.clear()
                with self._lent(connection, now):
                    yield connection
                joining.refuse_child(self.pid)
                with translated(self.path):
                    last(connection, now)
                    runners = self._listeners(connection, connection.to_wake)
                    lasted = self._commit(connection)
                if not lasted:
                    self._handles.reopen()
                    raise StoreUnavailable(
                        f"expected the commit to {self.path!r} to last, but nobody knows; look, and do it again",
                        path=self.path,
                    )
                self._ring(runners)
                self.checkpoints.note_others()
            except BaseException as error:
                if _is_full(error) or isinstance(error, QueueFull):
                    self.reserve.release()
                raise
            finally:
                if self.pid == os.getpid() and self._handles.have(connection):  # else it is the parent's
                    self._roll_back(connection)
            self._keep_wal_short()

    @contextmanager
    def _lent(self, connection: Connection, now: int) -> Generator[None]:
        """Let code that is not ours speak in the block, and be inside the transaction."""
        opened = joining.Opened(self, connection, now)
        token = None
        began = time.monotonic()
        try:
            token = opened.join()
            self._guest_speaks = True
            yield
        finally:
            self._guest_speaks = False
            opened.leave(token)
            if time.monotonic() - began > 5:
                log.warning("a transaction held the write lock of %s for more than 5 s", self.path)

    def is_lent(self) -> bool:
        """Say whether a guest's block is open, in whatever thread."""
        return self._guest_speaks

    def _authorise(self, action: int, *_: str | None) -> int:
        # Our own statements are prepared while the guest is silent, and under texts of their own, so that the statement
        # cache does not lend them to a guest.
        return authorise(action) if self._guest_speaks else sqlite3.SQLITE_OK

    def take_bell(self, runner: int) -> None:
        """Let a runner of this process not be woken any more."""
        bell = self.bells.pop(runner, None)
        if bell is not None:
            bell.close()

    def is_joined(self) -> bool:
        """Say whether this context has a transaction open, which `write` would join."""
        return self._joined_transaction() is not None

    def _listeners(self, connection: Connection, queues: Collection[str]) -> list[int]:
        found = (connection.ask("listeners", {"queue": queue}) for queue in queues)
        return [runner for rows in found for (runner,) in rows]

    def _ring(self, runners: Collection[int]) -> None:
        for runner in runners:
            bell = self.bells.get(runner)
            if bell is not None:
                bell.ring()
            else:
                self.exchange.ring(runner)

    def _joined_transaction(self) -> tuple[Connection, int] | None:
        opened = joining.opened_by_us(self)
        if opened is None:
            return None
        connection = cast("Connection", opened.connection)
        if not connection.in_transaction:  # what is done on it would commit at once
            raise joining.over()
        return connection, opened.now

    def _begin(self, connection: Connection) -> int:
        patiently(lambda: connection.execute(_BEGIN), seconds=PATIENCE)
        found = schema.version(connection)
        if found > schema.VERSION:
            raise SchemaOutdated(path=self.path, found=found, known=schema.VERSION)
        return self.clock()

    def _commit(self, connection: Connection) -> bool:
        """Commit; say whether it is certain that it lasts."""
        try:
            patiently(lambda: connection.execute(_COMMIT), seconds=PATIENCE)
        except sqlite3.Error as error:
            if _is_full(error) or sqlite.is_busy(error):
                self._roll_back(connection)
                raise
            log.error("COMMIT to %s: %s; looking whether it lasted", self.path, error)
            return False
        return self._handles.are_intact()

    def _roll_back(self, connection: Connection) -> None:
        if connection.in_transaction:  # SQLITE_FULL and I/O errors have rolled back by themselves
            try:
                connection.execute(_ROLLBACK)
            except sqlite3.Error as error:
                log.error("ROLLBACK of %s: %s; opening it anew", self.path, error)
                self._handles.close()

    def _recover(self, connection: Connection, error: BaseException) -> None:
        if isinstance(error, sqlite3.Error) and primary_code(error) in _SUSPECT:
            self._handles.close()  # closing rolls back; the next write opens the file anew
        elif self._handles.have(connection):
            self._roll_back(connection)

    # reading

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work(connection)`, which must fetch all it reads, on a connection that only reads."""
        joined = self._joined_transaction()
        if joined is not None:
            with translated(self.path):
                return work(joined[0])
        return self._reading.read(work)

    def read_again(self, question: Hashable, work: Callable[[Connection], T]) -> T:
        """As `read`, but give the same answer again until somebody has written; see `Reading.read_again`."""
        return self.read(work) if self.is_joined() else self._reading.read_again(question, work)

    @contextmanager
    def look(self) -> Generator[Connection]:
        """Lend a connection that sees the file as it is now, however long the block takes; the log grows meanwhile."""
        with translated(self.path), closing(sqlite.connect(self.path, self.durability)) as looking:
            looking.ask("begin_look")
            yield looking
            looking.ask("end_look")

    # the WAL

    def _keep_wal_short(self) -> None:
        if self.checkpoints.is_due():
            try:
                self.checkpoint_in_turn()
            except (sqlite3.Error, StoreError) as error:  # whoever wrote before is not to be told that it failed
                log.warning("checkpoint of %s: %s; the log grows until one succeeds", self.path, error)

    def _checkpoint_soon(self) -> None:
        """See to the log after a push in the application's transaction, which holds the write lock until it ends."""
        if self._turnstile.lock.acquire(blocking=False):  # else somebody writes, and sees to it
            self.checkpoints.note_others()
            self._turnstile.lock.release()
        if self.checkpoints.is_due() and not self._will_checkpoint:
            self._will_checkpoint = True
            threading.Thread(target=self._checkpoint_late, name="workqueue checkpoint", daemon=True).start()

    def _checkpoint_late(self) -> None:
        try:
            with self._turn():
                self.checkpoint_in_turn(_APPLICATIONS_PATIENCE)
        except (sqlite3.Error, StoreError) as error:
            log.debug("no checkpoint of %s: %s; the next push sees to it", self.path, error)
        finally:
            self._will_checkpoint = False

    def checkpoint_in_turn(self, patience: float = PATIENCE) -> tuple[int, int, int]:
        """Copy the log into the database, see `Checkpoints.copy`. The caller has the turn."""
        writer = self._handles.writer()
        try:
            patiently(lambda: writer.execute(_BEGIN), seconds=patience)
            return self.checkpoints.copy()
        finally:
            self._roll_back(writer)

    def checkpoint(self) -> tuple[int, int, int]:
        """As `checkpoint_in_turn`, taking the turn."""
        with self._turn(), translated(self.path):
            return self.checkpoint_in_turn()

    # forking and closing

    def stand_still(self) -> None:
        """Hold every other thread off the connections until `go_on`; for a fork, which must not wait for ever."""
        locks = [self._turnstile.lock, self._handles.reading]
        self._held_still = [lock for lock in locks if lock.acquire(timeout=_FORK_PATIENCE)]
        if len(self._held_still) < len(locks):
            log.warning("forking while %s is in use: the child may find itself locked out of it", self.path)

    def go_on(self) -> None:
        while self._held_still:
            self._held_still.pop().release()

    def close(self) -> None:
        """Let go of the file, its log copied into it; `shared.give_up` calls this when nobody uses it any more."""
        self._closed = True
        with self._turn():
            with suppress(sqlite3.Error, StoreError):
                if self.durability != "conservative" and self._handles.are_in_place():
                    self.checkpoint_in_turn(_APPLICATIONS_PATIENCE)
            self._let_go()

    def _let_go(self) -> None:
        self._handles.end()
        self.exchange.close()
        self.owners.close()


def _is_full(error: BaseException) -> bool:
    return isinstance(error, sqlite3.Error) and primary_code(error) == sqlite3.SQLITE_FULL
