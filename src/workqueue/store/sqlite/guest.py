"""The connection that a handler or an application sees inside a transaction of the queue's file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final, cast

from workqueue.errors import UsageError
from workqueue.store.contract import Parameters, Rows
from workqueue.store.sqlite.connection import in_our_words, primary_code

_THE_DISK: Final = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CORRUPT}
)


class GuestTransaction:
    """Runs statements inside the open transaction, and sees to it that it stays open. Not thread-safe."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self._connection = connection
        self._path = path
        self._ended = False
        connection.row_factory = None

    def execute(self, sql: str, parameters: Parameters = ()) -> Rows:
        self.check()
        try:
            rows = self._connection.execute(sql, cast("Sequence[object]", parameters))
        except sqlite3.Error as error:
            if primary_code(error) == sqlite3.SQLITE_AUTH:
                raise UsageError(
                    f"expected the transaction to be open until its block ends, got: {sql!r:.80}; "
                    "leave that to the block"
                ) from error
            if primary_code(error) in _THE_DISK:
                raise in_our_words(error, self._path) from error
            raise
        self.check()
        return cast("Rows", rows)

    def executemany(self, sql: str, rows: Sequence[Parameters]) -> Rows:
        self.check()
        return cast("Rows", self._connection.executemany(sql, cast("Sequence[Sequence[object]]", rows)))

    def end(self) -> None:
        """Be of no use from now on: the connection is lent to others after the block."""
        self._ended = True

    def check(self) -> None:
        """Raise UsageError when the block is over, or an error of the disk has ended the transaction."""
        if self._ended or not self._connection.in_transaction:
            raise UsageError(
                "expected the transaction to be open until its block ends, but it is over: the block has ended, or an "
                "error has rolled it back; leave that to the block"
            )
