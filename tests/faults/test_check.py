"""What `check` finds in a file whose rows somebody edited by hand: each kind of damage, by itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from workqueue import Backoff
from workqueue.job import NewJob
from workqueue.store.contract import Want
from workqueue.store.sqlite.engine import SqliteStore

from support import LEASE, again, completed, raised

NO_DATA = "1 jobs have no data, neither in their row nor in payloads"
TO_COME = "1 attempts are later than their job's own count"
ODD = "1 jobs have columns that do not fit their status"

EDITS = {
    "a payload is gone": (
        "DELETE FROM payloads WHERE job = 2",
        "1 jobs have no data, neither in their row nor in payloads",
    ),
    "a payload of no job": ("INSERT INTO payloads VALUES (99, x'31')", "1 payloads belong to no job"),
    "two payloads of one job": ("INSERT INTO payloads VALUES (1, x'31')", "1 payloads belong to no job"),
    "attempts of no job": ("UPDATE attempts SET job = 99 WHERE job = 4", "1 attempts belong to no job"),
    "no such rule": ("UPDATE jobs SET backoff = 99 WHERE id = 1", "1 jobs name a backoff that is not stored"),
    "an attempt to come": (
        "UPDATE attempts SET attempt = 9 WHERE job = 4",
        "1 attempts are later than their job's own count",
    ),
    "a payload of one that completed is gone": (
        "DELETE FROM payloads WHERE job = 7",
        "1 completed jobs have no data, neither in their row nor in payloads",
    ),
    "two payloads of one that completed": ("INSERT INTO payloads VALUES (6, x'31')", "1 payloads belong to no job"),
    "a rule of one that completed": (
        "UPDATE completed SET backoff = 99 WHERE id = 6",
        "1 completed jobs name a backoff that is not stored",
    ),
    "it completed, and was never pushed": (
        "UPDATE completed SET id = 99 WHERE id = 6",
        "1 completed jobs have an id that was never given out",
    ),
    "it completed, and did not": ("UPDATE completed SET id = 1 WHERE id = 6", "1 jobs have completed, and have not"),
    "an id to come": ("UPDATE jobs SET id = 99 WHERE id = 1", "1 jobs have an id that was never given out"),
    "no such status": ("UPDATE jobs SET status = 7, ready = NULL WHERE id = 1", ODD),
    "it waits, and does not": ("UPDATE jobs SET ready = NULL WHERE id = 1", ODD),
    "it runs, by nobody": ("UPDATE jobs SET runner = NULL WHERE id = 3", ODD),
    "it runs, for ever": ("UPDATE jobs SET lease_until = NULL WHERE id = 3", ODD),
    "it failed, and when?": ("UPDATE jobs SET settled_at = NULL WHERE id = 4", ODD),
    "it runs for no time": ("UPDATE jobs SET attempt = 0 WHERE id = 3", ODD),
    "it is tried again after nothing": ("UPDATE jobs SET retry_count = 0 WHERE id = 5", ODD),
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """1 waits, 2 has much data, 3 runs, 4 failed, 5 is tried again; 6 and 7, with much, completed and are kept."""
    store = SqliteStore(tmp_path / "jobs.db")
    runner = store.enlist("q", "runs")
    store.push([NewJob(queue="q", name="n", data=b"1"), NewJob(queue="q", name="n", data=b"2" * 5000)])
    store.push([NewJob(queue="q", name="n", data=data, priority=1) for data in (b"", b"", b"", b"6", b"7" * 5000)])
    third, fourth, fifth, *others = store.turn([], Want("q", runner, LEASE, 5)).claims
    assert third.job.id == 3
    store.turn([raised(fourth), again(fifth, LEASE), *(completed(claim, stays=True) for claim in others)], None)
    yield store
    store.close()


def test_nothing_is_wrong_with_what_was_not_edited(store: SqliteStore) -> None:
    assert store.check() == []


@pytest.mark.parametrize(("edit", "found"), EDITS.values(), ids=EDITS)
def test_each_damage_is_found(store: SqliteStore, edit: str, found: str) -> None:
    with sqlite3.connect(store.path) as other:
        other.execute("PRAGMA ignore_check_constraints = on")
        assert other.execute(edit).rowcount == 1
    other.close()
    said = store.check()
    assert found in said, said


@pytest.mark.parametrize("edit", [edit for edit, found in EDITS.values() if found is ODD])
def test_the_file_itself_refuses_what_does_not_fit(store: SqliteStore, edit: str) -> None:
    other = sqlite3.connect(store.path)
    with pytest.raises(sqlite3.IntegrityError, match="CHECK constraint failed"):
        other.execute(edit)
    other.close()


def test_a_job_whose_rule_is_gone_is_run_all_the_same(store: SqliteStore, caplog: pytest.LogCaptureFixture) -> None:
    """By the rule of a new queue; its neighbours have theirs."""
    connection = sqlite3.connect(store.path)
    connection.execute(EDITS["no such rule"][0])
    connection.commit()
    connection.close()
    claims = store.turn([], Want("q", store.enlist("q", "another"), LEASE, 2)).claims
    assert [(claim.job.id, claim.job.backoff) for claim in claims] == [(1, Backoff()), (2, Backoff())]
    assert "expected a retry rule 99 in the file" in caplog.text
