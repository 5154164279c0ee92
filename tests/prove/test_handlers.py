"""The harness of hostile handlers: what behaves passes, and what does not is caught and named."""

from __future__ import annotations

import msgspec
import pytest
from prove.handlers import matrix
from prove.handlers.matrix import Group, essentials, everything, groups, play
from prove.handlers.table import EXECUTORS, ROWS, TABLE
from workqueue import Job, JobStatus, Queue

from prove import handlers


def group(*names: str, executor: str = "thread", state: str = "idle", signal: str = "none", **changes: object) -> Group:
    rows = tuple(msgspec.structs.replace(TABLE[name], **changes) for name in names)
    return Group(executor, state, signal, rows)


def test_some_of_the_matrix_passes():
    assert play(group("ValueError", "recursion", "fork exits", "deletes itself")) == []
    assert play(group("SystemExit", "transaction nested", executor="asyncio", state="running", signal="TERM")) == []


def test_a_handler_that_ends_its_process_passes_where_it_is_expected_to():
    assert play(group("segfaults", state="running")) == []


def test_a_process_that_ends_unasked_is_caught():
    [text] = play(group("exits", state="running", code=None))
    assert "its process ended with 7, not {0}" in text or "ended with 7" in text
    assert text.endswith("python -m prove repeat handlers thread running none 'exits'")


def test_a_wrong_end_of_the_job_is_caught():
    [text] = play(group("ValueError", says="^KeyError"))
    assert "its job is failed: 'ValueError: no good', expected failed with '^KeyError'" in text


def test_a_worker_that_stops_working_is_caught(monkeypatch):
    monkeypatch.setattr(matrix, "PATIENCE", 1.0)
    [text] = play(group("never ends", stays=False))
    assert "the worker stopped working (never ends " in text


def test_a_job_left_running_is_caught(monkeypatch):
    """As a store would show it that forgot to take a job back."""
    really = Queue.jobs

    def jobs(queue: Queue, **which: object) -> list[Job]:
        found = really(queue, **which)
        if which.get("status") is JobStatus.RUNNING:
            found += [msgspec.structs.replace(job, status=JobStatus.RUNNING) for job in really(queue)]
        return found

    monkeypatch.setattr(Queue, "jobs", jobs)
    assert any("left running by a process that ended well" in text for text in play(group("ValueError")))


def test_a_lost_neighbour_is_caught(monkeypatch):
    """Whoever looks at a waiting job loses it."""
    really = Queue.get

    def get(queue: Queue, job_id: int) -> Job:
        job = really(queue, job_id)
        with queue.transaction() as database:
            database.execute("DELETE FROM jobs WHERE id = ? AND status = 0", (job_id,))
        return job

    monkeypatch.setattr(Queue, "get", get)
    texts = play(group("ValueError", state="idle", alone=True))
    assert any(": I1: job" in text for text in texts), texts


def test_every_handler_is_played_with_each_of_its_executors():
    played = {(row.name, one.executor) for one in essentials() for row in one.rows}
    assert played == {(row.name, executor) for row in ROWS for executor in row.executors}
    assert len(ROWS) >= 30
    for executor in EXECUTORS:
        for state in matrix.STATES:
            rows = [row.name for one in groups(executor, state, "KILL") for row in one.rows]
            assert len(rows) == len(set(rows)) > 30
    assert len(everything()) > len(essentials())


def test_a_case_is_repeated_by_its_words():
    verdict = handlers.repeat(["thread", "running", "KILL", "ValueError"])
    assert verdict.failures == []
    assert verdict.counts["cases"] == 1
    with pytest.raises(ValueError, match="got: thread running KILL nothing"):
        handlers.repeat(["thread", "running", "KILL", "nothing"])


def test_an_open_bug_is_told_and_fails_nothing(monkeypatch):
    monkeypatch.setattr(matrix, "_SHORT", 0.5)
    known = next(row for row in ROWS if row.known) if any(row.known for row in ROWS) else None
    if known is None:
        pytest.skip("no bug is open")
    verdict = handlers.repeat([sorted(known.executors)[-1], "idle", "none", known.name])
    assert verdict.failures == []
    assert any(remark.startswith(f"open, {known.name}: ") for remark in verdict.remarks)
