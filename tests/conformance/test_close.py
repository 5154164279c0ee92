"""close: twice is fine, and every verb after it says that the queue is closed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from workqueue.errors import QueueClosed, UsageError
from workqueue.job import JobStatus
from workqueue.schedule import Schedule
from workqueue.store.contract import Want
from workqueue.store.paging import Find

from support import LEASE, QUEUE, claim_one, completed, new_job, open_engine

DAILY = Schedule(every="@daily")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def closed(engine, clock, tmp_path):
    """A store that was closed with a job in it, and what a runner held of it."""
    store = open_engine(engine, clock, tmp_path)
    runner = store.enlist(QUEUE, "tests")
    store.push([new_job()])
    claim = claim_one(store, runner)
    assert store.check() == []
    store.close()
    return store, runner, claim


def open_and_leave(transaction):
    with transaction:
        raise AssertionError("a closed store opened a transaction")


VERBS = {
    "push": lambda store, runner, claim: store.push([new_job()]),
    "push of nothing": lambda store, runner, claim: store.push([]),
    "claim": lambda store, runner, claim: store.turn([], Want(QUEUE, runner, LEASE, 1)),
    "settle": lambda store, runner, claim: store.turn([completed(claim)], None),
    "turn of nothing": lambda store, runner, claim: store.turn([], None),
    "transaction": lambda store, runner, claim: open_and_leave(store.transaction()),
    "transaction with a claim": lambda store, runner, claim: open_and_leave(store.transaction(claim)),
    "enlist": lambda store, runner, claim: store.enlist(QUEUE, "tests"),
    "retire": lambda store, runner, claim: store.retire(runner),
    "bell": lambda store, runner, claim: store.bell(runner),
    "beat": lambda store, runner, claim: store.beat(runner, LEASE),
    "held": lambda store, runner, claim: store.held(runner),
    "orphans": lambda store, runner, claim: store.orphans(expired=True, limit=1),
    "get": lambda store, runner, claim: store.get(1),
    "find": lambda store, runner, claim: store.find(Find()).jobs,
    "history": lambda store, runner, claim: store.history(1),
    "cancel": lambda store, runner, claim: store.cancel(1),
    "restore": lambda store, runner, claim: store.restore(QUEUE, None),
    "clean": lambda store, runner, claim: store.clean(QUEUE, JobStatus.FAILED),
    "size": lambda store, runner, claim: store.size(QUEUE),
    "idle": lambda store, runner, claim: store.idle(QUEUE),
    "schedules.put": lambda store, runner, claim: store.schedules.put(QUEUE, "a", DAILY, NOON),
    "schedules.due": lambda store, runner, claim: store.schedules.due(QUEUE),
    "schedules.next_at": lambda store, runner, claim: store.schedules.next_at(QUEUE, ["a"]),
    "schedules.fire": lambda store, runner, claim: store.schedules.fire(QUEUE, "a", seen=NOON, then=NOON, jobs={}),
    "schedules.standings": lambda store, runner, claim: store.schedules.standings(QUEUE),
    "schedules.pause": lambda store, runner, claim: store.schedules.pause(QUEUE, "a"),
    "schedules.resume": lambda store, runner, claim: store.schedules.resume(QUEUE, "a"),
    "schedules.forget": lambda store, runner, claim: store.schedules.forget(QUEUE, "a"),
    "task_standings": lambda store, runner, claim: store.task_standings(10),
    "overview": lambda store, runner, claim: store.overview(),
    "check": lambda store, runner, claim: store.check(),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_closed_store_says_so(closed, verb):
    store, runner, claim = closed
    with pytest.raises(QueueClosed) as caught:
        VERBS[verb](store, runner, claim)
    assert caught.value.path == store.path


def test_closing_twice_is_fine(closed):
    store, _, _ = closed
    store.close()
    store.close()


def test_the_path_and_the_time_can_be_asked_for_after_close(closed, clock):
    store, _, _ = closed
    assert store.path
    assert store.now() == clock.now()


def test_closing_inside_a_transaction_is_refused(engine, clock, tmp_path):
    store = open_engine(engine, clock, tmp_path)
    try:
        with store.transaction():
            store.push([new_job()])
            with pytest.raises(UsageError, match="after the transaction's block"):
                store.close()
        assert store.size(QUEUE).waiting == 1
    finally:
        store.close()


def test_a_store_can_be_closed_after_a_transaction_failed(engine, clock, tmp_path):
    store = open_engine(engine, clock, tmp_path)
    with pytest.raises(ZeroDivisionError), store.transaction() as transaction:
        transaction.execute("CREATE TABLE notes (word TEXT)")
        store.push([new_job()])
        raise ZeroDivisionError
    assert store.size(QUEUE).waiting == 0
    assert store.check() == []
    store.close()
