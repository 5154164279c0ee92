"""The tables of a store of either engine, asked by single statements."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any, Protocol

import psycopg
from workqueue.store.postgres import address
from workqueue.store.postgres.connection import connect
from workqueue.store.sqlite.schema import SQL

Rows = list[tuple[Any, ...]]


class Base(Protocol):
    """What single statements are asked of, by name, or in words that both engines know."""

    def ask(self, statement: str, **row: object) -> Rows: ...
    def execute(self, sql: str) -> Rows: ...
    def close(self) -> None: ...


class File:
    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self.close = self._connection.close

    def ask(self, statement: str, **row: object) -> Rows:
        return self._connection.execute(SQL[statement], row).fetchall()

    def execute(self, sql: str) -> Rows:
        return self._connection.execute(sql).fetchall()


class Server:
    def __init__(self, url: str) -> None:
        self._connection = connect(address.parse(url))
        self._connection.execute("SET search_path = workqueue")
        self.close = self._connection.close

    def ask(self, statement: str, **row: object) -> Rows:
        return _rows(self._connection.ask(statement, row))

    def execute(self, sql: str) -> Rows:
        return _rows(self._connection.execute(sql.encode()))


def _rows(cursor: psycopg.Cursor[tuple[Any, ...]]) -> Rows:
    return cursor.fetchall() if cursor.description else []


def found(base: Base, statement: str, **row: object) -> list[Any]:
    """Give what stands in an answer that is one JSON array: ids, names, or rows."""
    answer: list[Any] = json.loads(base.ask(statement, **row)[0][0])
    return answer
