"""What a queue's file says, as one value: to see which of the commits a file shows, and that it is one of them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Protocol

import msgspec
from workqueue.errors import WorkqueueError
from workqueue.job import Job, NewJob
from workqueue.store.clock import micros
from workqueue.store.contract import Durability
from workqueue.store.paging import Find, walk
from workqueue.store.sqlite.engine import SqliteStore

from prove.powercut.calls import QUEUE

FILE: Final = "jobs.db"
LOGS: Final = (f"{FILE}-wal", f"{FILE}-shm", f"{FILE}-journal")
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a disk that is a model needs no disk
_START: Final = 1_700_000_000_000_000


class Connection(Protocol):
    def execute(self, sql: str, /) -> Any: ...


class Clock:
    """Microseconds since 1970 that pass only when told."""

    def __init__(self) -> None:
        self.now = _START

    def __call__(self) -> int:
        return self.now

    def advance(self, step: timedelta) -> None:
        self.now += micros(step)


class Found(msgspec.Struct, frozen=True):
    """What somebody found who opened the files.

    state: of all rows, see `state_of`. refused: what opening raised, in its place. unknown: what was raised that is no
    error of ours. complaints: what the store says of itself.
    """

    state: bytes = b""
    jobs: tuple[Job, ...] = ()
    effects: Mapping[int, int] = {}
    complaints: tuple[str, ...] = ()
    refused: str = ""
    unknown: str = ""


def state_of(connection: Connection) -> bytes:
    """Give a value that two files have in common if all their rows are the same.

    Left out is `meta`: a file that was lost whole, before anything was acknowledged, comes back under another name.
    """
    digest = hashlib.blake2b(digest_size=16)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()]
    for name in sorted(set(tables) - {"meta"}):
        rows = connection.execute(f'SELECT * FROM "{name}" ORDER BY 1, 2').fetchall()
        digest.update(repr((name, rows)).encode())
    return digest.digest()


def effects_of(connection: Connection) -> dict[int, int]:
    if not connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'effects'").fetchone()[0]:
        return {}
    return dict(connection.execute("SELECT job, count(*) FROM effects GROUP BY job").fetchall())


class Bench:
    """A folder in memory where files are laid out and opened by the real engine, over and over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / FILE

    def lay_out(self, files: Mapping[str, bytes]) -> None:
        for name in (FILE, *LOGS):
            (self.folder / name).unlink(missing_ok=True)
        for name, content in files.items():
            (self.folder / name).write_bytes(content)

    def left(self) -> dict[str, bytes]:
        """Give the files as they lie there; nobody may have them open."""
        paths = [path for path in (self.path, *(self.folder / name for name in LOGS)) if path.exists()]
        return {path.name: path.read_bytes() for path in paths}

    def look_at_nothing(self) -> bytes:
        """Give the state of a queue that is new."""
        self.lay_out({})
        return self.look("full", goes_on=False).state

    def look(self, durability: Durability, *, goes_on: bool = True) -> Found:
        """Open the files as the next process would; see that the queue goes on from there."""
        try:
            store = SqliteStore(self.path, durability=durability, clock=Clock())
            try:
                database = store._db()
                state, effects = database.read(lambda connection: (state_of(connection), effects_of(connection)))
                complaints = store.check()
                jobs = () if complaints else tuple(walk(store.find, Find(limit=1_000_000)))
                if goes_on and not complaints:
                    complaints = _goes_on(store, jobs)
            finally:
                store.close()
        except WorkqueueError as error:
            return Found(refused=f"{type(error).__name__}: {error}")
        except Exception as error:
            return Found(unknown=f"{type(error).__name__}: {error}")
        return Found(state, jobs, effects, tuple(complaints))


def _goes_on(store: SqliteStore, jobs: tuple[Job, ...]) -> list[str]:
    [job] = store.push([NewJob(queue=QUEUE, name="next", data=b"{}")])
    if jobs and job <= jobs[-1].id:
        return [f"expected a new id, above {jobs[-1].id}, got: {job}"]
    return []


@contextmanager
def bench() -> Generator[Bench]:
    """Make a folder for the time of the block; the engine keeps its complaints about the disk to itself meanwhile."""
    log = logging.getLogger("workqueue.store")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with TemporaryDirectory(prefix="workqueue-prove-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
            yield Bench(Path(folder))
    finally:
        log.setLevel(level)


def stripes(count: int, wide: int) -> Iterator[range]:
    """Cut the numbers below `count` into every so manieth, each set spread over the whole."""
    for first in range(min(count, wide)):
        yield range(first, count, wide)
