"""One connection to a queue's file: its settings, read back, and SQLite's error codes in our words."""

from __future__ import annotations

import random
import sqlite3
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import msgspec

from workqueue.errors import QueueFull, QueueMoved, StoreError, StoreUnavailable, UnsuitableFile
from workqueue.store.contract import Durability
from workqueue.store.headers import Encoded
from workqueue.store.relational.session import Row
from workqueue.store.sqlite.pushing import INLINE, insert
from workqueue.store.sqlite.schema import SQL

T = TypeVar("T")

_NO_ROW: Final[Row] = {}

# What each durability is to SQLite: journal_mode, and synchronous as the pragma answers it (1 normal, 2 full, 3 extra)
_JOURNAL: Final[dict[Durability, tuple[str, int]]] = {
    "full": ("wal", 2),
    "process": ("wal", 1),
    "conservative": ("delete", 3),
}
LOG_LIMIT: Final = 16 * 1024 * 1024  # bytes; a longer log is cut to this when it begins anew
_BY_A_TRIGGER: Final = 1811  # SQLITE_CONSTRAINT_TRIGGER: ours refuse what would come after a move
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_BROKEN: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_THE_DISK: Final = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN} | _BROKEN
)


class Asking:
    """What a connection needs beside SQLite's own to be a `relational.session.Session`."""

    execute: Callable[..., sqlite3.Cursor]
    executemany: Callable[..., sqlite3.Cursor]
    to_wake: set[str]
    is_lent = False

    @property
    def in_transaction(self) -> bool:
        raise NotImplementedError  # SQLite's own connection has one

    def ask(self, statement: str, row: Row = _NO_ROW, /) -> sqlite3.Cursor:
        return self.execute(SQL[statement], row)

    def insert(self, columns: Row, batch: Sequence[bytes], headers: Encoded, /) -> Sequence[int]:
        return insert(self.execute, columns, batch, headers)

    def set_data(self, job: int, data: bytes, was: bytes | None = None, /) -> bool:
        if was is not None and self.ask("data_of", {"job": job}).fetchone() != (was,):
            return False
        is_large = len(data) > INLINE
        if not self.ask("set_data", {"job": job, "data": None if is_large else data}).rowcount:
            return False
        if is_large:
            self.ask("set_large", {"job": job, "data": data})
        else:
            self.ask("drop_large", {"job": job})
        return True

    def hasten(self, jobs: Sequence[int], now: int, /) -> list[int]:
        row = {"ids": msgspec.json.encode(jobs).decode(), "now": now}
        self.ask("hasten_terms", row)
        return [job for (job,) in self.ask("hasten", row).fetchall()]

    def load(self, table: str, rows: Sequence[tuple[Any, ...]], /) -> None:
        if table in ("jobs", "completed"):
            large = [(row[0], row[-1]) for row in rows if len(row[-1]) > INLINE]
            self.executemany(SQL["import_payloads"], large)
            rows = [(*row[:-1], None) if len(row[-1]) > INLINE else row for row in rows] if large else rows
        try:
            self.executemany(SQL[f"import_{table}"], rows)
        except sqlite3.IntegrityError as error:
            raise ValueError(str(error)) from error

    def continue_ids(self, last_job: int, last_batch: int, /) -> None:
        for table, last in (("job", last_job), ("batch", last_batch)):
            self.ask(f"continue_{table}_ids", {"last": last})
            self.ask(f"raise_{table}_ids", {"last": last})

    def gate(self) -> None:
        """Who writes here is alone anyway."""

    def is_whole(self) -> bool:
        return self.in_transaction


class Connection(sqlite3.Connection, Asking):
    """A connection that knows the statements by name."""


