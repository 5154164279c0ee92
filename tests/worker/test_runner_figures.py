"""The figures of a queue that works: what became of its jobs is in the store when it has stopped, and before."""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from workqueue import Cancel, Queue, RecoverableWorkerError, Snooze, StoreUnavailable, bookkeeping
from workqueue.figures import BOUNDS, Counted
from workqueue.store import open_store
from workqueue.store.clock import EPOCH
from workqueue.store.relational.ledger import StoredLedger

from support import LEASE, claim_all

ALL = (EPOCH, EPOCH + timedelta(days=365 * 1000))


class Handler:
    def __init__(self) -> None:
        self.tries = 0

    def id(self) -> str:
        return "handler"

    def do_work(self, ctx, job):
        self.tries += 1
        match job.name:
            case "fail":
                raise ValueError("bad")
            case "retry" if self.tries == 1:
                raise RecoverableWorkerError("again", 0)
            case "snooze" if self.tries == 1:
                raise Snooze(0)
            case "cancel":
                raise Cancel("no")
            case "write":
                with ctx.transaction() as transaction:
                    transaction.execute("CREATE TABLE IF NOT EXISTS done (id INTEGER)")


def totals(path: Path) -> dict[str, Counted]:
    with closing(open_store(path)) as store:
        assert store.check() == []
        return {name: one for (_, name), one in store.ledger.totals().items()}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ok", {"completed": 1}),
        ("write", {"completed": 1}),
        ("fail", {"failed": 1}),
        ("retry", {"completed": 1, "retried": 1}),
        ("snooze", {"completed": 1}),
        ("cancel", {"cancelled": 1}),
    ],
)
def test_what_became_of_a_job_is_known_when_the_queue_has_stopped(tmp_path, name, expected):
    with Queue(tmp_path / "jobs.db", Handler()) as queue:
        queue.push(name)
        assert queue.wait_idle(30)
    [(found, counted)] = totals(tmp_path / "jobs.db").items()
    assert found == name
    counts = {field: getattr(counted, field) for field in ("completed", "failed", "retried", "cancelled", "lost")}
    assert {field: count for field, count in counts.items() if count} == expected
    assert sum(counted.run_buckets) == sum(counted.wait_buckets) == sum(expected.values())


def test_a_job_that_was_due_an_hour_ago_waited_for_an_hour(tmp_path):
    with Queue(tmp_path / "jobs.db", Handler()) as queue:
        queue.push("late", run_at=datetime.now(UTC) - timedelta(hours=1))
        queue.push("soon")
        assert queue.wait_idle(30)
    found = totals(tmp_path / "jobs.db")
    assert timedelta(hours=1) <= found["late"].wait_max < timedelta(hours=2)
    assert found["late"].wait_buckets.index(1) == BOUNDS.index(7200)
    assert found["soon"].wait_max < timedelta(minutes=1)


def test_jobs_of_a_runner_that_died_are_counted_by_who_brings_them_back(tmp_path):
    with closing(open_store(tmp_path / "jobs.db")) as store:
        runner = store.enlist("default", "dies")
        with Queue(tmp_path / "jobs.db") as queue:
            queue.push("ok")
        assert len(claim_all(store, runner)) == 1
        store.retire(runner)
        with Queue(tmp_path / "jobs.db", Handler(), lease=LEASE) as queue:
            assert queue.wait_idle(30)
    assert (totals(tmp_path / "jobs.db")["ok"].lost, totals(tmp_path / "jobs.db")["ok"].completed) == (1, 1)


def test_a_queue_that_is_told_so_keeps_no_figures(tmp_path):
    with Queue(tmp_path / "jobs.db", Handler(), figures=False) as queue:
        queue.push_many("ok", range(3))
        queue.push("write")
        assert queue.wait_idle(30)
    with closing(open_store(tmp_path / "jobs.db")) as store:
        assert store.ledger.totals() == {}
        assert store.ledger.figures(None, *ALL) == []


def test_figures_are_written_while_it_works_and_the_backlog_is_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(bookkeeping, "_BETWEEN", 0.0)
    added, noted, go_on = threading.Event(), threading.Event(), threading.Event()
    add, note = StoredLedger.add, StoredLedger.note_backlog
    monkeypatch.setattr(StoredLedger, "add", lambda *given: (add(*given), added.set()))
    monkeypatch.setattr(StoredLedger, "note_backlog", lambda *given: (note(*given), noted.set()))

    class Waiting(Handler):
        def do_work(self, ctx, job):
            if job.name == "wait":
                go_on.wait(30)

    with Queue(tmp_path / "jobs.db", Waiting(), poll_rate=0.01, concurrency=2) as queue:
        assert noted.wait(30)
        queue.push("wait")
        queue.push("ok")
        assert added.wait(30)
        assert {name: one.completed for name, one in totals(tmp_path / "jobs.db").items()} == {"ok": 1}
        go_on.set()
        assert queue.wait_idle(30)
    with closing(open_store(tmp_path / "jobs.db")) as store:
        assert [one.waiting for one in store.ledger.figures(None, *ALL) if not one.name] == [0]


def test_jobs_go_on_while_figures_cannot_be_written(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(bookkeeping, "_BETWEEN", 0.0)
    tried = threading.Semaphore(0)

    def fail(ledger, queue, counted):
        tried.release()
        raise StoreUnavailable("expected room", path="jobs.db")

    caplog.set_level(logging.WARNING, "workqueue.bookkeeping")
    with monkeypatch.context() as broken, Queue(tmp_path / "jobs.db", Handler(), poll_rate=0.01) as queue:
        broken.setattr(StoredLedger, "add", fail)
        queue.push_many("ok", range(5))
        for _ in range(3):
            assert tried.acquire(timeout=30)
        assert queue.wait_idle(30)
        assert [record.getMessage() for record in caplog.records if "figures" in record.getMessage()] == [
            "the figures of queue 'default' cannot be written; the jobs go on: expected room"
        ]
        broken.undo()
    assert totals(tmp_path / "jobs.db")["ok"].completed == 5
