"""The connection that a handler or an application sees inside a transaction of the queue's file."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TypeAlias, cast
from weakref import WeakSet

from workqueue.errors import UsageError
from workqueue.store.contract import Parameters, Rows
from workqueue.store.joining import over, refuse_child

Translate: TypeAlias = Callable[[sqlite3.Error], Exception | None]


class GuestTransaction:
    """Runs statements inside the open transaction, and sees to it that it stays open. Not thread-safe.

    translate: gives the error of ours for one of SQLite's that is not the statement's fault, and None for the others.
    """

    def __init__(self, connection: sqlite3.Connection, translate: Translate = lambda _error: None) -> None:
        self._connection = connection
        self._translate = translate
        self._ended = False
        self._pid = os.getpid()
        self._cursors: WeakSet[sqlite3.Cursor] = WeakSet()
        connection.row_factory = None

    def execute(self, sql: str, parameters: Parameters = ()) -> Rows:
        with self._statement(sql):
            return self._given(self._connection.execute(sql, cast("Sequence[object]", parameters)))

    def executemany(self, sql: str, rows: Sequence[Parameters]) -> Rows:
        with self._statement(sql):
            return self._given(self._connection.executemany(sql, cast("Sequence[Sequence[object]]", rows)))

    def _given(self, cursor: sqlite3.Cursor) -> Rows:
        self._cursors.add(cursor)
        return cast("Rows", cursor)

    def close_cursors(self) -> None:
        """Let nobody read on: an answer that is not read to its end keeps the transaction from ending."""
        if self._pid == os.getpid():  # else they are the parent's
            for cursor in list(self._cursors):
                cursor.close()

    def end(self) -> None:
        """Be of no use from now on: the connection is lent to others after the block."""
        self._ended = True

    def check(self) -> None:
        """Raise UsageError when the block is over, or an error of the disk has ended the transaction; or in a child."""
        refuse_child(self._pid)
        if self._ended or not self._connection.in_transaction:
            raise over()

    @contextmanager
    def _statement(self, sql: str) -> Generator[None]:
        self.check()
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_AUTH:
                raise UsageError(
                    f"expected the transaction to be open until its block ends, got: {sql!r:.80}; "
                    "leave that to the block"
                ) from error
            ours = self._translate(error)
            if ours is not None:
                raise ours from error
            raise
        self.check()


def authorise(action: int, *_: str | None) -> int:
    """Deny a guest the statements that begin and end transactions; SQLite asks when one is prepared."""
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_TRANSACTION else sqlite3.SQLITE_OK
