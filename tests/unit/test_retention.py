"""What is kept: the options, and when a runner looks and prunes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from workqueue import InvalidOption, Keep, Queue
from workqueue import pruning as module
from workqueue.pruning import Pruner
from workqueue.retention import Retention, as_keep
from workqueue.store.surplus import Mark

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (None, None),
        (HOUR, Keep(age=HOUR)),
        (5, Keep(count=5)),
        (Keep(age=HOUR, count=5), Keep(age=HOUR, count=5)),
    ],
)
def test_a_duration_is_an_age_and_a_number_a_count(said, meant):
    assert as_keep(said, "keep_completed") == meant


@pytest.mark.parametrize(
    "wrong",
    [
        0,
        -1,
        1_000_001,
        True,
        1.5,
        "1h",
        timedelta(0),
        -HOUR,
        Keep(),
        Keep(age=HOUR, count=0),
        Keep(count=True),
        Keep(age=timedelta(0), count=1),
        Keep(count="5"),
    ],
)
@pytest.mark.parametrize("name", ["keep_completed", "keep_failed", "keep_results"])
def test_what_says_neither_how_long_nor_how_many_is_refused(name, wrong):
    with pytest.raises(InvalidOption, match=name):
        Queue(":memory:", **{name: wrong})


def test_a_bare_number_of_results_is_refused_for_a_tasks_own_would_be_seconds():
    with pytest.raises(InvalidOption, match="seconds, or results"):
        Queue(":memory:", keep_results=3600)


def test_failed_jobs_cannot_be_dropped_and_kept():
    with pytest.raises(InvalidOption, match="archive=True beside keep_failed"):
        Queue(":memory:", archive=False, keep_failed=5)


class Surplus:
    """Has what it is given to find, to prune and to give back, and tells what it was asked; each takes so long."""

    def __init__(self, clock: list[float], took: float = 0.0) -> None:
        self.clock, self.took = clock, took
        self.marks: dict[str, Mark] = {}
        self.counts: list[int] = []
        self.room: list[int] = []
        self.asked: list[str] = []

    @property
    def surplus(self) -> Surplus:
        return self

    def find(self, queue: str, what: str, keep: Keep) -> Mark | None:
        self.clock[0] += self.took
        self.asked.append(f"find {what}")
        return self.marks.pop(what, None)

    def prune(self, queue: str, what: str, mark: Mark, limit: int) -> int:
        self.clock[0] += self.took
        self.asked.append(f"prune {what}")
        assert limit == 500
        return self.counts.pop(0)

    def shrink(self, limit: int) -> int:
        self.clock[0] += self.took
        self.asked.append("shrink")
        return self.room.pop(0) if self.room else 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    return clock


BOTH = Retention(completed=Keep(count=1), failed=Keep(age=HOUR), results=Keep(age=HOUR))


def rests(pruner: Pruner, clock: list[float], steps: int, *, idle: bool = False) -> list[float]:
    """Make so many steps, each when its time has come; give the rests after them."""
    found: list[float] = []
    for _ in range(steps):
        pruner.step(idle=idle)
        found.append(round(pruner.next_at - clock[0], 6))
        clock[0] = pruner.next_at
    return found


def test_a_queue_without_rules_looks_for_nothing_but_room(clock):
    surplus = Surplus(clock)
    pruner = Pruner(surplus, "q", Retention(results=Keep(age=HOUR)))
    assert rests(pruner, clock, 1) == [5.0]
    assert surplus.asked == []
    assert rests(pruner, clock, 1, idle=True) == [5.0]
    assert surplus.asked == ["shrink"]


@pytest.mark.parametrize(("took", "rest"), [(0.0, 5.0), (0.1, 0.2 * 99)])
def test_it_looks_now_and_then_and_less_often_the_longer_that_takes(clock, took, rest):
    surplus = Surplus(clock, took)
    pruner = Pruner(surplus, "q", BOTH)
    pruner.step(idle=False)
    assert surplus.asked == ["find completed", "find failed"]
    assert pruner.next_at - clock[0] == pytest.approx(rest)
    pruner.step(idle=False)
    assert len(surplus.asked) == 2


def test_it_prunes_all_that_it_has_found_in_steps_with_rests_between(clock):
    surplus = Surplus(clock, 0.01)
    surplus.marks |= {"completed": Mark(1, 1), "failed": Mark(1, 1)}
    surplus.counts += [500, 3, 0, 7, 0]
    assert rests(Pruner(surplus, "q", BOTH), clock, 7) == [0.08, 0.04, 0.04, 0.04, 0.04, 5.0, 5.0]
    assert surplus.asked == [
        *("find completed", "find failed"),
        *("prune completed", "prune completed", "prune completed", "prune failed", "prune failed"),
        *("find completed", "find failed"),
    ]


def test_room_is_given_back_while_nothing_is_in_hand(clock):
    surplus = Surplus(clock, 0.01)
    surplus.room += [4096, 4096, 0, 4096]
    pruner = Pruner(surplus, "q", Retention(completed=Keep(count=1)))
    assert rests(pruner, clock, 3, idle=True) == [0.08, 0.04, 5.0]
    assert surplus.asked == ["find completed", "shrink", "shrink", "shrink"]
    pruner.step(idle=True)
    clock[0] = pruner.next_at
    surplus.asked.clear()
    pruner.step(idle=False)
    assert surplus.asked == ["find completed"]


def test_it_rests_after_an_error(clock):
    class Away(Surplus):
        def find(self, *arguments: object) -> None:
            raise OSError("away")

    pruner = Pruner(Away(clock), "q", BOTH)
    with pytest.raises(OSError, match="away"):
        pruner.step(idle=True)
    assert pruner.next_at == clock[0] + 5
