"""Timekeeper: each runner looks at its queue's schedules; together they run each slot once. On every engine."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

import pytest
from workqueue.errors import QueueFull, StoreUnavailable
from workqueue.job import NewJob
from workqueue.schedule import Schedule
from workqueue.store.paging import Find
from workqueue.timekeeper import Timekeeper

from support import QUEUE, SECOND, new_job

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
REST = 10 * SECOND


def register(store, name="report", every="@hourly", **options):
    schedule = Schedule(every=every, **options)
    first = schedule.after(store.now())
    store.schedules.put(QUEUE, name, schedule, first)
    return first


def job_of(slot: datetime) -> NewJob:
    return new_job(name="report", data=b'"%s"' % slot.isoformat().encode())


def broken(slot: datetime) -> NewJob:
    raise RuntimeError(f"no job for {slot}")


def run_ats(store, name=None):
    return [job.run_at for job in store.find(Find(name=name)).jobs]


@pytest.fixture
def keeper(store):
    return Timekeeper(store, QUEUE, {"report": job_of})


def test_a_slot_becomes_a_job_when_it_has_come(store, clock, keeper):
    first = register(store)
    assert keeper.step() == first - clock.now()
    assert run_ats(store) == []
    clock.advance(first - clock.now())
    assert keeper.step() == HOUR
    [job] = store.find(Find()).jobs
    assert (job.run_at, job.data) == (first, b'"%s"' % first.isoformat().encode())
    assert keeper.step() == HOUR
    assert len(store.find(Find()).jobs) == 1


def test_of_many_runners_one_runs_the_slot(store, clock):
    first = register(store)
    keepers = [Timekeeper(store, QUEUE, {"report": job_of}) for _ in range(5)]
    for _ in range(3):
        clock.advance(HOUR)
        for keeper in keepers:
            keeper.step()
    assert run_ats(store) == [first + n * HOUR for n in range(3)]


def test_a_runner_that_saw_the_slot_and_came_late_makes_no_second_job(store, clock, keeper):
    register(store)
    clock.advance(HOUR)

    def slow(slot):
        keeper.step()  # meanwhile, another runner
        return job_of(slot)

    assert Timekeeper(store, QUEUE, {"report": slow}).step() is not None
    assert len(run_ats(store)) == 1


def test_after_an_outage_as_many_slots_are_run_as_the_schedule_says(store, clock, keeper):
    first = register(store, catch_up=3)
    clock.advance(first - clock.now() + 9 * HOUR + MINUTE)
    assert keeper.step() == HOUR - MINUTE
    assert run_ats(store) == [first + n * HOUR for n in (7, 8, 9)]
    assert keeper.step() == HOUR - MINUTE
    assert len(run_ats(store)) == 3


def test_slots_that_nobody_ran_in_time_are_let_pass_and_that_is_logged(store, clock, keeper, caplog):
    first = register(store, catch_up=0)
    clock.advance(first - clock.now() + 9 * HOUR + 2 * MINUTE)
    assert keeper.step() == HOUR - 2 * MINUTE
    assert run_ats(store) == []
    assert caplog.messages == [f"schedule 'report' of queue 'default': nobody ran its slot {first} in time"]
    clock.advance(HOUR - 2 * MINUTE)
    keeper.step()
    assert run_ats(store) == [first + 10 * HOUR]


def test_a_job_is_due_within_the_jitter_of_its_slot(store, clock, keeper):
    first = register(store, every=MINUTE, jitter=HOUR)
    for _ in range(100):
        clock.advance(MINUTE)
        keeper.step()
    late = [run_at - (first + n * MINUTE) for n, run_at in enumerate(run_ats(store))]
    assert len(late) == 100
    assert timedelta(0) <= min(late) < HOUR / 4
    assert HOUR * 3 / 4 < max(late) <= HOUR


def test_the_slot_decides_when_a_job_is_due_and_not_its_maker(store, clock, monkeypatch):
    first = register(store)
    clock.advance(HOUR)
    fired = {}
    monkeypatch.setattr(type(store.schedules), "fire", lambda *_, jobs, **__: fired.update(jobs))
    Timekeeper(store, QUEUE, {"report": lambda slot: new_job(delay=HOUR)}).step()
    assert fired == {first: new_job(run_at=first)}


def test_what_this_process_does_not_know_is_left_to_others(store, clock, keeper):
    first = register(store, name="elsewhere")
    assert keeper.step() is None
    clock.advance(2 * HOUR)
    assert keeper.step() is None
    assert run_ats(store) == []
    Timekeeper(store, QUEUE, {"elsewhere": job_of}).step()
    assert run_ats(store) == [first + HOUR]


def test_without_schedules_there_is_nothing_to_wait_for(store, keeper):
    assert keeper.step() is None


def test_an_error_of_one_schedule_keeps_no_other_from_firing_and_is_logged(store, clock, caplog):
    first = register(store)
    register(store, name="a")
    register(store, name="z")
    keeper = Timekeeper(store, QUEUE, {"a": broken, "report": job_of, "z": broken})
    clock.advance(first - clock.now())
    assert keeper.step() == REST
    assert run_ats(store) == [first]
    assert [(record.levelno, record.exc_info is not None) for record in caplog.records] == [(logging.ERROR, True)] * 2
    assert caplog.messages[0] == f"schedule 'a' of queue 'default' has no job for {first}"


def test_a_schedule_that_failed_rests_and_is_tried_again(store, clock, caplog):
    first = register(store)
    makers = {"report": broken}
    keeper = Timekeeper(store, QUEUE, makers)
    clock.advance(first - clock.now())
    assert keeper.step() == REST
    clock.advance(REST - SECOND)
    assert keeper.step() == SECOND
    assert len(caplog.records) == 1
    makers["report"] = job_of
    clock.advance(SECOND)
    assert keeper.step() == HOUR - REST
    assert run_ats(store) == [first]


def test_a_schedule_that_failed_and_was_paused_does_not_keep_the_runner_awake(store, clock):
    register(store)
    keeper = Timekeeper(store, QUEUE, {"report": broken})
    clock.advance(HOUR)
    assert keeper.step() == REST
    store.schedules.pause(QUEUE, "report")
    clock.advance(HOUR)
    assert keeper.step() is None


def test_a_rest_is_no_longer_when_the_clock_was_set_back(store, clock):
    register(store, every=SECOND)
    makers = {"report": broken}
    keeper = Timekeeper(store, QUEUE, makers)
    clock.advance(HOUR)
    keeper.step()
    makers["report"] = job_of
    clock.advance(-HOUR + MINUTE)
    keeper.step()
    assert len(run_ats(store)) == 1


def test_a_full_store_is_told_in_one_line_and_the_slot_stays(store, clock, monkeypatch, caplog):
    first = register(store)
    keeper = Timekeeper(store, QUEUE, {"report": job_of})
    clock.advance(first - clock.now())
    with monkeypatch.context() as patched:
        patched.setattr(type(store.schedules), "fire", _full)
        assert keeper.step() == REST
    [record] = caplog.records
    assert record.getMessage() == "schedule 'report' of queue 'default': expected room, got none; trying again"
    assert record.exc_info is None
    clock.advance(REST)
    keeper.step()
    assert run_ats(store) == [first]


def test_a_store_that_cannot_be_asked_is_the_runners_affair(store, monkeypatch, keeper):
    monkeypatch.setattr(type(store.schedules), "due", _unavailable)
    with pytest.raises(StoreUnavailable):
        keeper.step()


def test_a_time_zone_that_this_machine_does_not_know_is_logged(store, clock, keeper, monkeypatch, caplog):
    register(store, every="@daily", timezone="Europe/Berlin")
    clock.advance(24 * HOUR)
    monkeypatch.setattr("workqueue.schedule.zoneinfo.ZoneInfo", _no_zone)
    assert keeper.step() == REST
    assert "expected timezone to be an IANA name" in caplog.text


def _full(*_, **__):
    raise QueueFull("expected room, got none", path="q.db")


def _unavailable(*_):
    raise StoreUnavailable("expected a file, got none", path="q.db")


def _no_zone(name: str) -> None:
    raise ValueError(name)
