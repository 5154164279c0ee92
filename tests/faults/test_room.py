"""Room that nothing uses any more is given back, a little at a time, and the file is whole all along."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from workqueue import Queue, pruning
from workqueue.job import JobStatus
from workqueue.store.paging import Find
from workqueue.store.sqlite import connection as connections
from workqueue.store.sqlite import room
from workqueue.store.sqlite.engine import SqliteStore

from support import QUEUE, new_job

MIB = 1024 * 1024


def filled(store: SqliteStore, mib: int) -> None:
    """Let the store have so much of cancelled jobs."""
    jobs = store.push([new_job(data=b"x" * 65_536) for _ in range(16 * mib)])
    assert store.change(Find(limit=len(jobs)), "cancel").count == len(jobs)


@pytest.fixture(params=["full", "conservative"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(tmp_path / "q.db", durability=request.param)) as store:
        yield store


def pragma(store: SqliteStore, name: str) -> int:
    with closing(sqlite3.connect(store.path)) as connection:
        return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def test_room_that_nothing_uses_is_given_back(store):
    filled(store, 3)
    assert store.clean(QUEUE, JobStatus.CANCELLED) == 48
    [job] = store.push([new_job()])
    before = pragma(store, "page_count")
    gave: list[int] = []
    while count := store.surplus.shrink(MIB, whole=True):
        gave.append(count)
    assert gave[:2] == pytest.approx([MIB, MIB], rel=0.01)
    assert (before - pragma(store, "page_count")) * 4096 == sum(gave)
    assert pragma(store, "freelist_count") == 0
    assert store.check() == []
    assert store.get(job)
    store.close()
    assert os.path.getsize(store.path) < MIB


def test_as_much_as_is_used_stays_and_some_more(store, monkeypatch):
    monkeypatch.setattr(room, "_SPARE", MIB)
    filled(store, 2)
    used = pragma(store, "page_count")
    filled(store, 5)
    half = store.find(Find(limit=1000)).jobs[32:]
    assert store.change(Find(after=half[0].id - 1, limit=1000), "delete").count == len(half)
    while store.surplus.shrink(MIB):
        pass
    assert pragma(store, "freelist_count") == pytest.approx(used + MIB // 4096, abs=10)
    assert store.surplus.shrink(MIB) == 0
    assert store.check() == []


def test_a_file_that_was_made_otherwise_keeps_its_size(tmp_path, monkeypatch):
    connect_bare = connections.connect_bare

    def connect_as_before(path: str) -> connections.Connection:
        connection = connect_bare(path)
        connection.execute("PRAGMA auto_vacuum = none")
        connection.execute("CREATE TABLE IF NOT EXISTS older (id)") if not os.path.getsize(path) else None
        connection.execute("DROP TABLE IF EXISTS older")
        return connection

    monkeypatch.setattr(connections, "connect_bare", connect_as_before)
    with closing(SqliteStore(tmp_path / "q.db")) as store:
        filled(store, 1)
        assert store.clean(QUEUE, JobStatus.CANCELLED) == 16
        assert pragma(store, "auto_vacuum") == 0
        assert store.surplus.shrink(MIB, whole=True) == 0


def test_what_is_given_back_in_a_transaction_that_is_rolled_back_stays(store):
    filled(store, 1)
    store.clean(QUEUE, JobStatus.CANCELLED)
    before = pragma(store, "page_count")
    with pytest.raises(ZeroDivisionError), store.transaction():
        assert store.surplus.shrink(MIB, whole=True) > 0
        raise ZeroDivisionError
    assert pragma(store, "page_count") == before


def test_a_runner_gives_it_back_while_it_has_nothing_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "_SPARE", 0)
    monkeypatch.setattr(pruning, "_SECONDS", 0.01)
    with closing(SqliteStore(tmp_path / "q.db")) as store:
        filled(store, 3)
        store.clean(QUEUE, JobStatus.CANCELLED)
        before = pragma(store, "page_count")

    class Nothing:
        def id(self) -> str:
            return "nothing"

        def do_work(self, ctx: object, job: object) -> None: ...

    with Queue(tmp_path / "q.db", Nothing(), auto_start=False) as queue:
        shrink = queue._store.surplus.shrink
        gave: list[int] = []
        done = threading.Event()

        def watched(limit: int) -> int:
            gave.append(shrink(limit))
            if not gave[-1]:
                done.set()
            return gave[-1]

        monkeypatch.setattr(queue._store.surplus, "shrink", watched)
        queue.start()
        assert done.wait(30)
        assert max(gave) == pytest.approx(pruning._ROOM, rel=0.01)
        assert pragma(queue._store, "page_count") < before / 3
