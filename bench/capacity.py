"""What a PostgreSQL server has to do for a job: the figures from which one reckons how many a larger server could take.

Worker processes are added until the cores of this machine, which the server shares with them, are used up.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
from prove.postgres import PostgresServer, versions
from prove.postgres.databases import Databases
from workqueue import Queue

from bench.child import Child
from bench.postgres import SETTINGS, missing
from bench.samples import Effort
from bench.table import Finding, Section
from bench.work import objects

_PROCESSES = (1, 2, 4, 8)
_JOBS = 60_000
_PUSHED_SINGLY = 3_000
_TEXT = """\
No-op jobs of 100 bytes, pushed by one process one at a time (each its own commit, flushed) and in bulk, then drained by
so many worker processes at once. *Server CPU* is that of all its processes, those that write and clean up among them;
*client CPU* that of the processes that push or work; *WAL* is the server's own count. Server and clients share the
cores of this machine, so the rates are those of a machine that is full, and the CPU is what a job costs wherever it
runs."""
_HEAD = ("what", "jobs/s", "server CPU, µs a job", "client CPU, µs a job", "WAL, bytes a job")


def costs(effort: Effort, folder: Path) -> list[Finding]:
    """Say what the server does for a job that is pushed, and drained by more and more processes."""
    del folder
    absent = missing("PostgreSQL: what a server does for a job")
    if absent:
        return [*absent]
    with PostgresServer(versions()[-1], durable=True, settings=SETTINGS) as server:
        databases = Databases(server.dsn())
        lines = [*_lines(server, databases, effort)]
        databases.close()
    return [Section("PostgreSQL: what a server does for a job", _TEXT, _HEAD, lines)]


def _lines(server: PostgresServer, databases: Databases, effort: Effort) -> Iterator[tuple[str, ...]]:
    with databases.lend() as url, Queue(url) as queue:
        one = effort(_PUSHED_SINGLY)
        watch = _Watch(server, url)
        began = time.process_time()
        for job in objects(one):
            queue.push("no-op", job)
        yield watch.said("push, one at a time", one, time.process_time() - began)
        many = effort(_JOBS)
        watch = _Watch(server, url)
        began = time.process_time()
        queue.push_many("no-op", objects(many))
        yield watch.said("push, in bulk", many, time.process_time() - began)
    for processes in _PROCESSES:
        with databases.lend() as url, ExitStack() as stack:
            with Queue(url) as queue:
                queue.push_many("no-op", objects(effort(_JOBS)))
            workers = [stack.enter_context(Child("bench.postgres", "ours", url)) for _ in range(processes)]
            for worker in workers:
                worker.read()
            watch = _Watch(server, url)
            for worker in workers:
                worker.tell()
            ends = [worker.read() for worker in workers]
            plural = "es" if processes > 1 else ""
            yield watch.said(
                f"drain, {processes} process{plural}",
                sum(end["count"] for end in ends),
                sum(end["cpu"] for end in ends),
                ended=min(end["ended"] for end in ends),
            )
            for worker in workers:
                worker.tell("end")


class _Watch:
    """What the server has done, from now on."""

    def __init__(self, server: PostgresServer, url: str) -> None:
        self._server = server
        self._url = url
        self._wal = self._written()
        self._cpu = server.cpu_seconds()
        self._began = time.monotonic()

    def said(self, what: str, jobs: int, client_cpu: float, *, ended: float | None = None) -> tuple[str, ...]:
        """Give the line. ended: the monotonic instant at which the last job was settled; else now."""
        took = (time.monotonic() if ended is None else ended) - self._began
        cpu = self._server.cpu_seconds() - self._cpu
        return (
            what,
            f"{jobs / took:,.0f}",
            f"{cpu / jobs * 1e6:,.1f}",
            f"{client_cpu / jobs * 1e6:,.1f}",
            f"{(self._written() - self._wal) / jobs:,.0f}",
        )

    def _written(self) -> int:
        with psycopg.connect(self._url, autocommit=True) as session:
            row = session.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint").fetchone()
        assert row is not None
        return row[0]
