"""The engines beside the model in memory: a file for each history, or one schema that is emptied before each."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql
from workqueue.store.contract import Store
from workqueue.store.postgres.engine import PostgresStore
from workqueue.store.postgres.looking import Looks
from workqueue.store.sqlite.engine import SqliteStore

from prove.model.machine import TwoEngines

_MEMORY: Final = Path("/dev/shm")  # each fsync of a real disk costs
# Not the rules of retries, which mean the same in each history.
_TABLES: Final = (
    "SELECT schemaname, tablename FROM pg_tables"
    " WHERE schemaname = 'workqueue' AND tablename NOT IN ('meta', 'backoffs')"
)


class MemoryAndFile(TwoEngines):
    """Beside the model, SQLite."""

    folder: Path | None = None

    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="workqueue-machine-", dir=_MEMORY if _MEMORY.is_dir() else None))

    def open_store(self) -> Store:
        assert self.folder is not None
        return SqliteStore(self.folder / "q.db", clock=self.clock, durability=self.durability)

    def end(self) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder)


@contextmanager
def memory_and_database(url: str) -> Iterator[type[TwoEngines]]:
    """Give the machine that has PostgreSQL beside the model, in the schema `workqueue` of an empty database."""
    PostgresStore(url).close()
    with closing(psycopg.connect(url, autocommit=True)) as session:
        tables = [sql.Identifier(*found) for found in session.execute(_TABLES)]
        empty = sql.SQL("TRUNCATE {} RESTART IDENTITY").format(sql.SQL(", ").join(tables))

        class MemoryAndDatabase(TwoEngines):
            def begin(self) -> None:
                session.execute(empty)

            def open_store(self) -> Store:
                store = PostgresStore(url, clock=self.clock)
                # Always from the head of the line: when it may begin further on depends on how busy the machine is.
                store._looks = defaultdict(lambda: Looks(lambda: math.inf))
                return store

        yield MemoryAndDatabase
