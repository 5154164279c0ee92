"""One question for many who ask: seldom, one at a time, and nobody waits long for it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from workqueue import looks
from workqueue.looks import Look, Looks


class Slow:
    """A question that is answered when told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.at_once = 0
        self.most_at_once = 0
        self.go_on = threading.Event()
        self.began = threading.Semaphore(0)

    def __call__(self) -> int:
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        self.began.release()
        self.go_on.wait(10)
        self.at_once -= 1
        return self.asked


def test_many_who_ask_at_once_are_one_question():
    slow = Slow()
    look = Look(slow, period=60)
    with ThreadPoolExecutor(16) as pool:
        answers = [pool.submit(look.latest, 10) for _ in range(16)]
        assert slow.began.acquire(timeout=10)
        slow.go_on.set()
        assert {answer.result() for answer in answers} == {1}
    assert slow.asked == slow.most_at_once == 1


def test_nobody_waits_longer_than_they_can():
    slow = Slow()
    look = Look(slow, period=0)
    assert look.latest(0) is None
    slow.go_on.set()
    assert look.latest(10) == 1
    slow.go_on.clear()
    look.outdate()
    assert look.latest(0) == 1  # the last answer, while another is on its way
    slow.go_on.set()
    assert look.latest(10) == 2
    assert slow.most_at_once == 1


def test_who_needs_an_answer_waits_for_one_that_is_new():
    slow = Slow()
    look = Look(slow, period=60)
    with ThreadPoolExecutor(2) as pool:
        for number in (1, 2):
            slow.go_on.clear()
            look.outdate()
            asked = pool.submit(look.answer)
            assert slow.began.acquire(timeout=10)
            assert not asked.done()
            slow.go_on.set()
            assert asked.result(10) == look.answer() == number


def test_an_answer_is_good_for_its_period():
    numbers = iter(range(9))
    look = Look(lambda: next(numbers), period=60)
    assert [look.latest(10) for _ in range(3)] == [0, 0, 0]
    look.outdate()
    assert [look.latest(10) for _ in range(3)] == [1, 1, 1]


def test_what_takes_long_is_asked_seldom(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(looks.time, "monotonic", lambda: now[0])
    numbers = iter(range(9))

    def cost_half_a_second() -> int:
        now[0] += 0.5
        return next(numbers)

    look = Look(cost_half_a_second, period=1)
    assert look.latest(10) == 0
    now[0] += 9.9
    assert look.latest(10) == 0
    now[0] += 0.2
    assert look.latest(10) == 1


def test_an_error_reaches_who_asks_and_is_not_for_ever():
    answers = iter([ValueError("no"), 5])

    def ask() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    look = Look(ask, period=60)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            look.latest(10)
    look.outdate()
    assert look.latest(10) == 5


def test_an_error_that_took_long_is_good_for_its_period_alone(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(looks.time, "monotonic", lambda: now[0])
    errors = [ValueError("away")]

    def be_away_for_long() -> int:
        if errors:
            now[0] += 8
            raise errors.pop()
        return 5

    look = Look(be_away_for_long, period=1)
    for _ in range(2):
        with pytest.raises(ValueError, match="away"):
            look.answer()
        now[0] += 0.9
    now[0] += 0.2
    assert look.answer() == 5


def test_an_error_is_no_longer_for_the_hundredth_who_asks_and_says_where_it_was_raised():
    def ask() -> int:
        raise ValueError("no")

    look = Look(ask, period=60)
    depths = set()
    for _ in range(3):
        with pytest.raises(ValueError, match="no") as caught:
            look.answer()
        depths.add(len(caught.traceback))
        assert caught.traceback[-1].name == "ask"
    assert len(depths) == 1


def test_questions_that_nobody_asks_any_more_are_forgotten():
    kept = Looks[int](period=60)
    first = kept.at("first", lambda: 1)
    assert kept.at("first", lambda: 2) is first
    for number in range(100):
        kept.at(number, lambda: 3)
    assert kept.at("first", lambda: 2) is not first
    assert time.monotonic() > 0
