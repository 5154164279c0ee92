"""Handles: the open connections on a queue's file, and whether it still is the file that was opened.

Four of them, each opened when it is first needed: one writes, one reads, one is lent to guests, one checkpoints.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Final, TypeAlias

from workqueue.errors import QueueClosed, StoreUnavailable, UnsuitableFile
from workqueue.logs import Log
from workqueue.store.clock import Clock
from workqueue.store.contract import Durability
from workqueue.store.sqlite import connection as sqlite
from workqueue.store.sqlite import location, schema
from workqueue.store.sqlite.connection import Connection, patiently, translated
from workqueue.store.sqlite.log_file import LogFile
from workqueue.store.sqlite.owners import EVERYBODY, Owners
from workqueue.store.sqlite.rules import Rules

Authoriser: TypeAlias = Callable[..., int]
log = Log("workqueue.store")

_AGREEING: Final = 2.0  # seconds in which others may close the file, or open it as we want to


class Handles:
    """See the module. Who asks holds the turn to write; for the reader, `reading`."""

    def __init__(
        self,
        path: str,
        durability: Durability,
        *,
        clock: Clock,
        authorise: Authoriser,
        owners: Callable[[], Owners],
    ) -> None:
        self.path = path
        self._wal_path = f"{path}-wal"
        self.reading = threading.RLock()  # for the same reason as the turn
        self._durability: Durability = durability
        self._clock = clock
        self._authorise = authorise
        self._owners = owners
        self._writer: Connection | None = None
        self._reader: Connection | None = None
        self._guest: Connection | None = None
        self._checkpointer: Connection | None = None
        self._file: location.Identity | None = None
        self._log: LogFile | None = None
        self._ended = False
        self.rules = Rules()  # of this file

    def writer(self) -> Connection:
        """Give the connection that writes; opening it makes or migrates the schema."""
        return self._writer if self._writer is not None else self._open()

    def reader(self) -> Connection:
        if self._reader is None:
            self._reader = self._connect()
        return self._reader

    def guest(self) -> Connection:
        """Give the connection for code that is not ours; SQLite asks `authorise` about what it prepares."""
        self.writer()
        if self._guest is None:
            self._guest = self._connect()
            self._guest.set_authorizer(self._authorise)
        return self._guest

    def checkpointer(self) -> Connection:
        if self._checkpointer is None:
            self._checkpointer = self._connect()
        return self._checkpointer

    @contextmanager
    def no_readers(self, patience: float) -> Generator[None]:
        """Keep our own readers out of the block; or let it run beside one that takes longer than `patience` seconds."""
        try:
            self.reading.acquire(timeout=patience)
            yield
        finally:
            try:  # not by `suppress`: between its steps Ctrl-C may come, and readers be kept out for ever
                self.reading.release()
            except RuntimeError:  # a reader has it
                pass

    def are_in_place(self) -> bool:
        """Say whether they are open, and the file is the one that was opened: to open another would make that anew."""
        return self._writer is not None and location.identity(self.path) == self._file

    def have(self, connection: Connection) -> bool:
        """Say whether this connection is one of ours still."""
        return connection in (self._writer, self._guest)

    def refuse_foreign(self) -> None:
        """Raise UnsuitableFile or SchemaOutdated for a file that is not ours, before there is anything beside it."""
        # Looked at through a connection without settings: switching a foreign file to WAL would be a change already.
        with translated(self.path), closing(sqlite.connect_bare(self.path)) as looking:
            patiently(lambda: schema.recognise(looking, self.path))

    def are_intact(self) -> bool:
        """Say whether what was committed is certainly in the file, or its log was removed under us.

        Raises StoreUnavailable when the file itself was removed or replaced.
        """
        if location.identity(self.path) != self._file:
            self.close()
            raise StoreUnavailable(
                f"expected {self.path!r} to stay the file it was, but it was removed or replaced while in use; what "
                "was written since is in the old file",
                path=self.path,
            )
        if self._log is None:
            self._log = self._open_log()
            return True
        if self._log.is_in_place():
            return True
        log.critical(
            "the write-ahead log of %s was removed under us: some code of this process has opened and closed the "
            "database file itself (open(), a copy, a hash), which drops its locks; never do that under an open queue",
            self.path,
        )
        return False

    def reopen(self) -> Connection:
        """Open all anew after a commit of unknown fate, so that what can be seen afterwards lasts."""
        if self._log is None or not self._log.is_in_place():
            self.close()
            writer = self._open()
        else:
            # The last to close would let the next one recover the log, and with it find what was written but never
            # flushed. While one connection is open, a commit that failed stays out of sight, and is written again.
            with self.reading, ExitStack() as before:
                for connection in self._forget():
                    before.callback(_close, connection)
                writer = self._open()
        if self._durability == "conservative":
            self._flush_folder(writer)
        return writer

    def end(self) -> None:
        """Close all for good: what a thread asks for that waited for its turn meanwhile is refused by QueueClosed."""
        self._ended = True
        self.close()

    def close(self) -> None:
        with self.reading:
            for connection in self._forget():
                _close(connection)
            self._close_log()

    def _forget(self) -> list[Connection]:
        known = [self._reader, self._guest, self._checkpointer, self._writer]
        self._reader = self._guest = self._checkpointer = self._writer = None
        return [connection for connection in known if connection is not None]

    def _flush_folder(self, writer: Connection) -> None:
        """Commit nothing: that flushes the folder, without which the journal of the last commit could come back."""
        with translated(self.path):
            try:
                patiently(lambda: writer.execute("BEGIN IMMEDIATE"))
                writer.execute(f"PRAGMA user_version = {schema.version(writer)}")
                patiently(lambda: writer.execute("COMMIT"))
            except BaseException:
                self.close()  # which rolls back
                raise

    def _connect(self) -> Connection:
        self._refuse_when_ended()
        return sqlite.connect(self.path, self._durability)

    def _refuse_when_ended(self) -> None:
        if self._ended:
            raise QueueClosed(self.path)

    def _open(self) -> Connection:
        self._refuse_when_ended()
        with translated(self.path):
            self._file = location.identity(self.path)
            if self._file is None:
                raise StoreUnavailable(
                    f"expected {self.path!r} to be there, but it is gone; restore it", path=self.path
                )
            self.refuse_foreign()
            with self._agreed():
                writer = self._connect()
                try:
                    self._prepare(writer)
                except BaseException:
                    writer.close()  # which rolls back
                    raise
            self._writer = writer
            self.rules = Rules()
            return writer

    @contextmanager
    def _agreed(self) -> Generator[None]:
        """Open the file in the block, whose journal others who have it open are not surprised by.

        SQLite itself refuses to give up a log that others use, and to begin one under others who have none it does not.
        """
        owners = self._owners()
        until = time.monotonic() + _AGREEING
        while not (owners.share() and self._has_our_journal()) and not owners.have_alone():
            owners.release(EVERYBODY)  # so that of several who want the same one can go first
            if time.monotonic() > until:
                raise UnsuitableFile(
                    f"expected to open {self.path!r} with durability={self._durability!r}, but other processes have it "
                    "open with another; all who share a file must agree on `durability`: stop those first to change it",
                    path=self.path,
                )
            time.sleep(random.uniform(0.001, 0.02))  # noqa: S311 - jitter, guards no secret
        try:
            yield
        finally:
            owners.share()

    def _has_our_journal(self) -> bool:
        with closing(sqlite.connect_bare(self.path)) as looking:
            is_new = not patiently(lambda: looking.execute(schema.SQL["objects"]).fetchone()[0])
            found = patiently(lambda: looking.execute("PRAGMA journal_mode").fetchone()[0])
        return is_new or bool(found == sqlite.journal(self._durability))

    def _prepare(self, writer: Connection) -> None:
        """Make or migrate the schema, and note which log this is."""
        # Without a log, a reader finds the file busy while another process commits, or rolls back for one that died.
        if patiently(lambda: schema.version(writer)) < schema.VERSION:
            patiently(lambda: writer.execute("BEGIN IMMEDIATE"))
            schema.recognise(writer, self.path)
            schema.migrate(writer, made_by=f"sqlite {sqlite3.sqlite_version}", now=self._clock())
            patiently(lambda: writer.execute("COMMIT"))
        patiently(lambda: writer.execute(schema.SQL["objects"]).fetchone())  # the first read opens the WAL
        self._close_log()
        self._log = self._open_log()

    def log_bytes(self) -> int:
        """Give the size of the log's file; 0 when there is none."""
        return 0 if self._log is None else self._log.size()

    def _open_log(self) -> LogFile | None:
        if self._durability == "conservative":
            return None
        try:
            return LogFile(self._wal_path)
        except FileNotFoundError:
            return None

    def _close_log(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None


def _close(connection: Connection) -> None:
    with suppress(sqlite3.Error):
        connection.close()
