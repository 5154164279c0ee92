"""Loan: the application's own connection to the queue's file, lent for a push in its open transaction.

What is done on it is the application's to commit or to roll back. Its settings stay as they are, but for two of the
write-ahead log: from its first push on it leaves checkpoints to us (see `connection.connect`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import msgspec

from workqueue.errors import SchemaOutdated, StoreError, StoreUnavailable, UsageError
from workqueue.store.lender import Lender, lender, no_lender, not_open
from workqueue.store.relational.pushing import all_or_none
from workqueue.store.sqlite import location, schema
from workqueue.store.sqlite.connection import LOG_LIMIT, Asking, primary_code, translated

T = TypeVar("T")

_BY_ITSELF: Final = -1  # `autocommit` of a connection that begins transactions as isolation_level says
_BEGIN: Final = {"EXCLUSIVE": "BEGIN EXCLUSIVE"}
_BEGIN_TO_WRITE: Final = "BEGIN IMMEDIATE"  # what the other levels come to with the first write
_TABLES: Final = {"names": msgspec.json.encode(schema.TABLES).decode()}
_STALE: Final = 517  # SQLITE_BUSY_SNAPSHOT


class Loan(Asking):
    """A lent connection as a `relational.session.Session`, with cursors that give plain rows."""

    is_lent = True

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.to_wake: set[str] = set()

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        return sqlite3.Cursor(self._connection).execute(sql, parameters)

    def executemany(self, sql: str, rows: Sequence[Any], /) -> sqlite3.Cursor:
        return sqlite3.Cursor(self._connection).executemany(sql, rows)

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def refuse_other_file(self, path: str, said: str) -> None:
        """Raise UsageError where it is not to the file at `path`, or where other tables would be taken for ours."""
        names = {name: file for _, name, file in self.execute("PRAGMA database_list").fetchall()}
        there = names["main"]
        if there != path and (not there or location.identity(there) != location.identity(path)):
            raise UsageError(
                f"expected within= to be a connection to the queue's own file {path!r}, but {said} is to "
                f"{there or ':memory:'!r}; put your tables into the queue's file"
            )
        if "temp" in names:
            hiding = [name for (name,) in self.ask("hidden_by_temporary", _TABLES).fetchall()]
            if hiding:
                raise UsageError(
                    f"expected within= to see the queue's tables, but {said} has temporary ones of the same names: "
                    f"{', '.join(hiding)}; call those otherwise"
                )

    def begin(self, said: str) -> None:
        """See that a transaction is open, and may write."""
        if not self.in_transaction:
            how = self._connection.isolation_level
            if how is None or getattr(self._connection, "autocommit", _BY_ITSELF) != _BY_ITSELF:
                raise not_open(said, "execute BEGIN IMMEDIATE before you push")
            self.execute(_BEGIN.get(how.upper(), _BEGIN_TO_WRITE))
        else:
            # Before anything is read: whoever reads first can be overtaken by another writer, and may not write then.
            self.ask("take_lock")

    def leave_checkpoints_to_us(self) -> None:
        self.execute("PRAGMA wal_autocheckpoint = 0")
        self.execute(f"PRAGMA journal_size_limit = {LOG_LIMIT}")


def write_within(within: object, path: str, work: Callable[[Loan], T]) -> tuple[T, Loan, Lender]:
    """Run `work(session)` in the open transaction of the application's connection: all of it, or none when it raises.

    Raises UsageError for what is no connection to this file, or has no transaction open. Whatever is raised, the
    connection is as it was; but a full or broken disk may have made SQLite roll back all of the transaction.
    """
    lent = lender(within)
    connection = lent.connection
    if not isinstance(connection, sqlite3.Connection):
        raise no_lender(lent, f"a sqlite3.Connection to {path!r}")
    loan = Loan(connection)
    with _in_our_words(loan, lent.said, path), _plain_text(connection):
        loan.refuse_other_file(path, lent.said)
        lent.begin()
        was_open = loan.in_transaction
        try:
            loan.begin(lent.said)
            loan.leave_checkpoints_to_us()
            found = schema.version(loan)
            if found > schema.VERSION:
                raise SchemaOutdated(path=path, found=found, known=schema.VERSION)
            return all_or_none(loan, lambda: work(loan)), loan, lent
        except BaseException:
            if not was_open and loan.in_transaction:
                loan.execute("ROLLBACK")
            raise


@contextmanager
def _plain_text(connection: sqlite3.Connection) -> Generator[None]:
    """Let text be read as ours is, inside the block."""
    sqlite3.Cursor(connection)  # raises ProgrammingError on another thread than the connection's
    theirs = connection.text_factory
    connection.text_factory = str
    try:
        yield
    finally:
        connection.text_factory = theirs


@contextmanager
def _in_our_words(loan: Loan, said: str, path: str) -> Generator[None]:
    was_open = False
    try:
        was_open = loan.in_transaction
        with translated(path):
            yield
    except sqlite3.ProgrammingError as error:
        raise UsageError(
            f"expected within= to be open, and used by its own thread, but {said} says: {error}"
        ) from error
    except StoreError as error:
        cause = error.__cause__
        if was_open and not loan.in_transaction:
            error.add_note(f"SQLite has rolled back all of the transaction of {said}: do all of it again")
        if not isinstance(cause, sqlite3.Error):
            raise
        if primary_code(cause) == sqlite3.SQLITE_READONLY:
            raise UsageError(f"expected within= to be a connection that may write, but {said} says: {cause}") from cause
        if cause.sqlite_errorcode == _STALE:
            raise StoreUnavailable(
                f"expected to write to {path!r} in the transaction of {said}, but another one has written since it "
                "first read: roll back and do it again, from BEGIN IMMEDIATE on",
                path=path,
            ) from cause
        raise
