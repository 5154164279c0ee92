"""Ground: where the jobs of a unit are kept, a file or a database; what its driver does to that, and finds in it."""

from __future__ import annotations

import random
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias, get_args

import psycopg
from workqueue.store.contract import Durability
from workqueue.store.postgres import runners

from prove.crash import injection
from prove.crash.handlers import TABLES
from prove.crash.injection import Sweep
from prove.postgres.databases import Databases, sessions
from prove.postgres.harm import WAYS, end_sessions, stop
from prove.postgres.server import PostgresServer, versions

HARMS: Final = ("times that sessions were ended", "restarts of the server")
_CONTENT: Final = (
    "SELECT (SELECT group_concat(seq) FROM sqlite_sequence), (SELECT group_concat(id || '.' || attempt) FROM jobs)"
)
_LONG_AWAY: Final = 2.0  # seconds, instead of 60
_HARMED: Final = 0.25  # the share of the rounds in which the server does something to its clients


class Ground(Protocol):
    """See the module.

    place: what `Queue` opens. durabilities: to be drawn from. sweep: the system calls that programs die at. threads:
    of a worker, beside those for jobs. opened_late: files and connections that it makes when they are first needed.
    needs_watchers: a death is seen by who looked for a while, so that somebody must live on. lease: seconds, where it
    is long. freeze: seconds that nobody minds a process to stand still, within that lease. terms: their table.
    """

    place: str
    durabilities: Sequence[Durability]
    sweep: Sweep
    threads: int
    opened_late: int
    needs_watchers: bool
    lease: float
    freeze: float
    terms: str

    def harm(self, draw: random.Random, meanwhile: Callable[[], object]) -> str:
        """Perhaps do what only this ground can suffer, and `meanwhile` while it is away; give its words, or ""."""

    def rows(self, statement: str) -> list[tuple[Any, ...]]: ...

    def log_bytes(self) -> int:
        """Give the size of what grows when nobody clears it away."""

    def damage(self) -> list[str]:
        """Say what the engine itself finds wrong."""

    def left(self, files: frozenset[str]) -> list[str]:
        """Say what is there, when all programs have ended, that should not be. files: those that may be."""


Lend: TypeAlias = Callable[[Path], AbstractContextManager[Ground]]
"""Lend a ground to a unit, whose files are to stand in the folder."""


class FileGround:
    """A SQLite file in the folder."""

    durabilities = get_args(Durability)
    sweep = injection.FILE
    threads = 3  # main, runner, beat
    opened_late = 4  # two connections
    needs_watchers = False
    lease = 60.0
    freeze = 2.0
    terms = "terms"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "jobs.db"
        self.place = str(self._path)

    def harm(self, draw: random.Random, meanwhile: Callable[[], object]) -> str:
        del draw, meanwhile
        return ""

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self._path)) as connection:
            return connection.execute(statement).fetchall()

    def log_bytes(self) -> int:
        try:
            return Path(f"{self._path}-wal").stat().st_size
        except OSError:
            return 0

    def damage(self) -> list[str]:
        return [line for (line,) in self.rows("PRAGMA integrity_check") if line != "ok"]

    def left(self, files: frozenset[str]) -> list[str]:
        ours = {"jobs.db", "jobs.db-owners", "jobs.db-reserve"}
        if sys.version_info >= (3, 12):  # there the last one to close leaves the log where it is, copied
            ours |= {"jobs.db-wal", "jobs.db-shm"}
        left = sorted(file.name for file in self._folder.iterdir() if file.name not in ours | files)
        said = [f"{name} was left beside the database" for name in left]
        if self.log_bytes():
            with closing(sqlite3.connect(f"{Path(self._path).as_uri()}?immutable=1", uri=True)) as without_log:
                if without_log.execute(_CONTENT).fetchall() != self.rows(_CONTENT):
                    said.append("the log that was left has what the database has not")
        return said


class DatabaseGround:
    """A database of a PostgreSQL server, which ends sessions at random, and goes away and comes back."""

    durabilities: tuple[Durability, ...] = ("full",)
    sweep = injection.CONNECTION
    threads = 5  # main, runner, beat, listener, notifier
    opened_late = 25  # the connections of a pool, and what waiting for one takes
    needs_watchers = True
    lease = 8.0  # what was killed about a restart of the server is seen by that alone
    freeze = 0.25  # who cannot begin another session when its own was ended is taken for dead
    terms = "workqueue.terms"

    def __init__(self, server: PostgresServer, url: str) -> None:
        runners._LONG_AWAY = _LONG_AWAY  # type: ignore[misc] - of the driver, who strikes the dead off in the end
        self._server = server
        self.place = url
        with psycopg.connect(url, autocommit=True) as session:
            for table in TABLES:  # by the driver: those who make the same table at once disturb each other here
                session.execute(table.encode())

    def harm(self, draw: random.Random, meanwhile: Callable[[], object]) -> str:
        if draw.random() >= _HARMED:
            return ""
        if draw.random() < 0.7:
            end_sessions(self.place, draw)
            return HARMS[0]
        stop(self._server, draw.choice(WAYS))
        meanwhile()
        self._server.start()
        return HARMS[1]

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.place, autocommit=True) as session:
            return session.execute(statement.encode()).fetchall()

    def log_bytes(self) -> int:
        return 0

    def damage(self) -> list[str]:
        return []

    def left(self, files: frozenset[str]) -> list[str]:
        del files
        with psycopg.connect(self.place, autocommit=True) as session:
            left = sessions(session)
        if left:
            end_sessions(self.place)  # it is said; the next unit shall not find them
        return [f"a session is open still: {said}" for said in left]


@contextmanager
def files() -> Iterator[Lend]:
    yield lambda folder: nullcontext(FileGround(folder))


@contextmanager
def databases() -> Iterator[Lend]:
    """Lend databases of a server that this starts."""
    with PostgresServer(versions()[-1]) as server:
        lent = Databases(server.dsn())

        @contextmanager
        def lend(_folder: Path) -> Iterator[Ground]:
            with lent.lend() as url:
                yield DatabaseGround(server, url)

        yield lend
