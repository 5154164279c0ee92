"""Files with nothing in them, a thousand rows and a million, filled as each statement would like least.

And a store of either engine, for what its single statements answer.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from prove.clock import FakeClock
from tests.sql.base import Base, File, Server
from workqueue.store.contract import Store
from workqueue.store.sqlite.engine import SqliteStore

from postgres_fixtures import VERSIONS, Servers
from support import open_engine

SIZES = (0, 1_000, 1_000_000)
FEW = 10  # of each kind that a statement is to find, whatever the size
FAR = 2**60

# Jobs, a quarter each: for later, or following others; settled and kept; kept back; due. All but the last have terms.
# Those that must be stepped over come first, and belong to the same lanes, orders, batches and jobs.
_FILL = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :quarter * 4)
INSERT INTO jobs (id, queue, name, status, ready, special, priority, position, run_at, pushed_at, backoff, attempt,
                  settled_at, data)
SELECT i, 'default', 'task', CASE kind WHEN 1 THEN 3 ELSE 0 END,
       CASE kind WHEN 0 THEN iif(i % 2, 3, 0) WHEN 2 THEN 2 WHEN 3 THEN 1 END, kind < 3,
       CASE kind WHEN 0 THEN 1000000 ELSE 0 END, 0, CASE kind WHEN 0 THEN :far ELSE 1 END, 1, 1, 1,
       CASE kind WHEN 1 THEN 1 END, x'7b7d'
  FROM (SELECT i, (i - 1) / :quarter AS kind FROM n WHERE :quarter);

INSERT INTO terms (job, queue, name, spec, is_open, kept_by, priority, position, key, expires_at, limit_lane, rate_lane,
                   order_lane, batch, follows, follows_batch, later_until)
SELECT id, queue, name, '{}', settled_at IS NULL, iif(ready = 2, 1 + id % 4, NULL), priority, position, id,
       iif(settled_at IS NULL, :far, 1), 'lane', 'lane', 'order', iif(settled_at, 1, 2),
       iif(ready = 3, -id, iif(settled_at, 1, NULL)), iif(settled_at, 1, NULL), iif(ready IN (0, 3), :far, NULL)
  FROM jobs WHERE special;

INSERT INTO completed (id, queue, name, priority, run_at, pushed_at, claimed_at, settled_at, backoff, attempt,
                       retry_count, lost, runner, batch, data)
SELECT id + :far, queue, name, 0, 1, 1, 1, id, 1, 1, 0, 0, '', 1, x'7b7d' FROM jobs WHERE settled_at IS NOT NULL;

INSERT INTO starts (queue, lane, at) SELECT queue, 'lane', id FROM jobs WHERE settled_at IS NOT NULL;
INSERT INTO taken_keys (queue, name, key, job, until) SELECT queue, name, key, job, :far FROM terms WHERE kept_by > 0;
INSERT INTO closed_lanes (queue, lane, most, opens_at) SELECT queue, key, 1, :far FROM terms WHERE kept_by > 0;
INSERT INTO batches (id, queue, sealed, done_at) SELECT job + 1000, queue, 1, :far FROM terms WHERE kept_by > 0;
INSERT INTO results (job, result, until, queue) SELECT job, x'31', :far, queue FROM terms WHERE kept_by > 0;
INSERT INTO progress (job, data) SELECT job, x'31' FROM terms WHERE NOT is_open;
INSERT INTO schedules (queue, name, spec, next_at) SELECT queue, key, '', :far FROM terms WHERE kept_by > 0;
INSERT INTO pauses (queue, name) VALUES ('default', 'task');
INSERT INTO figures (span, start, queue, name, noted_at)
SELECT iif(kept_by % 2, 1, 60), :far + job, queue, 'task', :far FROM terms WHERE kept_by > 0;

-- The few, in both that runs and that waits; their batch and what they follow have many others, all of them over.
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2 * :few)
INSERT INTO jobs (queue, name, status, ready, special, priority, position, run_at, pushed_at, backoff, attempt,
                  runner, lease_until, data)
SELECT 'default', 'task', iif(i % 2, 4, 0), iif(i % 2, NULL, 2), 1, 0, 0, 1, 1, 1, 1, iif(i % 2, 1, NULL),
       iif(i % 2, 1, NULL), x'7b7d' FROM n;
INSERT INTO terms (job, queue, name, spec, runs, kept_by, priority, position, expires_at, limit_lane, batch, follows,
                   follows_batch)
SELECT id, queue, name, '{}', status = 4, iif(ready = 2, 1, NULL), priority, position, 1, 'lane', 1, 1, 1
  FROM jobs ORDER BY id DESC LIMIT 2 * :few;
"""


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Path]]:
    """One file of each size, by its rows: built once for all processes of the run. Whatever a test writes it undoes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "filled"
    folder.mkdir(exist_ok=True)
    paths = {size: folder / f"{size}.db" for size in SIZES}
    users = folder / "users"
    with _alone(folder):
        before = int(users.read_text()) if users.exists() else 0
        if not before:
            for size, path in paths.items():
                build(path, size)
        users.write_text(str(before + 1))
    yield paths
    with _alone(folder):
        left = int(users.read_text()) - 1
        users.write_text(str(left))
        if not left:
            for path in folder.glob("*.db*"):
                path.unlink()


def build(path: Path, size: int) -> None:
    """Make a file with so many jobs; what ANALYZE says of it stands in `advice`, and has no effect yet."""
    SqliteStore(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript("PRAGMA journal_mode = off; PRAGMA synchronous = off; PRAGMA cache_size = -200000")
        connection.execute("BEGIN")
        found = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql <> ''").fetchall()
        for name, _ in found:
            connection.execute(f"DROP INDEX {name}")
        row = {"quarter": size // 4, "far": FAR, "few": FEW}
        for statement in _FILL.split(";\n")[:-1]:
            connection.execute(statement, row)
        for _, sql in found:
            connection.execute(sql)
        connection.execute("ANALYZE")
        connection.execute("CREATE TABLE advice AS SELECT tbl, idx, stat FROM sqlite_stat1")
        connection.execute("DELETE FROM sqlite_stat1")
        connection.execute("COMMIT")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["sqlite", f"postgres {VERSIONS[-1]}"])
def place(request: pytest.FixtureRequest, postgres_servers: Servers) -> Iterator[str]:
    """What `open_engine` opens."""
    with postgres_servers.place(request.param) as place:
        yield place


@pytest.fixture
def store(place: str, tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    store = open_engine(place, clock, tmp_path)
    yield store
    store.close()


@pytest.fixture
def base(store: Store, place: str, tmp_path: Path) -> Iterator[Base]:
    """The tables of `store`."""
    with closing(Server(place) if "://" in place else File(tmp_path / "q.db")) as base:
        yield base
