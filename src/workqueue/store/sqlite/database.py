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
from collections.abc import Callable, Collection, Generator
from contextlib import closing, contextmanager, suppress
from typing import Final, TypeVar, cast

from workqueue.errors import QueueFull, SchemaOutdated, StoreError, StoreUnavailable, UnsuitableFile, UsageError
from workqueue.logs import Log
from workqueue.store import joining
from workqueue.store.clock import Clock
from workqueue.store.contract import Durability
from workqueue.store.sqlite import connection as sqlite
from workqueue.store.sqlite import location, schema
from workqueue.store.sqlite.bell import Exchange, SocketBell
from workqueue.store.sqlite.connection import Connection, patiently, primary_code, translated
from workqueue.store.sqlite.handles import Handles
from workqueue.store.sqlite.owners import Owners
from workqueue.store.sqlite.reserve import Reserve

T = TypeVar("T")
log = Log("workqueue.store")

PATIENCE: Final = 30.0  # seconds that a write waits for its turn
_FORK_PATIENCE: Final = 5.0
_BEGIN: Final = "BEGIN IMMEDIATE -- by workqueue"
_COMMIT: Final = "COMMIT -- by workqueue"
_ROLLBACK: Final = "ROLLBACK -- by workqueue"
_READERS_PATIENCE: Final = 1.0  # seconds that a checkpoint waits for our own readers
_CHECKPOINT_PAGES: Final = 1000  # as SQLite's own autocheckpoint
_PAGE: Final = 4096

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
        self._handles = Handles(path, durability, clock=clock, authorise=self._authorise)
        self._handles.refuse_foreign()  # before there is a file of ours beside it
        self.owners = Owners(f"{path}-owners")
        self.exchange = Exchange(path)
        self.reserve = Reserve(f"{path}-reserve")
        self.bells: dict[int, SocketBell] = {}
        self._to_wake: set[str] = set()  # the queues that the open transaction gave work to; its holder has the turn
        self._turnstile = threading.Lock()
        self._holder: int | None = None
        self._unsaved_pages = 0.0
        self._guest_speaks = False
        self._held_still: list[threading.Lock] = []
        try:
            with self._turn():
                self._handles.writer()
        except BaseException:
            self._let_go()
            raise
        self.reserve.keep()

    # writing

    def write(
        self, work: Callable[[Connection, int], T], landed: Callable[[Connection, T], bool], /, *, gated: bool = True
    ) -> T:
        """Run `work(connection, now)` in a write transaction, or in the one this context has open already.

        now: the store's time, read after the lock was taken, so that the order of commits is the order of times.
        landed: says, after a commit of unknown fate, whether what `work` gave is in the file. gated: each one is here,
        for a file has one writer.
        """
        del gated
        joined = self._joined_transaction()
        if joined is not None:
            with translated(self.path):
                return work(*joined)
        with self._turn(), translated(self.path):
            result = self._attempt(work, landed)
            self._keep_wal_short()
            return result

    def _attempt(self, work: Callable[[Connection, int], T], landed: Callable[[Connection, T], bool]) -> T:
        made_room = False
        for _ in range(3):
            connection = self._handles.writer()
            changes = connection.total_changes
            self._to_wake.clear()
            try:
                result = work(connection, self._begin(connection))
                runners = self._runners_to_wake(connection)
                lasts = self._commit(connection)
            except BaseException as error:
                self._recover(connection, error)
                if made_room or not _is_full(error):
                    raise
                self._make_room()
                made_room = True
                continue
            self._unsaved_pages += 4 + (connection.total_changes - changes) / 8
            if lasts or landed(self._handles.reopen(), result):
                self._ring(runners)
                return result
            log.error("a commit to %s did not last; doing it again", self.path)
        raise StoreUnavailable(f"expected a commit to {self.path!r} to last, but three did not", path=self.path)

    def _make_room(self) -> None:
        """On a full disk: give up the reserve, and let the log begin anew so that it need not grow."""
        self.reserve.release()
        self.checkpoint_in_turn()

    def refuse_pushes_when_full(self) -> None:
        """Raise QueueFull unless the disk, or the pages that completed jobs left in the file, have room to spare."""
        if self.reserve.is_low() and self.read(_spare_bytes) < self.reserve.size:
            raise QueueFull(
                f"expected room on the disk of {self.path!r}, but it is nearly full: pushes are refused so that "
                "settling and cleaning can go on; free some space",
                path=self.path,
            )

    @contextmanager
    def guest(self, *, last: Callable[[Connection, int], None]) -> Generator[Connection]:
        """Lend a connection to code that is not ours, inside a write transaction; `last` runs before COMMIT."""
        if self._joined_transaction() is not None:
            raise UsageError("expected one transaction at a time, but this code is inside a transaction of this queue")
        with self._turn():
            with translated(self.path):
                connection = self._handles.guest()
                now = self._begin(connection)
            self._to_wake.clear()
            opened = joining.Opened(self, connection, now)
            token = opened.join()
            began = time.monotonic()
            try:
                self._guest_speaks = True
                try:
                    yield connection
                finally:
                    self._guest_speaks = False
                with translated(self.path):
                    last(connection, now)
                    runners = self._runners_to_wake(connection)
                    lasted = self._commit(connection)
                if not lasted:
                    self._handles.reopen()
                    raise StoreUnavailable(
                        f"expected the commit to {self.path!r} to last, but nobody knows; look, and do it again",
                        path=self.path,
                    )
                self._ring(runners)
                large = self._handles.log_bytes() > sqlite.LOG_LIMIT
                self._unsaved_pages += _CHECKPOINT_PAGES if large else 8
            except BaseException as error:
                if _is_full(error) or isinstance(error, QueueFull):
                    self.reserve.release()
                raise
            finally:
                opened.leave(token)
                if self._handles.have(connection):
                    self._roll_back(connection)
                if time.monotonic() - began > 5:
                    log.warning("a transaction held the write lock of %s for more than 5 s", self.path)
            self._keep_wal_short()

    def _authorise(self, action: int, *_: str | None) -> int:
        # SQLite asks when a statement is prepared. Ours are prepared while the guest is silent, and under texts of
        # their own, so that the statement cache does not lend them to a guest.
        return sqlite3.SQLITE_DENY if self._guest_speaks and action == sqlite3.SQLITE_TRANSACTION else sqlite3.SQLITE_OK

    def take_bell(self, runner: int) -> None:
        """Let a runner of this process not be woken any more."""
        bell = self.bells.pop(runner, None)
        if bell is not None:
            bell.close()

    def is_joined(self) -> bool:
        """Say whether this context has a transaction open, which `write` would join."""
        return self._joined_transaction() is not None

    def wake(self, queues: Collection[str]) -> None:
        """Let the runners of these queues, in every process, be woken by the commit of the transaction that is open."""
        self._to_wake.update(queues)

    def _runners_to_wake(self, connection: Connection) -> list[int]:
        found = (connection.execute(schema.SQL["listeners"], {"queue": queue}) for queue in self._to_wake)
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
        return None if opened is None else (cast("Connection", opened.connection), opened.now)

    @contextmanager
    def _turn(self) -> Generator[None]:
        if self._holder == threading.get_ident():
            raise UsageError(
                "expected no await inside `with ctx.transaction()`: another job of this loop has a transaction open"
            )
        if not self._turnstile.acquire(timeout=PATIENCE):
            raise StoreUnavailable(
                f"expected a turn to write {self.path!r} within {PATIENCE:.0f} s, but another thread of this process "
                "holds a transaction open",
                path=self.path,
            )
        self._holder = threading.get_ident()
        try:
            yield
        finally:
            self._holder = None
            self._turnstile.release()

    def _begin(self, connection: Connection) -> int:
        patiently(lambda: connection.execute(_BEGIN), seconds=PATIENCE)
        found = schema.version(connection)
        if found > schema.VERSION:
            self._roll_back(connection)
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
        with self._handles.reading, translated(self.path):
            reader = self._handles.reader()
            found = patiently(lambda: schema.version(reader), seconds=PATIENCE)
            if found > schema.VERSION:
                raise SchemaOutdated(path=self.path, found=found, known=schema.VERSION)
            return patiently(lambda: work(reader), seconds=PATIENCE)

    @contextmanager
    def look(self) -> Generator[Connection]:
        """Lend a connection that sees the file as it is now, however long the block takes; the log grows meanwhile."""
        with translated(self.path), closing(sqlite.connect(self.path, self.durability)) as looking:
            looking.ask("begin_look")
            yield looking
            looking.ask("end_look")

    # the WAL

    def _keep_wal_short(self) -> None:
        if self._unsaved_pages >= _CHECKPOINT_PAGES and self.durability != "conservative":
            try:
                self.checkpoint_in_turn()
            except (sqlite3.Error, StoreError) as error:  # whoever wrote before is not to be told that it failed
                log.warning("checkpoint of %s: %s; the log grows until one succeeds", self.path, error)

    def note_bytes(self, count: int) -> None:
        """Count payload bytes toward the next checkpoint; called inside a write."""
        self._unsaved_pages += count / _PAGE

    def checkpoint_in_turn(self) -> tuple[int, int, int]:
        """Copy the WAL into the database while *we* hold the write lock; give SQLite's (busy, pages, copied).

        No writer can reset the WAL meanwhile, which closes the race of the WAL-reset bug (SQLite before 3.51.3). The
        same path on every version, so that one path is tested. Our own readers stand aside: one that began before
        would keep the log from starting anew. The caller has the turn.
        """
        writer, checkpointer = self._handles.writer(), self._handles.checkpointer()
        patiently(lambda: writer.execute(_BEGIN), seconds=PATIENCE)
        try:
            with self._handles.no_readers(_READERS_PATIENCE):
                busy, pages, copied = checkpointer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            log.warning("checkpoint of %s: %s; the log grows until one succeeds", self.path, error)
            busy, pages, copied = 1, -1, -1
        finally:
            self._roll_back(writer)
        self._unsaved_pages = 0.0
        if pages > 16 * _CHECKPOINT_PAGES and copied < pages:
            log.warning("the log of %s has %d pages because a reader does not end", self.path, pages)
        return busy, pages, copied

    def checkpoint(self) -> tuple[int, int, int]:
        """As `checkpoint_in_turn`, taking the turn."""
        with self._turn(), translated(self.path):
            return self.checkpoint_in_turn()

    # forking and closing

    def stand_still(self) -> None:
        """Hold every other thread off the connections until `go_on`; for a fork, which must not wait for ever."""
        locks = (
            [self._handles.reading]
            if self._holder == threading.get_ident()
            else [self._turnstile, self._handles.reading]
        )
        self._held_still = [lock for lock in locks if lock.acquire(timeout=_FORK_PATIENCE)]
        if len(self._held_still) < len(locks):
            log.warning("forking while %s is in use: the child may find itself locked out of it", self.path)

    def go_on(self) -> None:
        while self._held_still:
            self._held_still.pop().release()

    def close(self) -> None:
        """Let go of the file, its log copied into it; `shared.give_up` calls this when nobody uses it any more."""
        with self._turn():
            if self.durability != "conservative" and self._handles.are_open():
                with suppress(sqlite3.Error, StoreError):
                    self.checkpoint_in_turn()
        self._let_go()

    def _let_go(self) -> None:
        self._handles.close()
        self.exchange.close()
        self.owners.close()


def _is_full(error: BaseException) -> bool:
    return isinstance(error, sqlite3.Error) and primary_code(error) == sqlite3.SQLITE_FULL


def _spare_bytes(connection: Connection) -> int:
    return _PAGE * int(connection.execute("PRAGMA freelist_count").fetchone()[0])
