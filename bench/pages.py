"""How long a page of the dashboard takes when a million jobs are there: most of them wait, a tenth failed."""

import statistics
import time
from pathlib import Path

import psycopg
from starlette.testclient import TestClient
from workqueue import Queue
from workqueue.dashboard import app

from bench import backlog
from bench.postgres import missing, server
from bench.samples import Effort, spread
from bench.table import Row
from bench.work import objects

JOBS = 1_000_000
_MOST = 0.25  # seconds that a page may take
_TIMES = 15
_AT_ONCE = 50_000
_PAGES = {
    "overview": "/",
    "a queue": "/queue?id=default",
    "newest jobs": "/jobs",
    "failed jobs": "/jobs?status=failed",
    "further down": "/jobs?before={half}",
    "text that one has": "/jobs?text={last}",
    "text that none has": "/jobs?text=nothing-has-this",
    "one job": "/jobs/{half}",
    "runners": "/runners",
    "metrics": "/metrics",
}
_FAIL = (
    "UPDATE {jobs} SET status = 3, ready = NULL, attempt = 1, retry_count = 1, settled_at = run_at, message = 'no luck'"
    " WHERE id % 10 = 0"
)


def of_a_file(effort: Effort, folder: Path) -> list[Row]:
    """The pages over a file."""
    with Queue(folder / "ours.db") as queue:
        count = effort(JOBS)
        backlog.fill(queue, count, backlog.wait)
        with queue.transaction() as database:
            database.execute(_FAIL.format(jobs="jobs"))
        return [_measured("dashboard", queue, count, effort)]


def of_a_server(effort: Effort, folder: Path) -> list[Row]:
    """The pages over a database."""
    del folder
    what = "PostgreSQL: dashboard"
    absent = missing(what)
    if absent:
        return absent
    with server() as databases, databases.lend() as url, Queue(url) as queue:
        count = effort(JOBS)
        for first in range(0, count, _AT_ONCE):
            queue.push_many("no-op", objects(min(_AT_ONCE, count - first)))
        with psycopg.connect(url, autocommit=True) as session:
            session.execute(_FAIL.format(jobs="workqueue.jobs"))
            session.execute("VACUUM ANALYZE workqueue.jobs")  # as autovacuum will have done
        return [_measured(what, queue, count, effort)]


def _measured(what: str, queue: Queue, count: int, effort: Effort) -> Row:
    dashboard = app(queue)
    try:
        with TestClient(dashboard, base_url="http://127.0.0.1", client=("127.0.0.1", 1)) as client:
            places = {name: path.format(half=count // 2, last=count) for name, path in _PAGES.items()}
            first = _took(client, "/")
            found = {name: [] for name in places}
            for _ in range(effort.rounds(_TIMES)):
                for name, path in places.items():
                    found[name].append(_took(client, path))
    finally:
        dashboard.close()
    middles = {name: statistics.median(took) for name, took in found.items()}
    slowest = max(middles, key=lambda name: middles[name])
    said = ", ".join(f"{name} {middle * 1000:.0f}" for name, middle in middles.items())
    return Row(
        f"{what}: a page with {JOBS:,} jobs",
        f"≤ {_MOST * 1000:.0f} ms each",
        f"{slowest}: {spread([took * 1000 for took in found[slowest]], ' ms', 0)}",
        f"ms: {said}; the first of all {first * 1000:.0f}",
        reached=middles[slowest] <= _MOST,
    )


def _took(client: TestClient, path: str) -> float:
    began = time.perf_counter()
    answer = client.get(path)
    took = time.perf_counter() - began
    assert answer.status_code == 200, (path, answer.status_code)
    return took
