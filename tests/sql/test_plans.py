"""Each statement on the hot path is served by its index, whatever waits, is not due, or lies in the archive."""

from __future__ import annotations

import json
import sqlite3

import pytest
from workqueue.store.sqlite.engine import SqliteStore
from workqueue.store.sqlite.schema import SQL

FILL = """
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)
    INSERT INTO jobs
        (queue, name, status, ready, priority, position, run_at, pushed_at, backoff, attempt, settled_at, data)
    SELECT 'default', 'task', :status, :ready, :priority, 0, :run_at, 1, 1, 1, :settled_at, x'7b7d' FROM n
"""
WAITING = {"status": 0, "ready": 1, "priority": 0, "run_at": 1, "settled_at": None}
FUTURE = {"status": 0, "ready": 0, "priority": 1_000_000, "run_at": 2**60, "settled_at": None}
ARCHIVED = {"status": 3, "ready": None, "priority": 0, "run_at": 1, "settled_at": 1}

HOT = {
    "promote": ["INDEX jobs_later (queue=? AND run_at<?)"],
    "claim": ["SEARCH jobs USING INDEX jobs_ready (queue=?)"],
    "claim_alone": ["SEARCH jobs USING INDEX jobs_suspect (queue=?)"],
    "claimed": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"],
    "complete": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"],
    "settle": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"],
    "horizon": ["INDEX jobs_ready (queue=?)", "INDEX jobs_suspect (queue=?)", "INDEX jobs_later (queue=?"],
    "beat": ["INDEX jobs_running (runner=?)"],
    "held": ["INDEX jobs_running (runner=?)"],
    "holders": ["INDEX jobs_running"],
    "orphans": ["INDEX jobs_running"],
    "size": ["jobs_ready", "jobs_suspect", "jobs_later", "jobs_running", "INDEX jobs_settled (queue=? AND status=?)"],
    "enlisted": ["INDEX jobs_running (runner=?)"],
    "idle": ["jobs_ready", "jobs_suspect", "jobs_running", "jobs_later"],
    "clean": ["INDEX jobs_settled (queue=? AND status=?)"],
    "restore_failed": ["INDEX jobs_settled (queue=? AND status=?)"],
    "cancel_waiting": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"],
    "retire": ["INDEX jobs_running (runner=?)"],
}
SORTED = {"orphans"}  # they are few, unless thousands ran when a machine died


@pytest.fixture(scope="module", params=[0, 1_000, 1_000_000], ids="{:,} rows".format)
def connection(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("plans") / "q.db"
    SqliteStore(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = off")
    third = request.param // 3
    connection.execute("BEGIN")
    for kind in (WAITING, FUTURE, ARCHIVED):
        if third:
            connection.execute(FILL, {"rows": third, **kind})
    connection.execute("COMMIT")
    yield connection
    connection.close()


@pytest.mark.parametrize("name", HOT)
@pytest.mark.parametrize("analysed", [False, True], ids=["", "analysed"])
def test_a_hot_statement_uses_its_index(connection, name, analysed):
    connection.execute("BEGIN")
    if analysed:
        connection.execute("ANALYZE")
    steps = plan(connection, SQL[name])
    connection.execute("ROLLBACK")
    assert [part for part in HOT[name] if not any(part in step for step in steps)] == [], steps
    assert [step for step in steps if step.startswith("SCAN jobs") and "jobs_running" not in step] == []
    assert name in SORTED or [step for step in steps if "TEMP B-TREE" in step] == []


def test_a_claim_looks_at_as_many_rows_as_it_takes(connection):
    """Not at more: counted in SQLite's own steps, and not in time."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection.set_progress_handler(count, 1)
    connection.execute(SQL["claim"], {"queue": "default", "limit": 10}).fetchall()
    connection.execute(SQL["horizon"], {"queue": "default"}).fetchall()
    connection.execute(SQL["promote"], {"queue": "default", "now": 5, "limit": 10})
    connection.set_progress_handler(None, 0)
    assert steps < 1_500


def test_every_statement_prepares(connection):
    for name, statement in SQL.items():
        assert plan(connection, statement) is not None, name


def plan(connection: sqlite3.Connection, statement: str) -> list[str]:
    class Anything(dict):
        def __missing__(self, key: str) -> object:
            return json.dumps([]) if key in ("rows", "ids", "dead", "queues") else None

    values = [None] * statement.count("?") if "VALUES (?" in statement else Anything()
    explain = "EXPLAIN" if " TRIGGER " in statement else "EXPLAIN QUERY PLAN"
    return [row[3] for row in connection.execute(f"{explain} {statement}", values).fetchall()]
