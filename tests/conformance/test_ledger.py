"""The figures: what became of jobs, by the minute, by the hour and of all time; and how many wait."""

from __future__ import annotations

from datetime import timedelta

import pytest
from prove.clock import FakeClock
from workqueue.figures import Counted, Figures
from workqueue.job import Lane, Terms
from workqueue.store.clock import EPOCH, instant
from workqueue.store.contract import Store
from workqueue.store.ledger import HOURS_STAY, MINUTES_STAY

from support import QUEUE, SECOND, a_suspect, claim_all, claim_one, push

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
ALL = (EPOCH, EPOCH + timedelta(days=365 * 1000))
SOME = Counted(
    completed=3,
    failed=1,
    retried=2,
    cancelled=1,
    lost=1,
    wait_sum=2.5 * SECOND,
    wait_max=SECOND,
    run_sum=9 * SECOND,
    run_max=4 * SECOND,
    wait_buckets=(0, 0, 5, 2),
    run_buckets=(7,),
)
LATE = Counted(completed=1, wait_sum=SECOND, wait_max=2 * SECOND, wait_buckets=(0, 0, 0, 0, 1), run_buckets=(0, 1))
BOTH = Counted(
    completed=4,
    failed=1,
    retried=2,
    cancelled=1,
    lost=1,
    wait_sum=3.5 * SECOND,
    wait_max=2 * SECOND,
    run_sum=9 * SECOND,
    run_max=4 * SECOND,
    wait_buckets=(0, 0, 5, 2, 1),
    run_buckets=(7, 1),
)


@pytest.fixture
def clock() -> FakeClock:
    """Begin at a full hour."""
    clock = FakeClock()
    clock.advance(HOUR - (instant(clock()) - EPOCH) % HOUR)
    return clock


def counted(figures: list[Figures]) -> list[tuple[str, str, Counted]]:
    fields = Counted.__struct_fields__
    return [(one.queue, one.name, Counted(**{name: getattr(one, name) for name in fields})) for one in figures]


def backlog(store: Store, queue: str = QUEUE) -> list[tuple[int | None, timedelta | None]]:
    found = store.ledger.figures(queue, *ALL)
    return [(one.waiting, one.oldest) for one in found if not one.name]


# add


def test_nothing_is_known_of_nothing(store):
    store.ledger.add(QUEUE, {})
    assert store.ledger.figures(None, *ALL) == []
    assert store.ledger.totals() == {}


def test_what_is_added_stands_in_its_minute_and_hour_and_in_all_time(store, clock):
    clock.advance(7 * MINUTE + 30 * SECOND)
    now = store.now()
    store.ledger.add(QUEUE, {"task": SOME})
    [minute], [hour] = store.ledger.figures(QUEUE, *ALL), store.ledger.figures(QUEUE, *ALL, span="hour")
    assert counted([minute, hour]) == [(QUEUE, "task", SOME)] * 2
    assert (minute.minute, hour.minute) == (now - 30 * SECOND, now - 7 * MINUTE - 30 * SECOND)
    assert (minute.waiting, minute.oldest) == (None, None)
    assert store.ledger.totals() == {(QUEUE, "task"): SOME}


def test_what_comes_to_the_same_time_is_added_up_and_longer_buckets_too(store, clock):
    store.ledger.add(QUEUE, {"task": SOME})
    clock.advance(59 * SECOND)
    store.ledger.add(QUEUE, {"task": LATE})
    assert counted(store.ledger.figures(QUEUE, *ALL)) == [(QUEUE, "task", BOTH)]
    assert store.ledger.totals() == {(QUEUE, "task"): BOTH}


def test_shorter_buckets_are_added_to_longer_ones(store):
    store.ledger.add(QUEUE, {"task": LATE})
    store.ledger.add(QUEUE, {"task": SOME})
    store.ledger.add(QUEUE, {"task": Counted(completed=1)})
    assert store.ledger.totals()[QUEUE, "task"].wait_buckets == (0, 0, 5, 2, 1)
    assert store.ledger.totals()[QUEUE, "task"].completed == 5