def connect(path: str, durability: Durability) -> Connection:
    """Open `path` with every setting that the promises rest on, each read back.

    Autocheckpoint is off on each connection, because SQLite before 3.51.3 can lose commits to a checkpoint that races
    a writer (the WAL-reset bug); `Database` checkpoints under its write lock instead.
    """
    journal, synchronous = _JOURNAL[durability]
    connection = connect_bare(path)
    try:
        if not patiently(lambda: connection.execute("PRAGMA page_count").fetchone()[0]):
            # Of a new file its pages may move; see `room`. On another one this would be a write.
            patiently(lambda: connection.execute("PRAGMA auto_vacuum = incremental"))
        found = patiently(lambda: connection.execute(f"PRAGMA journal_mode = {journal}").fetchone()[0])
        if found != journal:
            raise UnsuitableFile(
                f"expected to use {path!r} with journal_mode={journal}, but another program uses it with {found}; "
                "all who share a file must agree on `durability`",
                path=path,
            )
        for setting, asked, expected in (
            ("synchronous", synchronous, synchronous),
            ("mmap_size", 0, 0),
            ("foreign_keys", 1, 1),
            ("trusted_schema", 0, 0),
            ("cell_size_check", 1, 1),
            ("journal_size_limit", LOG_LIMIT, LOG_LIMIT),
            ("fullfsync", 1, 1),
            ("checkpoint_fullfsync", 1, 1),
            ("wal_autocheckpoint", 0, 0),
            ("secure_delete", "FAST", 2),  # some builds overwrite each page of a large payload when it is deleted
        ):
            connection.execute(f"PRAGMA {setting} = {asked}")
            answer = connection.execute(f"PRAGMA {setting}").fetchone()
            if answer is not None and answer[0] != expected:  # mmap_size answers nothing where it is compiled out
                raise UnsuitableFile(f"expected SQLite to take {setting}={asked}, but it says {answer[0]}", path=path)
    except BaseException:
        connection.close()
        raise
    return connection


def journal(durability: Durability) -> str:
    """Give the journal mode of a file that is kept so."""
    return _JOURNAL[durability][0]


def connect_bare(path: str) -> Connection:
    """Open `path` without a setting that could change the file, and so that closing changes nothing either."""
    connection = sqlite3.connect(
        path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=256, factory=Connection
    )
    connection.to_wake = set()
    if sys.version_info >= (3, 12):  # there a close by us never unlinks a WAL that others may use
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
    try:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
    except BaseException:
        connection.close()
        raise
    return connection


def patiently(step: Callable[[], T], *, seconds: float = 30.0) -> T:
    """Run `step` until the file is not busy; at most `seconds`, then SQLite's own error goes through.

    Instead of SQLite's busy handler, whose growing steps (up to 100 ms) punish whoever waited longest.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            return step()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= until:
                raise
        time.sleep(random.uniform(0.0002, 0.002))  # noqa: S311 - jitter, guards no secret


def is_busy(error: sqlite3.Error) -> bool:
    """Say whether another connection held a lock."""
    return primary_code(error) in _BUSY


def primary_code(error: sqlite3.Error) -> int:
    """Give SQLite's primary result code; 0 for an error of the Python module itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def in_our_words(error: sqlite3.Error, path: str) -> StoreError:
    """Give the error of ours that says what to do about SQLite's."""
    code = primary_code(error)
    said = f"{error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})"
    if code == sqlite3.SQLITE_FULL:
        return QueueFull(f"expected room to write {path!r}, but the disk is full: {said}; free some space", path=path)
    if code in _BUSY:
        return StoreUnavailable(
            f"expected to get the write lock of {path!r} within its time, but another program held it: {said}",
            path=path,
        )
    if code in _BROKEN:
        return _unsound(path, said)
    return StoreUnavailable(
        f"expected to read and write {path!r}: {said}; check that the file exists, its owner and mode, and the disk",
        path=path,
    )


def _unsound(path: str, said: str) -> UnsuitableFile:
    return UnsuitableFile(
        f"expected {path!r} to be a sound database of workqueue, got: {said}; nothing was changed: keep the file, "
        "its -wal and its -shm together, and look with `workqueue check`",
        path=path,
    )


def disk_in_our_words(error: sqlite3.Error, path: str) -> StoreError | None:
    """Give that for the disk's errors only: the others are the fault of the statement, which is not ours."""
    return in_our_words(error, path) if primary_code(error) in _THE_DISK else None


@contextmanager
def translated(path: str) -> Generator[None]:
    """Turn what SQLite raises inside the block into our errors, its own words in `__cause__`."""
    try:
        yield
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unsound(path, f"what it holds cannot be read: {error}") from error
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) == _BY_A_TRIGGER:
            raise QueueMoved(path) from error
        if isinstance(error, sqlite3.OperationalError | sqlite3.DatabaseError) and not isinstance(
            error, sqlite3.IntegrityError | sqlite3.ProgrammingError
        ):
            raise in_our_words(error, path) from error
        raise
