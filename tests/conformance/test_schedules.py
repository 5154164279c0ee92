"""schedules: registered by every process, run once for each slot, paused and forgotten by people."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import pytest
from workqueue.errors import InvalidOption, ScheduleNotFound
from workqueue.schedule import Schedule
from workqueue.store.paging import Find
from workqueue.store.timetable import Due, ScheduleStanding

from support import QUEUE, TICK, claim_one, new_job

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
HOURLY = Schedule(every="@hourly")
DAILY = Schedule(every="@daily", timezone="Europe/Berlin", jitter=MINUTE, catch_up=3)
ROOT = Path(__file__).parents[2]


def register(store, name="report", schedule=HOURLY, queue=QUEUE) -> datetime:
    first = schedule.after(store.now())
    store.schedules.put(queue, name, schedule, first)
    return first


def fire(store, slot, name="report", queue=QUEUE, then=None):
    jobs = {slot: new_job(name=name, queue=queue, run_at=slot)}
    return store.schedules.fire(queue, name, seen=slot, then=then or slot + HOUR, jobs=jobs)


def standing(store, name="report", queue=QUEUE) -> ScheduleStanding:
    [found] = [each for each in store.schedules.standings(queue) if each.name == name]
    return found


# put


def test_a_schedule_stands_as_it_was_registered(store):
    first = register(store, schedule=DAILY)
    assert store.schedules.standings(QUEUE) == [
        ScheduleStanding(queue=QUEUE, name="report", text=str(DAILY), next_at=first)
    ]
    assert standing(store).schedule == DAILY


def test_registering_the_same_again_changes_nothing(store, clock):
    register(store)
    store.schedules.pause(QUEUE, "report")
    before = standing(store)
    clock.advance(5 * HOUR)
    register(store)
    assert standing(store) == before


def test_registering_another_of_the_name_starts_it_anew_and_keeps_the_pause_and_the_past(store, clock):
    first = register(store)
    [job_id] = fire(store, first)
    store.schedules.pause(QUEUE, "report")
    clock.advance(5 * HOUR)
    again = register(store, schedule=DAILY)
    assert standing(store) == ScheduleStanding(
        queue=QUEUE, name="report", text=str(DAILY), next_at=again, last_at=first, last_job=job_id, paused=True
    )


def test_a_name_is_a_schedule_of_its_queue_alone(store):
    register(store, queue="a")
    register(store, queue="b", schedule=DAILY)
    store.schedules.pause("a", "report")
    assert store.schedules.forget("b", "report")
    assert [each.schedule for each in store.schedules.standings("a")] == [HOURLY]
    assert store.schedules.standings("b") == []


def test_the_schedules_of_all_queues_are_listed_by_queue_and_name(store):
    for queue, name in (("b", "x"), ("a", "z"), ("a", "y")):
        register(store, name=name, queue=queue)
    assert [(each.queue, each.name) for each in store.schedules.standings(None)] == [("a", "y"), ("a", "z"), ("b", "x")]


def test_schedules_are_listed_by_name(store):
    for name in ("b", "a", "ä", "Z", "🐙"):
        register(store, name=name)
    assert [each.name for each in store.schedules.standings(QUEUE)] == ["Z", "a", "b", "ä", "🐙"]


# due and next_at


def test_a_schedule_is_due_when_its_slot_has_come(store, clock):
    first = register(store)
    clock.advance(first - clock.now() - TICK)
    assert store.schedules.due(QUEUE) == []
    clock.advance(TICK)
    assert store.schedules.due(QUEUE) == [Due(name="report", slot=first, now=first, text=str(HOURLY))]
    assert store.schedules.due("other") == []
    clock.advance(9 * HOUR)
    [due] = store.schedules.due(QUEUE)
    assert (due.slot, due.now, due.schedule) == (first, first + 9 * HOUR, HOURLY)


def test_what_is_due_comes_in_the_order_of_its_slots(store, clock):
    for name, minute in (("c", 2), ("b", 3), ("a", 2), ("later", 59)):
        store.schedules.put(QUEUE, name, HOURLY, clock.now() + minute * MINUTE)
    clock.advance(5 * MINUTE)
    assert [due.name for due in store.schedules.due(QUEUE)] == ["a", "c", "b"]


def test_the_next_slot_is_the_earliest_of_those_asked_for(store, clock):
    for name, minute in (("a", 3), ("b", 2), ("c", 1)):
        store.schedules.put(QUEUE, name, HOURLY, clock.now() + minute * MINUTE)
    start = clock.now()
    store.schedules.pause(QUEUE, "c")
    assert store.schedules.next_at(QUEUE, ["a", "b", "c"]) == start + 2 * MINUTE
    assert store.schedules.next_at(QUEUE, {"a", "unknown"}) == start + 3 * MINUTE
    assert store.schedules.next_at(QUEUE, ["c"]) is None
    assert store.schedules.next_at(QUEUE, []) is None
    assert store.schedules.next_at("other", ["a"]) is None


def test_text_that_this_machine_cannot_read_is_in_the_way_of_nobody(store, clock, monkeypatch):
    register(store, name="abroad", schedule=DAILY)
    register(store)
    monkeypatch.setattr("workqueue.schedule.zoneinfo.ZoneInfo", _no_zone)
    clock.advance(30 * HOUR)
    by_name = {due.name: due for due in store.schedules.due(QUEUE)}
    assert by_name["report"].schedule == HOURLY
    with pytest.raises(InvalidOption, match="^expected timezone to be "):
        _ = by_name["abroad"].schedule
    assert [each.text for each in store.schedules.standings(QUEUE)] == [str(DAILY), str(HOURLY)]


def _no_zone(name: str) -> None:
    raise ValueError(name)


# fire


def test_firing_pushes_the_job_and_moves_the_schedule_on(store, clock):
    first = register(store)
    clock.advance(first - clock.now())
    [job_id] = fire(store, first)
    assert standing(store) == ScheduleStanding(
        queue=QUEUE, name="report", text=str(HOURLY), next_at=first + HOUR, last_at=first, last_job=job_id
    )
    assert store.schedules.due(QUEUE) == []
    job = claim_one(store).job
    assert (job.id, job.name, job.run_at) == (job_id, "report", first)


def test_firing_one_schedule_leaves_all_others_as_they_were(store):
    first = register(store)
    register(store, name="another")
    register(store, queue="other")
    before = [standing(store, "another"), standing(store, queue="other")]
    assert fire(store, first) is not None
    assert [standing(store, "another"), standing(store, queue="other")] == before


def test_a_slot_is_fired_once(store):
    first = register(store)
    assert fire(store, first) is not None
    before = standing(store)
    assert fire(store, first) is None
    assert len(store.find(Find()).jobs) == 1
    assert standing(store) == before


def test_a_slot_that_does_not_stand_is_not_fired(store):
    first = register(store)
    assert fire(store, first - HOUR) is None
    assert fire(store, first + HOUR) is None
    assert fire(store, first, name="unknown") is None
    assert fire(store, first, queue="other") is None
    assert store.find(Find()).jobs == []


def test_what_was_paused_or_forgotten_since_it_was_seen_is_not_fired(store):
    first = register(store)
    store.schedules.pause(QUEUE, "report")
    assert fire(store, first) is None
    store.schedules.resume(QUEUE, "report")
    store.schedules.forget(QUEUE, "report")
    assert fire(store, first) is None
    assert store.find(Find()).jobs == []


def test_the_jobs_of_several_slots_are_pushed_together_and_the_last_is_remembered(store):
    first = register(store)
    jobs = {first + n * HOUR: new_job(data=b"%d" % n) for n in range(3)}
    pushed = store.schedules.fire(QUEUE, "report", seen=first, then=first + 3 * HOUR, jobs=jobs)
    assert [store.get(job_id).data for job_id in pushed] == [b"0", b"1", b"2"]
    assert (standing(store).last_at, standing(store).last_job) == (first + 2 * HOUR, pushed[2])


def test_slots_may_pass_without_a_job(store):
    first = register(store)
    assert store.schedules.fire(QUEUE, "report", seen=first, then=first + 5 * HOUR, jobs={}) == []
    after = standing(store)
    assert (after.next_at, after.last_at, after.last_job) == (first + 5 * HOUR, None, None)


def test_a_job_that_cannot_be_pushed_leaves_the_slot_standing(store):
    first = register(store)
    before = standing(store)
    jobs = {first: new_job(), first + HOUR: new_job(run_at=datetime(2030, 1, 1))}
    with pytest.raises(TypeError):
        store.schedules.fire(QUEUE, "report", seen=first, then=first + 2 * HOUR, jobs=jobs)
    assert standing(store) == before
    assert store.find(Find()).jobs == []
    assert fire(store, first) is not None


def test_a_job_may_be_for_another_queue_and_wakes_its_runners(store):
    first = register(store)
    runner = store.enlist("elsewhere", "tests")
    store.schedules.fire(QUEUE, "report", seen=first, then=first + HOUR, jobs={first: new_job(queue="elsewhere")})
    store.bell(runner).wait(1e6)  # a test that waits so long is stopped by its time limit
    assert store.size("elsewhere").waiting == 1


def test_of_eight_threads_at_the_same_slots_one_fires_each(store):
    first = register(store)
    slots = [first + n * HOUR for n in range(25)]
    barrier = Barrier(8)

    def run(_):
        won = []
        for slot in slots:
            barrier.wait(30)
            if fire(store, slot) is not None:
                won.append(slot)
        return won

    with ThreadPoolExecutor(8) as pool:
        won = [slot for each in pool.map(run, range(8)) for slot in each]
    assert sorted(won) == slots
    assert [job.run_at for job in store.find(Find()).jobs] == slots


def test_two_processes_that_fire_all_the_time_make_one_job_for_each_slot(tmp_path):
    program = textwrap.dedent(
        """
        import sys
        from datetime import UTC, datetime, timedelta
        from workqueue.job import NewJob
        from workqueue.schedule import Schedule
        from workqueue.store.sqlite.engine import SqliteStore

        second, now = timedelta(seconds=1), datetime(2026, 1, 1, tzinfo=UTC)
        store = SqliteStore(sys.argv[1], durability="process")
        store.schedules.put("default", "tick", Schedule(every=second), now)
        print("ready", flush=True)
        sys.stdin.readline()
        while (seen := store.schedules.standings("default")[0].next_at) < now + 300 * second:
            jobs = {seen: NewJob(queue="default", name="tick", data=b"{}", run_at=seen)}
            store.schedules.fire("default", "tick", seen=seen, then=seen + second, jobs=jobs)
        store.close()
        """
    )
    path = str(tmp_path / "q.db")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT / "src"
        )
        for _ in range(2)
    ]
    assert [process.stdout.readline() for process in processes] == [b"ready\n", b"ready\n"]
    for process in processes:
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=120)
        assert process.returncode == 0

    from workqueue.store.sqlite.engine import SqliteStore

    store = SqliteStore(path)
    slots = Counter(job.run_at for job in store.find(Find(limit=10_000)).jobs)
    assert store.check() == []
    store.close()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert slots == Counter(start + timedelta(seconds=n) for n in range(300))


# inside a transaction


def test_what_a_transaction_does_to_schedules_goes_with_it(store):
    first = register(store)
    before = store.schedules.standings(QUEUE)
    with pytest.raises(RuntimeError), store.transaction():
        assert fire(store, first) is not None
        register(store, name="another")
        store.schedules.pause(QUEUE, "report")
        raise RuntimeError
    assert store.schedules.standings(QUEUE) == before
    assert store.find(Find()).jobs == []
    with store.transaction():
        assert fire(store, first) is not None
    assert standing(store).last_at == first


# pause, resume, forget


def test_the_slots_of_a_pause_are_not_run(store, clock):
    others = [("another", QUEUE), ("report", "other")]
    for name, queue in others:
        register(store, name=name, queue=queue)
    first = register(store)
    store.schedules.pause(QUEUE, "report")
    store.schedules.pause(QUEUE, "report")
    assert standing(store).paused
    assert not any(standing(store, *other).paused for other in others)
    clock.advance(first - clock.now() + 3 * HOUR + MINUTE)
    assert [due.name for due in store.schedules.due(QUEUE)] == ["another"]
    store.schedules.resume(QUEUE, "report")
    assert (standing(store).paused, standing(store).next_at) == (False, first + 4 * HOUR)
    assert [due.name for due in store.schedules.due(QUEUE)] == ["another"]
    assert [standing(store, *other).next_at for other in others] == [first, first]


def test_resuming_goes_by_the_schedule_of_that_name_in_that_queue(store, clock):
    register(store, name="another", schedule=DAILY)
    register(store, queue="other", schedule=DAILY)
    store.schedules.pause(QUEUE, "another")
    first = register(store)
    store.schedules.pause(QUEUE, "report")
    store.schedules.resume(QUEUE, "report")
    assert standing(store).next_at == first
    assert standing(store, "another").paused


def test_resuming_what_is_not_paused_lets_no_slot_pass(store, clock):
    first = register(store)
    clock.advance(5 * HOUR)
    store.schedules.resume(QUEUE, "report")
    assert [due.slot for due in store.schedules.due(QUEUE)] == [first]


def test_a_forgotten_schedule_leaves_its_jobs(store):
    register(store, name="another")
    first = register(store)
    [job_id] = fire(store, first)
    assert store.schedules.forget(QUEUE, "report") is True
    assert store.schedules.forget(QUEUE, "report") is False
    assert [each.name for each in store.schedules.standings(QUEUE)] == ["another"]
    assert store.get(job_id).name == "report"


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_schedule_that_nobody_registered_is_named(store, verb):
    register(store, queue="other")
    with pytest.raises(ScheduleNotFound, match="^expected the name of a schedule of queue 'default', got: 'report'; "):
        getattr(store.schedules, verb)(QUEUE, "report")


@pytest.mark.parametrize("word", ["Größe", "'; DROP TABLE schedules; --", '"[1]"', "%_*"])
def test_names_of_schedules_are_kept_letter_for_letter(store, word):
    first = register(store, name=word, queue=word)
    assert store.schedules.next_at(word, [word]) == first
    assert fire(store, first, name=word, queue=word) is not None
    assert standing(store, word, word).last_at == first