def test_a_new_minute_begins_a_new_figure_and_adds_to_that_of_the_hour(store, clock):
    store.ledger.add(QUEUE, {"task": SOME})
    clock.advance(MINUTE)
    store.ledger.add(QUEUE, {"task": LATE})
    assert counted(store.ledger.figures(QUEUE, *ALL)) == [(QUEUE, "task", SOME), (QUEUE, "task", LATE)]
    assert counted(store.ledger.figures(QUEUE, *ALL, span="hour")) == [(QUEUE, "task", BOTH)]
    clock.advance(HOUR)
    store.ledger.add(QUEUE, {"task": SOME})
    assert len(store.ledger.figures(QUEUE, *ALL, span="hour")) == 2


def test_tasks_and_queues_are_told_apart_and_come_in_their_order(store, clock):
    store.ledger.add("b", {"y": SOME, "x": LATE})
    clock.advance(MINUTE)
    store.ledger.add("a", {"x": SOME})
    assert [(queue, name) for queue, name, _ in counted(store.ledger.figures(None, *ALL))] == [
        ("b", "x"),
        ("b", "y"),
        ("a", "x"),
    ]
    assert counted(store.ledger.figures("a", *ALL)) == [("a", "x", SOME)]
    assert store.ledger.totals() == {("a", "x"): SOME, ("b", "x"): LATE, ("b", "y"): SOME}
    assert store.ledger.totals("b") == {("b", "x"): LATE, ("b", "y"): SOME}
    assert store.ledger.figures("c", *ALL) == []


def test_figures_are_given_from_one_instant_to_before_another(store, clock):
    for _ in range(4):
        store.ledger.add(QUEUE, {"task": LATE})
        clock.advance(MINUTE)
    first = store.now() - 4 * MINUTE
    found = store.ledger.figures(QUEUE, first + MINUTE, first + 3 * MINUTE)
    assert [one.minute - first for one in found] == [MINUTE, 2 * MINUTE]


def test_many_names_and_words_of_any_kind_are_kept(store):
    names = ["", "'", '"', "\\", "%s", ":name", "名前", "a\nb", "\x1b[31m", "x" * 255]
    store.ledger.add(QUEUE, dict.fromkeys(names, LATE))
    store.ledger.add(QUEUE, dict.fromkeys(names, LATE))
    assert {name: one.completed for (_, name), one in store.ledger.totals(QUEUE).items()} == dict.fromkeys(names, 2)


def test_a_name_that_not_every_engine_can_hold_has_a_place_marker(store):
    store.ledger.add("q\0", {"a\0": LATE, "a\ufffd": LATE})
    assert [(place, one.completed) for place, one in store.ledger.totals("q\0").items()] == [
        (("q\ufffd", "a\ufffd"), 2)
    ]
    assert [one.name for one in store.ledger.figures("q\0", *ALL)] == ["a\ufffd"]


def test_figures_can_be_very_large(store):
    huge = Counted(completed=2**53, wait_sum=timedelta(days=10_000 * 365), wait_buckets=(2**53,), run_buckets=(2**53,))
    store.ledger.add(QUEUE, {"task": huge})
    store.ledger.add(QUEUE, {"task": huge})
    assert store.ledger.totals()[QUEUE, "task"] == Counted(
        completed=2**54, wait_sum=timedelta(days=20_000 * 365), wait_buckets=(2**54,), run_buckets=(2**54,)
    )


# the backlog


def test_an_empty_queue_has_a_backlog_of_nothing(store):
    store.ledger.note_backlog(QUEUE)
    assert backlog(store) == [(0, None)]
    assert store.ledger.totals() == {}


