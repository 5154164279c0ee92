"""PostgreSQL: the list of runners, and what it tells of who is dead when somebody is missing there."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator

import pytest
from prove.postgres.harm import end_sessions
from workqueue.store.postgres import engine, runners
from workqueue.store.postgres.engine import PostgresStore

from postgres_fixtures import ENLISTS, rows
from support import QUEUE, apply, claim_one, completed, push, until

PATIENCE = 30
GRACE = 0.2


@pytest.fixture
def store(postgres: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresStore]:
    monkeypatch.setattr(runners, "_GRACE", GRACE)
    store = PostgresStore(postgres)
    yield store
    assert store.check() == []
    store.close()


def listed(url: str) -> list[object]:
    return [runner for (runner,) in rows(url, "SELECT id FROM workqueue.runners ORDER BY id")]


def test_a_killed_runner_that_held_nothing_is_struck_off_by_those_who_work(store, postgres, monkeypatch):
    """Else there is one more for each that was ever killed."""
    monkeypatch.setattr(engine, "_FORGET_EACH", 0.0)
    runner = store.enlist(QUEUE, "works")
    push(store)
    claim = claim_one(store, runner)
    rows(postgres, ENLISTS)
    assert len(listed(postgres)) == 2

    def is_gone() -> bool:
        store.sweep(QUEUE, 10)
        assert store.orphans(expired=False, limit=10) == []  # it looks at those who hold jobs, and at nobody else
        return listed(postgres) == [runner]

    until(is_gone)
    assert apply(store, completed(claim)) == []


def test_one_that_was_killed_before_the_server_was_restarted_is_struck_off_when_it_stays_away(
    postgres_server, store, postgres, monkeypatch
):
    """Its session is no proof of its death; but who lives comes back, and who holds nothing can wait for that."""
    monkeypatch.setattr(engine, "_FORGET_EACH", 0.0)
    runner = store.enlist(QUEUE, "works")
    rows(postgres, ENLISTS)
    postgres_server.restart()
    until(lambda: store._database.listener.torn_at)
    looks_until = time.monotonic() + 2 * GRACE
    while time.monotonic() < looks_until:
        store.sweep(QUEUE, 10)
    assert len(listed(postgres)) == 2
    monkeypatch.setattr(runners, "_LONG_AWAY", GRACE)
    store.sweep(QUEUE, 10)
    assert listed(postgres) == [runner]


def test_a_runner_that_is_not_on_the_list_is_not_dead_for_that(store, postgres):
    """It was struck off in the moment that its connection took to come back, or the server never heard of it."""
    runner = store.enlist(QUEUE, "lives")
    push(store)
    claim = claim_one(store, runner)
    rows(postgres, "DELETE FROM workqueue.runners")
    assert store.orphans(expired=False, limit=10) == []
    end_sessions(postgres)
    until(lambda: listed(postgres) == [runner])
    assert store.orphans(expired=False, limit=10) == []
    assert apply(store, completed(claim)) == []
    assert store.enlist(QUEUE, "next") > runner


def test_a_runner_that_stays_away_from_the_list_is_dead(store, postgres):
    push(store)
    claim = claim_one(store)
    rows(postgres, "DELETE FROM workqueue.runners")
    until(lambda: store.orphans(expired=False, limit=10) != [])
    [found] = store.orphans(expired=False, limit=10)
    assert found.job.id == claim.job.id


def test_a_forked_child_that_closes_the_store_ends_no_runner_of_its_parent(store, postgres):
    runner = store.enlist(QUEUE, "parent")
    push(store)
    claim = claim_one(store, runner)
    tied = rows(postgres, "SELECT session_pid, session_start FROM workqueue.runners")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 1
        try:
            push(store)
            store.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert rows(postgres, "SELECT session_pid, session_start FROM workqueue.runners") == tied
    assert apply(store, completed(claim)) == []


def test_an_id_that_a_runner_had_before_is_stepped_over(store, postgres):
    """A standby that took over may give ids out again which the old server gave to runners that are back already."""
    first = store.enlist(QUEUE, "first")
    rows(postgres, f"ALTER TABLE workqueue.runners ALTER id RESTART {first}")
    assert store.enlist(QUEUE, "second") == first + 1
