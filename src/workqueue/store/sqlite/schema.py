"""The schema of a queue's file: recognised, created and brought up to date."""

from __future__ import annotations

import re
import sqlite3
from typing import Final, Protocol

from workqueue.errors import SchemaOutdated, UnsuitableFile
from workqueue.store.sql import load_migrations, load_statements

_HERE: Final = "workqueue.store.sqlite"
APPLICATION_ID: Final = 0x77716A62  # "wqjb"
MIGRATIONS: Final = load_migrations(_HERE)
VERSION: Final = len(MIGRATIONS)
TABLES: Final = re.findall(r"TABLE (\w+) \(", "".join(MIGRATIONS))
SQL: Final = load_statements(_HERE)
OLDEST_SQLITE: Final = (3, 35, 0)
_STRICT_SINCE: Final = (3, 37, 0)


class Executing(Protocol):
    """A connection, as far as its version is asked."""

    def execute(self, sql: str, /) -> sqlite3.Cursor: ...


def version(connection: Executing) -> int:
    """Give the schema version of the file; free inside a transaction (it stands in the header page)."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def recognise(connection: sqlite3.Connection, path: str) -> None:
    """Refuse a file that is not ours, or newer than this program, before anything is written to it."""
    # Asked in this order: between the two another process may make the tables, and sign them, in one commit.
    is_new = not connection.execute(SQL["objects"]).fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID and not is_new:
        raise UnsuitableFile(
            f"expected {path!r} to be a file of workqueue or a new one, but it is another program's SQLite database; "
            "give the queue a file of its own, and put your tables into that one",
            path=path,
        )
    found = version(connection)
    if found > VERSION:
        raise SchemaOutdated(path=path, found=found, known=VERSION)
    if found < 0:
        raise UnsuitableFile(f"expected {path!r} to say its schema version, got: {found}; it is damaged", path=path)


def migrate(connection: sqlite3.Connection, *, made_by: str, now: int) -> None:
    """Apply what is missing, inside the caller's write transaction."""
    found = version(connection)
    for number in range(found + 1, VERSION + 1):
        for statement in _statements(MIGRATIONS[number - 1]):
            connection.execute(statement)
    if found == 0:
        connection.execute(SQL["add_meta"], {"made_by": made_by, "now": now})
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _statements(text: str) -> list[str]:
    if sqlite3.sqlite_version_info < _STRICT_SINCE:
        text = text.replace(") STRICT;", ");").replace(") STRICT, ", ") ")
    found: list[str] = []
    rest = ""
    for line in text.splitlines(keepends=True):
        rest += line
        if sqlite3.complete_statement(rest):
            found.append(rest.strip())
            rest = ""
    return found
