"""Where a claim begins to look, when the head of the line is long to reach."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

from workqueue.backoff import Backoff
from workqueue.job import NewJob
from workqueue.lifecycle import Returned, settle
from workqueue.store import open_store
from workqueue.store.contract import Want
from workqueue.store.postgres.looking import HEAD, Looks, Place

FIRST, SECOND = Place(0, 0, 7), Place(0, 0, 9)


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_looks_begin_at_the_head_as_long_as_that_is_quick():
    looks = Looks(Time())
    assert looks.begin() == HEAD
    looks.saw(HEAD, FIRST, 0.001)
    assert looks.begin() == HEAD
    assert looks.until_head(HEAD) is None


def test_after_a_slow_look_a_tenth_of_the_time_is_spent_at_the_head():
    time = Time()
    looks = Looks(time)
    looks.saw(HEAD, FIRST, 0.1)
    assert looks.begin() == FIRST
    looks.saw(FIRST, SECOND, 0.05)  # of those further on, none is a reason to wait longer for the head
    looks.saw(SECOND, None, 0.001)
    assert looks.begin() == SECOND
    assert round(looks.until_head(SECOND) or 0, 6) == 0.9
    time.now += 0.91
    assert looks.begin() == HEAD


def test_a_slow_look_that_finds_nothing_leaves_the_next_at_the_head():
    looks = Looks(Time())
    looks.saw(HEAD, None, 0.1)
    assert looks.begin() == HEAD


def test_a_turn_that_began_further_on_comes_back_for_what_stands_before(postgres):
    """Nothing is lost sight of: the turn says when the head will be looked at, and then the job is found."""
    with closing(open_store(postgres)) as store:
        time = Time()
        store._looks["default"] = looks = Looks(time)
        want = Want("default", store.enlist("default", "test"), timedelta(minutes=1), 1)
        job = NewJob(queue="default", name="task", data=b"{}", backoff=Backoff())
        store.push([job] * 2)
        [claim] = store.turn([], want).claims
        looks.saw(HEAD, Place(0, 0, claim.job.id), 1.0)
        [better] = store.push([NewJob(queue="default", name="task", data=b"{}", backoff=Backoff(), priority=5)])
        [beside] = store.turn([settle(claim, Returned(), age=claim.age)], want).claims
        assert beside.job.id not in {claim.job.id, better}
        nothing = store.turn([settle(beside, Returned(), age=beside.age)], want)
        assert nothing.claims == []
        assert nothing.next_due == timedelta(seconds=9)
        time.now += 9
        [found] = store.turn([], want).claims
        assert found.job.id == better
