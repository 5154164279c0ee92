"""The engine over APSW: the same code and the same SQL, but on a file system of our own making.

The engine speaks `sqlite3`, which has no way in below SQLite. APSW has one; so here an `apsw.Connection` gets as much
of the surface of a `sqlite3.Connection` as the engine uses, and is what `sqlite3.connect` gives inside `engine_over`.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, Final, TypeAlias
from unittest.mock import patch

import apsw
from workqueue.store.sqlite import connection as engine

Row: TypeAlias = tuple[Any, ...]
Witness: TypeAlias = "Callable[[str, Connection], None]"
"""Told "committing" before each COMMIT of a connection, and "committed" after one that succeeded."""

_NO_CKPT_ON_CLOSE: Final = 1006
_CHANGING: Final = ("INSERT", "UPDATE", "DELETE", "REPLACE")
_CLASSES: Final[Mapping[int, type[sqlite3.Error]]] = {  # as _pysqlite_seterror has them; DatabaseError for the others
    **dict.fromkeys((2, 12), sqlite3.InternalError),
    **dict.fromkeys((1, 3, 4, 5, 6, 8, 9, 10, 13, 14, 15, 16, 17), sqlite3.OperationalError),
    18: sqlite3.DataError,
    **dict.fromkeys((19, 20), sqlite3.IntegrityError),
    21: sqlite3.InterfaceError,
}


class Rows:
    """The answer to one statement. As sqlite3's it is one step ahead, so that the last row ends the statement."""

    def __init__(self, cursor: apsw.Cursor, *, description: Sequence[Row], rowcount: int, lastrowid: int) -> None:
        self._cursor = cursor
        self._next = self._step()
        self.description = description
        self.rowcount = rowcount
        self.lastrowid = lastrowid

    def _step(self) -> Row | None:
        try:
            return next(self._cursor, None)
        except apsw.Error as error:
            raise as_sqlite3(error) from error

    def fetchone(self) -> Row | None:
        row = self._next
        if row is not None:
            self._next = self._step()
        return row

    def fetchall(self) -> list[Row]:
        return list(self)

    def close(self) -> None:
        self._next = None
        self._cursor.close(True)

    def __iter__(self) -> Iterator[Row]:
        while (row := self.fetchone()) is not None:
            yield row


class Connection(engine.Asking):
    """What the engine uses of a `sqlite3.Connection`."""

    row_factory = None

    def __init__(self, path: str, vfs: str, witness: Witness | None) -> None:
        try:
            self._apsw = apsw.Connection(path, vfs=vfs, statementcachesize=256)
        except apsw.Error as error:
            raise as_sqlite3(error) from error
        self._witness = witness

    def execute(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> Rows:
        witness = self._witness if sql.startswith("COMMIT") else None
        if witness is not None:
            witness("committing", self)
        try:
            rows = self._run(sql, parameters)
        except apsw.Error as error:
            raise as_sqlite3(error) from error
        if witness is not None:
            witness("committed", self)
        return rows

    def _run(self, sql: str, parameters: Sequence[object] | Mapping[str, object]) -> Rows:
        cursor = self._apsw.cursor()
        description: list[Row] = []
        changes = _changes_rows(sql)

        def note(running: apsw.Cursor, _sql: str, _bindings: object) -> bool:
            description.extend((column[0], None, None, None, None, None, None) for column in running.get_description())
            return True

        if not changes:
            cursor.exec_trace = note
        cursor.execute(sql, parameters)
        return Rows(
            cursor,
            description=description,
            rowcount=self._apsw.changes() if changes else -1,
            lastrowid=self._apsw.last_insert_rowid(),
        )

    def executemany(self, sql: str, rows: Sequence[Sequence[object]]) -> Rows:
        found = self.execute("SELECT 1 WHERE 0")
        found.rowcount = 0
        for row in rows:
            one = self.execute(sql, row)
            one.rowcount += found.rowcount
            found = one
        return found

    @property
    def in_transaction(self) -> bool:
        return self._apsw.in_transaction

    @property
    def total_changes(self) -> int:
        return self._apsw.total_changes()

    def set_authorizer(self, authorise: Callable[..., int] | None) -> None:
        self._apsw.authorizer = authorise

    def setconfig(self, option: int, enable: bool = True) -> None:
        self._apsw.config(option, int(enable))

    def close(self) -> None:
        try:
            self._apsw.close()
        except apsw.Error as error:
            raise as_sqlite3(error) from error


def as_sqlite3(error: apsw.Error) -> Exception:
    """Give the exception that the `sqlite3` module would have raised."""
    code = getattr(error, "result", -1)
    if code < 0:  # a misuse of APSW itself: a fault of this module
        return error
    if code == sqlite3.SQLITE_NOMEM:
        return MemoryError()
    extended = getattr(error, "extendedresult", code)
    ours = _CLASSES.get(code, sqlite3.DatabaseError)(str(error))
    ours.sqlite_errorcode = extended
    ours.sqlite_errorname = apsw.mapping_result_codes.get(code) or "unknown"  # type: ignore[assignment]
    return ours


@contextmanager
def engine_over(vfs: str, *, witness: Witness | None = None, leaves_log: bool = False) -> Generator[None]:
    """Let the engine open its connections through the VFS of that name.

    leaves_log: as on Python 3.12 and later, where the engine asks SQLite to leave the WAL alone when it closes.
    """

    def connect(path: str, **_options: object) -> Connection:
        return Connection(path, vfs, witness)

    speaks = _Altered(sqlite3, connect=connect, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE=_NO_CKPT_ON_CLOSE)
    runs_on = SimpleNamespace(version_info=(3, 12) if leaves_log else (3, 11), platform=sys.platform)
    with patch.object(engine, "sqlite3", speaks), patch.object(engine, "sys", runs_on):
        yield


class _Altered:
    """A module with some names of ours."""

    def __init__(self, module: object, **ours: object) -> None:
        self._module = module
        self.__dict__.update(ours)

    def __getattr__(self, name: str) -> object:
        return getattr(self._module, name)


def altered(module: object, **ours: object) -> object:
    """Give what stands in for `module` where only some of its names are to be ours."""
    return _Altered(module, **ours)


@lru_cache(maxsize=512)
def _changes_rows(sql: str) -> bool:
    words = [line for line in sql.splitlines() if line.strip() and not line.lstrip().startswith("--")]
    return bool(words) and words[0].lstrip().upper().startswith(_CHANGING)
