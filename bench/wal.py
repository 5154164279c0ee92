"""What a job costs the server: bytes of its write-ahead log; and what a claim costs beside a long transaction."""

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psycopg
from workqueue import Queue
from workqueue.lifecycle import Returned, settle
from workqueue.store import open_store
from workqueue.store.contract import Want

from bench import layers
from bench.postgres import missing, server
from bench.samples import Effort, percentile
from bench.table import Finding, Section
from bench.work import objects

_SIZES = {"100 B": (100, 2000), "10 KiB": (10 * 1024, 500), "1 MiB": (1024 * 1024, 20)}
_BATCH = 100
_STEPS = ("push", "claim", "settle")
_WAL_TEXT = """\
Bytes of write-ahead log for each job, from the server's own count: what is flushed, archived and sent to standbys.
Pushed one at a time, claimed and settled {batch} at a time. A checkpoint stands before the pushes, so that the first
change of each old page is written as the whole page. The payloads are random, and do not compress."""
_SNAPSHOT_TEXT = """\
Another session holds a REPEATABLE READ snapshot from the start, so that nothing that was settled can be cleared away;
one process pushes {batch} jobs, claims and settles them, and again, for {seconds:.0f} s. Then the snapshot ends."""


def sizes(effort: Effort, folder: Path) -> list[Finding]:
    """Weigh small, middling and large jobs."""
    del folder
    absent = missing("PostgreSQL: bytes of WAL")
    if absent:
        return [*absent]
    lines: list[tuple[str, ...]] = []
    with server() as databases:
        for name, (length, count) in _SIZES.items():
            with databases.lend() as url, psycopg.connect(url, autocommit=True) as watching:
                found = _weigh(url, watching, length, effort(count))
            lines.append((name, *(f"{found[step]:,.0f}" for step in _STEPS), f"{sum(found.values()):,.0f}"))
    title = "PostgreSQL: bytes of write-ahead log for each job"
    return [Section(title, _WAL_TEXT.format(batch=_BATCH), ("payload", *_STEPS, "all"), lines)]


def _weigh(url: str, watching: psycopg.Connection, length: int, count: int) -> dict[str, float]:
    steps = _steps(url, length, count)
    next(steps)
    watching.execute("CHECKPOINT")
    found: dict[str, float] = {}
    for step in _STEPS:
        before = _written(watching)
        next(steps)
        found[step] = (_written(watching) - before) / count
    return found


def _steps(url: str, length: int, count: int) -> Iterator[None]:
    noise = Path("/dev/urandom")
    with Queue(url, max_payload=length) as queue, closing(open_store(url)) as store, noise.open("rb") as random:
        queue.push_bytes("weigh", random.read(length))  # so that the tables have their first pages
        want = Want("default", store.enlist("default", "bench"), layers.LEASE, _BATCH)
        _settle(store, store.turn([], want).claims)
        yield
        for _ in range(count):
            queue.push_bytes("weigh", random.read(length))
        yield
        batches = []
        while claims := store.turn([], want).claims:
            batches.append(claims)
        assert sum(map(len, batches)) == count
        yield
        for claims in batches:
            _settle(store, claims)
        yield


def _settle(store, claims) -> None:
    settlements = [settle(claim, Returned(), age=timedelta(0), archive=True) for claim in claims]
    assert not store.turn(settlements, None).refused


def _written(watching: psycopg.Connection) -> int:
    row = watching.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint").fetchone()
    assert row is not None
    return row[0]


def snapshot(effort: Effort, folder: Path) -> list[Finding]:
    """Claim while what was settled cannot be cleared away."""
    del folder
    absent = missing("PostgreSQL: claim beside a long transaction")
    if absent:
        return [*absent]
    seconds = max(1.0, 180 * effort.share)
    with server() as databases, databases.lend() as url:
        lines = [*_beside(url, seconds)]
    text = _SNAPSHOT_TEXT.format(batch=_BATCH, seconds=seconds)
    head = ("after", "jobs", "dead rows", "a turn, p50", "p99")
    return [Section("PostgreSQL: claims beside a long transaction", text, head, lines)]


def _beside(url: str, seconds: float) -> Iterator[tuple[str, ...]]:
    with (
        Queue(url) as queue,
        closing(open_store(url)) as store,
        psycopg.connect(url, autocommit=True) as watching,
        psycopg.connect(url) as holding,
    ):
        holding.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        holding.execute("SELECT 1 FROM workqueue.jobs")
        want = Want("default", store.enlist("default", "bench"), layers.LEASE, _BATCH)
        began = time.monotonic()
        done = 0
        for part in range(1, 8):
            if part == 7:
                holding.rollback()
            took: list[float] = []
            until = began + seconds * part / 6
            while time.monotonic() < until or not took:
                queue.push_many("no-op", objects(_BATCH))
                claims = store.turn([], want).claims
                started = time.perf_counter()
                claims = store.turn([layers.settled(claim) for claim in claims], want).claims
                took.append(time.perf_counter() - started)
                assert not claims
                done += _BATCH
            row = watching.execute("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'jobs'").fetchone()
            assert row is not None
            name = f"{time.monotonic() - began:.0f} s" + (", snapshot gone" if part == 7 else "")
            figures = (f"{percentile(took, percent) * 1000:.1f} ms" for percent in (50, 99))
            yield name, f"{done:,}", f"{row[0]:,}", *figures
