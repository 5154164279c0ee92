"""The figures that every face shows: the same from every engine, and the bugs of SQLite known by version."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from prove.clock import FakeClock
from workqueue import UnsuitableFile, report
from workqueue.store import open_existing
from workqueue.store.contract import Standing
from workqueue.store.memory.engine import MemoryStore
from workqueue.store.sqlite.engine import SqliteStore
from workqueue.store.sqlite.inspection import has_wal_reset_bug

from support import a_failed_job, again, apply, claim_all, claim_one, lost, push

HOUR = timedelta(hours=1)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite"])
def store(request, clock, tmp_path):
    store = MemoryStore(clock) if request.param == "memory" else SqliteStore(tmp_path / "q.db", clock=clock)
    yield store
    assert store.check() == []
    store.close()


def test_an_empty_store_has_no_queues(store, clock):
    found = report.overview(store)
    assert (found.now, found.queues, found.runners) == (clock.now(), [], [])
    assert report.overview(store, "none").queues == [Standing(queue="none")]


def test_every_status_is_counted_by_queue(store, clock):
    runner = store.enlist("a", "host:1")
    a_failed_job(store, queue="a")
    push(store, queue="a")
    assert apply(store, again(claim_one(store, runner, queue="a"), HOUR)) == []
    push(store, queue="a")
    claim_one(store, runner, queue="a")
    started_at = clock.now()
    clock.advance(HOUR)
    push(store, queue="a")
    store.cancel(push(store, queue="a"))
    push(store, queue="a", delay=2 * HOUR)
    push(store, queue="b")
    a, b = report.overview(store).queues
    assert a == Standing(
        queue="a", pending=2, retrying=1, running=1, failed=1, cancelled=1, later=1, oldest_due=started_at + HOUR
    )
    assert b == Standing(queue="b", pending=1, oldest_due=clock.now())
    assert report.overview(store, "b").queues == [b]


def test_what_is_due_counts_before_anybody_claims(store, clock):
    push(store, delay=HOUR)
    push(store, delay=2 * HOUR)
    due_at = clock.now() + HOUR
    clock.advance(HOUR)
    [standing] = report.overview(store).queues
    assert (standing.pending, standing.later, standing.oldest_due) == (2, 1, due_at)


def test_a_job_that_was_lost_waits_too(store, clock):
    push(store)
    assert apply(store, *map(lost, claim_all(store))) == []
    [standing] = report.overview(store).queues
    assert (standing.retrying, standing.pending, standing.later, standing.oldest_due) == (1, 0, 0, clock.now())


def test_runners_are_listed_with_what_they_hold(store, clock):
    first, second = store.enlist("a", "host:1"), store.enlist("b", "host:2")
    push(store, queue="a")
    push(store, queue="a")
    claim_all(store, first, queue="a")
    found = report.overview(store)
    assert [(r.id, r.queue, r.label, r.started_at, r.alive, r.running) for r in found.runners] == [
        (first, "a", "host:1", clock.now(), True, 2),
        (second, "b", "host:2", clock.now(), True, 0),
    ]
    assert [standing.queue for standing in found.queues] == ["a", "b"], "b has no jobs, but a runner"
    assert [r.id for r in report.overview(store, "b").runners] == [second]
    store.retire(second)
    assert [standing.queue for standing in report.overview(store).queues] == ["a"]


def test_health(tmp_path):
    store = SqliteStore(tmp_path / "q.db")
    try:
        push(store)
        found = report.health(store)
    finally:
        store.close()
    assert found.problems == []
    assert found.engine.name == "SQLite"
    assert found.engine.settings["wal_autocheckpoint"] == "0"
    assert found.files["q.db"] > 0
    assert set(found.files) == {"q.db", "q.db-wal", "q.db-reserve"}


@pytest.mark.parametrize(
    ("version", "has_it"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((4, 0, 0), False),
    ],
)
def test_which_sqlite_has_the_wal_reset_bug(version, has_it):
    assert has_wal_reset_bug(version) is has_it


def test_looking_at_what_is_not_there_makes_nothing(tmp_path):
    (tmp_path / "empty").touch()
    for name in ("missing", "empty"):
        with pytest.raises(UnsuitableFile, match="check the path"):
            open_existing(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