def test_the_backlog_is_what_is_due_and_does_not_run(store, clock):
    push(store)
    push(store, queue="other")
    claim_one(store)
    push(store, run_at=store.now() - HOUR)
    clock.advance(SECOND)
    push(store, delay=MINUTE)
    push(store, delay=2 * MINUTE)
    clock.advance(MINUTE)
    store.ledger.note_backlog(QUEUE)
    assert backlog(store) == [(2, HOUR + MINUTE + SECOND)]
    assert backlog(store, "other") == []


def test_the_backlog_has_suspects_and_what_is_kept_back_but_not_what_follows_others(store, clock):
    a_suspect(store)
    for _ in range(3):
        push(store, terms=Terms(limit=Lane("one", most=1)))
    assert len(claim_all(store)) == 1
    batch = store.batches.open(QUEUE)
    push(store, terms=Terms(follows_batch=batch))
    clock.advance(SECOND)
    store.ledger.note_backlog(QUEUE)
    assert backlog(store) == [(3, SECOND)]


def test_the_backlog_is_noted_once_a_minute_whoever_asks(store, clock):
    push(store)
    store.ledger.note_backlog(QUEUE)
    push(store)
    store.ledger.note_backlog(QUEUE)
    assert [waiting for waiting, _ in backlog(store)] == [1]
    clock.advance(MINUTE)
    store.ledger.note_backlog(QUEUE)
    assert [waiting for waiting, _ in backlog(store)] == [1, 2]
    [hour] = store.ledger.figures(QUEUE, *ALL, span="hour")
    assert (hour.name, hour.waiting, hour.oldest) == ("", 2, MINUTE)


def test_a_backlog_goes_back_to_nothing(store, clock):
    push(store)
    store.ledger.note_backlog(QUEUE)
    claim_one(store)
    clock.advance(MINUTE)
    store.ledger.note_backlog(QUEUE)
    assert backlog(store) == [(1, timedelta(0)), (0, None)]
    [hour] = store.ledger.figures(QUEUE, *ALL, span="hour")
    assert (hour.waiting, hour.oldest) == (0, None)


def test_a_job_whose_clock_was_set_back_has_not_been_due_for_less_than_nothing(store, clock):
    push(store)
    clock.advance(-SECOND)
    store.ledger.note_backlog(QUEUE)
    assert backlog(store) == [(1, timedelta(0))]


# pruning


def test_minutes_are_forgotten_first_then_hours_and_totals_when_nothing_was_heard(store, clock):
    store.ledger.add(QUEUE, {"gone": SOME, "here": SOME})
    store.ledger.note_backlog(QUEUE)
    clock.advance(MINUTES_STAY)
    store.sweep(QUEUE, 100)
    assert len(store.ledger.figures(QUEUE, *ALL)) == 3
    clock.advance(HOUR)
    store.sweep(QUEUE, 100)
    assert store.ledger.figures(QUEUE, *ALL) == []
    assert len(store.ledger.figures(QUEUE, *ALL, span="hour")) == 3
    assert len(store.ledger.totals()) == 2
    store.ledger.add(QUEUE, {"here": SOME})
    clock.advance(HOURS_STAY - MINUTES_STAY)
    store.sweep(QUEUE, 100)
    assert [one.name for one in store.ledger.figures(QUEUE, *ALL, span="hour")] == ["here"]
    assert {name: one.completed for (_, name), one in store.ledger.totals().items()} == {"here": 6}
    clock.advance(HOURS_STAY)
    store.sweep("another queue's runner does it too", 100)
    assert store.ledger.figures(None, *ALL, span="hour") == []
    assert store.ledger.totals() == {}


def test_figures_of_several_runners_do_not_wait_for_each_other_for_ever(store):
    import threading

    def add(names: list[str]) -> None:
        for _ in range(20):
            store.ledger.add(QUEUE, dict.fromkeys(names, LATE))

    names = [f"task {number}" for number in range(20)]
    threads = [threading.Thread(target=add, args=(order,)) for order in (names, names[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {name: one.completed for (_, name), one in store.ledger.totals(QUEUE).items()} == dict.fromkeys(names, 40)
