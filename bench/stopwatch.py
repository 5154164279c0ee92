"""Stopwatch: how long SQLite takes for each statement, whoever executes it."""

import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")

taken: defaultdict[str, float] = defaultdict(float)
"""Seconds by the text of the statement, since the last `clear()`."""


def _measured(sql: str, step: Callable[[], T]) -> T:
    began = time.perf_counter()
    try:
        return step()
    finally:
        taken[sql] += time.perf_counter() - began


class _Cursor(sqlite3.Cursor):
    _sql = ""

    def execute(self, sql: str, parameters: Any = ()) -> "_Cursor":
        self._sql = sql
        return _measured(sql, lambda: super(_Cursor, self).execute(sql, parameters))

    def fetchone(self) -> Any:
        return _measured(self._sql, super().fetchone)

    def fetchall(self) -> list[Any]:
        return _measured(self._sql, super().fetchall)


@cache
def _measuring(kind: type[sqlite3.Connection]) -> type[sqlite3.Connection]:
    """Give the kind of connection that is like `kind`, and measures."""

    class Connection(kind):
        def execute(self, sql: str, parameters: Any = ()) -> _Cursor:
            return self.cursor(_Cursor).execute(sql, parameters)

    return Connection


@contextmanager
def running() -> Iterator[None]:
    """Let each connection that is opened inside the block measure its statements, as long as it lives."""
    connect = sqlite3.connect

    def connect_measuring(
        *arguments: Any, factory: type[sqlite3.Connection] = sqlite3.Connection, **others: Any
    ) -> sqlite3.Connection:
        return connect(*arguments, factory=_measuring(factory), **others)

    sqlite3.connect = connect_measuring
    try:
        yield
    finally:
        sqlite3.connect = connect
