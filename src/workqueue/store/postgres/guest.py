"""The connection that a handler or an application sees inside a transaction of the queue's database."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, cast

from psycopg import pq

from workqueue.errors import UsageError
from workqueue.store.contract import Parameters, Rows, Value
from workqueue.store.postgres.connection import Connection

_ENDS: Final = re.compile(
    r"\s*(?:commit|end|abort|rollback(?!\s+(?:work\s+|transaction\s+)?to\b)|prepare\s+transaction)\b", re.IGNORECASE
)


class Answered:
    """See `store.contract.Rows`."""

    def __init__(self, rowcount: int, rows: list[tuple[Value, ...]]) -> None:
        self.rowcount = rowcount
        self.lastrowid: int | None = None  # PostgreSQL says RETURNING
        self._rows = rows
        self._next = 0

    def fetchone(self) -> tuple[Value, ...] | None:
        if self._next == len(self._rows):
            return None
        self._next += 1
        return self._rows[self._next - 1]

    def fetchall(self) -> list[tuple[Value, ...]]:
        rest = self._rows[self._next :]
        self._next = len(self._rows)
        return rest


class PostgresTransaction:
    """Runs statements inside the open transaction, and sees to it that it stays open. Not thread-safe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ended = False

    def execute(self, sql: str, parameters: Parameters = ()) -> Rows:
        self._look_at(sql)
        cursor = self._connection.execute(_text(sql), _given(parameters))
        rows = cast("list[tuple[Value, ...]]", cursor.fetchall()) if cursor.description else []
        self.check()
        return Answered(cursor.rowcount, rows)

    def executemany(self, sql: str, rows: Sequence[Parameters]) -> Rows:
        self._look_at(sql)
        with self._connection.cursor() as cursor:
            cursor.executemany(_text(sql), rows)
            self.check()
            return Answered(cursor.rowcount, [])

    def end(self) -> None:
        """Be of no use from now on: the connection is lent to others after the block."""
        self._ended = True

    def check(self) -> None:
        """Raise UsageError when the block is over, or the transaction is."""
        if self._ended or self._connection.info.transaction_status is pq.TransactionStatus.IDLE:
            raise UsageError(
                "expected the transaction to be open until its block ends, but it is over: the block has ended, or an "
                "error has rolled it back; leave that to the block"
            )

    def _look_at(self, statement: str) -> None:
        self.check()
        if _ENDS.match(statement):
            raise UsageError(
                f"expected the transaction to be open until its block ends, got: {statement!r:.80}; leave that to the "
                "block"
            )


def _text(statement: str) -> bytes:
    return statement.encode()


def _given(parameters: Parameters) -> Sequence[Value] | Mapping[str, Value] | None:
    return parameters or None  # without any, a % in the statement is itself
