"""Room: the pages of the file that nothing uses any more, given back to the file system a few at a time.

A file is made so that its pages may move (auto_vacuum = incremental); one that was made otherwise keeps its size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from workqueue.store.relational.surplus import StoredSurplus
from workqueue.store.sqlite.connection import Connection
from workqueue.store.sqlite.database import Database

_INCREMENTAL: Final = 2  # as the pragma answers it
_SPARE: Final = 4 * 1024 * 1024  # bytes that stay, beside as many as are used: a queue that was full will be so again


class SqliteSurplus(StoredSurplus):
    """database: gives the one of this process."""

    def __init__(self, database: Callable[[], Database]) -> None:
        super().__init__(database)
        self._file = database

    def shrink(self, limit: int, *, whole: bool = False) -> int:
        database = self._file()
        size, free, used = database.read(_pages)
        count = min(limit // size, free if whole else free - used - _SPARE // size)
        if count <= 0:
            return 0

        def work(connection: Connection, now: int) -> int:
            del now
            before = _ask(connection, "page_count")
            for _ in range(count):  # the driver takes one step of it at a time
                connection.execute("PRAGMA incremental_vacuum(1)")
            database.checkpoints.note_bytes(2 * count * size)
            return before - _ask(connection, "page_count")

        return size * database.write(work, lambda _connection, _count: False)


def _pages(connection: Connection) -> tuple[int, int, int]:
    """Give the size of a page, and how many are free, which can be given back, and used."""
    free = _ask(connection, "freelist_count")
    gives = _ask(connection, "auto_vacuum") == _INCREMENTAL
    return _ask(connection, "page_size"), free if gives else 0, _ask(connection, "page_count") - free


def _ask(connection: Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
