"""pg_dump and pg_restore, as `workqueue backup` says them for a URL, and what docs/production.md tells of jobs then."""

from __future__ import annotations

import subprocess
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from prove.clock import FakeClock
from prove.postgres.server import client
from workqueue import JobStatus
from workqueue.job import Terms
from workqueue.store.postgres.engine import PostgresStore

from postgres_fixtures import GIVEN, VERSIONS, Servers, missing
from support import LEASE, a_failed_job, all_jobs, apply, claim_one, completed, lost, push


def tool(name: str, *arguments: object) -> None:
    if GIVEN is not None or VERSIONS == ("none",):
        missing(f"{name} of the version of the tests' server")
    program = client(VERSIONS[-1], name)
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_a_dump_taken_while_jobs_run_restores_to_a_store_that_goes_on(clock, tmp_path: Path, postgres_servers: Servers):
    dump = tmp_path / "monday.dump"
    with postgres_servers.database(VERSIONS[-1]) as url, closing(PostgresStore(url, clock=clock)) as store:
        failed = a_failed_job(store)
        running = push(store, terms=Terms(key="once"))
        runner = store.enlist("default", "tests")
        claim = claim_one(store, runner)
        waiting = push(store)
        tool("pg_dump", "--format=custom", "--schema=workqueue", f"--file={dump}", url)
        apply(store, completed(claim))  # after the dump: the copy cannot know
        done_later = push(store)
    with postgres_servers.database(VERSIONS[-1]) as url:
        tool("pg_restore", f"--dbname={url}", dump)
        with closing(PostgresStore(url, clock=clock)) as store:
            assert store.check() == []
            assert {job.id: job.status for job in all_jobs(store)} == {
                failed: JobStatus.FAILED,
                running: JobStatus.RUNNING,
                waiting: JobStatus.PENDING,
            }
            assert push(store) == done_later, "ids of what was pushed since are given out again"
            clock.advance(LEASE + timedelta(seconds=1))
            [orphan] = store.orphans(expired=True, limit=10)
            assert (orphan.job.id, orphan.job.attempt) == (running, 1)
            assert apply(store, lost(orphan)) == []
            again = store.get(running)
            assert (again.status, again.lost) == (JobStatus.RETRYING, 1), "it counts as the first death of its worker"
            assert store.check() == []
