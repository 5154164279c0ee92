"""The connection that a handler or an application sees inside a transaction of the queue's database."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias, cast

import psycopg
from psycopg import pq
from psycopg.types.numeric import IntDumper

from workqueue.errors import UsageError
from workqueue.store.contract import Parameters, Rows, Value
from workqueue.store.joining import over, refuse_child
from workqueue.store.postgres import placeholders
from workqueue.store.postgres.connection import Connection

Translate: TypeAlias = Callable[[psycopg.Error], Exception | None]

_ENDINGS: Final = frozenset({"begin", "start", "commit", "end", "abort", "rollback"})
_OF_THE_SESSION: Final = frozenset({"set", "reset", "discard", "listen", "unlisten", "load", "prepare", "deallocate"})
_LASTING: Final = re.compile(  # wherever it stands in a statement
    r"\b(?:set_config|pg_(?:try_)?advisory_lock(?:_shared)?|pg_temp|into\s+temp(?:orary)?|with\s+hold)\b", re.IGNORECASE
)
_BY_THE_CLIENT: Final = re.compile(r"\b(?:stdin|stdout)\b", re.IGNORECASE)
_OPEN: Final = pq.TransactionStatus.INTRANS
_FAILED: Final = pq.TransactionStatus.INERROR


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
    """Runs statements inside the open transaction, and sees to it that it stays open. Not thread-safe.

    `?` takes its value from a sequence and `:name` from a mapping, as on SQLite; `%s` and `%(name)s` do where there is
    no `?` or `:name`. Beside a sequence `??` is the operator `?`. A statement without parameters is as it is written.
    translate: gives the error of ours for one of the server's that is not the statement's fault, and None for others.
    """

    def __init__(self, connection: Connection, translate: Translate = lambda _error: None) -> None:
        self._connection = connection
        self._translate = translate
        self._ended = False
        self._pid = os.getpid()

    def execute(self, sql: str, parameters: Parameters = ()) -> Rows:
        with self._statement(sql), self._cursor() as cursor:
            if parameters:
                cursor.execute(_translated(sql, parameters), parameters)
            else:
                with self._connection.pipeline():  # where the server takes one statement only, and not `...; COMMIT`
                    cursor.execute(sql.encode())
            return _answer(cursor)

    def executemany(self, sql: str, rows: Sequence[Parameters]) -> Rows:
        with self._statement(sql), self._cursor() as cursor:
            taken = list(rows)
            if taken:
                text = _translated(sql, taken[0]) if taken[0] else placeholders.without_parameters(sql)
                cursor.executemany(text, taken)
            return Answered(max(cursor.rowcount, 0), [])

    def _cursor(self) -> psycopg.Cursor[tuple[Any, ...]]:
        cursor = self._connection.cursor()
        cursor.adapters.register_dumper(int, IntDumper)  # ours are all bigint, which few functions take
        return cursor

    def end(self) -> None:
        """Be of no use from now on: the connection is lent to others after the block."""
        self._ended = True

    def check(self) -> None:
        """Raise UsageError when the block is over, or the transaction is; or in a child."""
        refuse_child(self._pid)
        status = self._connection.info.transaction_status
        if not self._ended and status is _FAILED:
            raise UsageError(
                "expected no error of SQL before this: on PostgreSQL it ends the transaction, so nothing of the block "
                "is written; ROLLBACK TO a SAVEPOINT set before what may fail"
            )
        if self._ended or status is pq.TransactionStatus.IDLE:
            raise over()

    @contextmanager
    def _statement(self, sql: str) -> Generator[None]:
        words = placeholders.first_words(sql)
        to_a_savepoint = _goes_back(words)
        if self._ended or not to_a_savepoint:
            self.check()
        if words and not to_a_savepoint and (words[0] in _ENDINGS or words[:2] == ("prepare", "transaction")):
            raise UsageError(
                f"expected the transaction to be open until its block ends, got: {sql!r:.80}; leave that to the block"
            )
        if words[:1] == ("copy",) and _BY_THE_CLIENT.search(sql):
            raise UsageError(
                f"expected a statement that takes parameters and gives rows, got: {sql!r:.80}; say INSERT by "
                "executemany, or SELECT"
            )
        if _lasts_longer(words) or _LASTING.search(sql):
            self._connection.is_changed = True
        try:
            yield
        except psycopg.Error as error:
            ours = self._translate(error)
            if ours is not None:
                raise ours from error
            raise
        self.check()


def _goes_back(words: Sequence[str]) -> bool:
    """Say whether they are those of ROLLBACK TO."""
    return words[:1] == ("rollback",) and "to" in words[1:3]


def _lasts_longer(words: Sequence[str]) -> bool:
    """Say whether what such a statement does outlives the transaction, in the session."""
    if words[:1] == ("create",):
        return not {"temp", "temporary"}.isdisjoint(words)
    return bool(words) and words[0] in _OF_THE_SESSION and not {"local", "constraints", "transaction"} & {*words[1:2]}


def _translated(statement: str, parameters: Parameters) -> bytes:
    if isinstance(parameters, Mapping):
        return placeholders.for_mapping(statement)
    return placeholders.for_sequence(statement)


def _answer(cursor: psycopg.Cursor[tuple[Any, ...]]) -> Answered:
    rows = cast("list[tuple[Value, ...]]", cursor.fetchall()) if cursor.description else []
    return Answered(cursor.rowcount, rows)
