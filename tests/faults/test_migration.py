"""A file of the first schema, opened by this program: everything is as it was, and can be gone on with."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import msgspec
from workqueue import Backoff, JobStatus, Queue
from workqueue.store.sqlite import schema

RULE = msgspec.json.encode(Backoff()).decode()


def test_a_file_of_the_first_schema_keeps_its_jobs_and_its_ids(tmp_path):
    path = tmp_path / "jobs.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.executescript(schema.MIGRATIONS[0])
        old.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        old.execute("PRAGMA user_version = 1")
        old.execute("INSERT INTO backoffs (id, rule) VALUES (1, ?)", [RULE])
        old.execute("INSERT INTO runners (id, queue, label, started_at) VALUES (1, 'default', 'old', 0)")
        insert = """
            INSERT INTO jobs (queue, name, status, ready, priority, position, run_at, pushed_at, backoff, attempt,
                              retry_count, runner, lease_until, settled_at, message, data)
            VALUES ('default', ?, ?, ?, 3, 0, 5, 5, 1, ?, ?, ?, ?, ?, ?, ?)"""
        old.execute(insert, ("waits", 0, 1, 0, 0, None, None, None, "", b'"small"'))
        old.execute(insert, ("later", 0, 0, 0, 0, None, None, None, "", None))
        old.execute("INSERT INTO payloads (job, data) VALUES (2, ?)", (b'"%s"' % (b"x" * 3000),))
        old.execute(insert, ("retries", 2, 1, 1, 1, None, None, None, "ValueError: bad", b"1"))
        old.execute(insert, ("failed", 3, None, 1, 1, None, None, 9, "ValueError: worse", b"2"))
        old.execute(insert, ("runs", 4, None, 1, 0, 1, 10**16, None, "", b"3"))
        old.execute(insert, ("done", 0, 1, 0, 0, None, None, None, "", b"4"))
        old.execute("DELETE FROM jobs WHERE name = 'done'")
        old.execute("INSERT INTO attempts VALUES (4, 1, 'old', 5, 1, 'raised', 'ValueError: worse', 'tb')")
    with Queue(path) as queue:
        found = {job.name: job for job in queue.jobs()}
        assert {name: job.status for name, job in found.items()} == {
            "waits": JobStatus.PENDING,
            "later": JobStatus.PENDING,
            "retries": JobStatus.RETRYING,
            "failed": JobStatus.FAILED,
            "runs": JobStatus.RUNNING,
        }
        assert len(found["later"].data) == 3002
        assert found["failed"].message == "ValueError: worse"
        assert [attempt.error for attempt in queue.history(4)] == ["ValueError: worse"]
        assert queue.push("new") == 7  # 6 was given out, and is gone
        assert queue.restore_failed_jobs() == 1
        assert queue.check() == []


def test_completed_jobs_that_a_file_kept_before_are_found_by_their_batch(tmp_path):
    path = tmp_path / "jobs.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        for script in schema.MIGRATIONS[:7]:
            old.executescript(script)
        old.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        old.execute("PRAGMA user_version = 7")
        old.execute("INSERT INTO backoffs (id, rule) VALUES (1, ?)", [RULE])
        keep = """
            INSERT INTO completed (id, queue, name, priority, run_at, pushed_at, claimed_at, settled_at, backoff,
                                   attempt, retry_count, lost, runner, spec, data)
            VALUES (?, 'default', 'part', 0, 1, 1, 1, 1, 1, 1, 0, 0, '', ?, x'7b7d')"""
        old.executemany(keep, [(1, None), (2, '{"key":"k","batch":5}'), (3, '{"batch":6}')])
        old.execute("UPDATE sqlite_sequence SET seq = 3 WHERE name = 'jobs'")
    with Queue(path) as queue:
        assert [job.id for job in queue.jobs(batch=5)] == [2]
        assert len(queue.jobs(status="completed")) == 3
