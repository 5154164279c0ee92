"""Charts, stories and addresses, without a store."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from workqueue import story
from workqueue.dashboard import charts
from workqueue.dashboard.charts import HEIGHT, WIDTH, Chart, Line
from workqueue.dashboard.filters import STRETCHES, Filter, address, stretch
from workqueue.errors import InvalidOption
from workqueue.job import Attempt, Job, JobStatus, Terms
from workqueue.report import Point, Times

NOON = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
HOUR = STRETCHES["1h"]


def job(**changes: object) -> Job:
    usual = {"id": 7, "name": "task", "data": b"{}", "pushed_at": NOON, "run_at": NOON}
    return Job(**(usual | changes))  # type: ignore[arg-type]


def attempt(number: int, outcome: str = "raised") -> Attempt:
    return Attempt(number, "host:1", NOON, timedelta(seconds=1), outcome, "ValueError: bad", "a traceback")


@pytest.mark.parametrize("name", STRETCHES)
def test_the_steps_of_a_chart_begin_at_round_times(name):
    chosen = STRETCHES[name]
    begins = charts.beginning(NOON, chosen)
    assert (begins - datetime(1970, 1, 1, tzinfo=UTC)) % chosen.step == timedelta(0)
    last = begins + (chosen.points - 1) * chosen.step
    assert last <= NOON < last + chosen.step


def points(count: int = 60, **changes: object) -> list[Point]:
    begins = charts.beginning(NOON, HOUR)
    return [Point(at=begins + number * HOUR.step, **changes) for number in range(count)]  # type: ignore[arg-type]


def test_counts_are_told_by_the_minute_and_the_last_step_by_what_has_passed_of_it():
    day = STRETCHES["24h"]
    made = charts.of([Point(at=NOON - timedelta(hours=1), completed=30)], day, NOON)
    assert made[0].lines[0].values == [2.0]
    assert charts.of(points(completed=10), HOUR, NOON)[0].lines[0].values[-2:] == [10.0, 20.0]
    early = NOON - timedelta(seconds=20)
    assert charts.of(points(completed=10), HOUR, early)[0].lines[0].values[-1] is None


def test_what_nobody_knows_is_a_gap_and_what_stands_alone_a_dot():
    line = Line("p50", "accent", [None, 1.0, None, 2.0, 4.0])
    chart = Chart(key="k", title="t", unit="seconds", instants=[NOON] * 5, lines=[line])
    pieces = re.findall(r"M[^M]+", chart.path(line))
    assert len(pieces) == 2
    assert pieces[0].endswith("h.1")
    assert line.last == 4.0
    assert chart.top == 5.0
    assert json.loads(chart.data)["data"][1] == [None, 1.0, None, 2.0, 4.0]


def test_a_drawing_stays_inside_its_frame():
    line = Line("n", "accent", [0.0, 3.7, 1e9, 0.004])
    chart = Chart(key="k", title="t", unit="jobs", instants=[NOON] * 4, lines=[line], filled=True)
    for path in (chart.path(line), chart.path(line, closed=True)):
        numbers = [float(number) for number in re.findall(r"[\d.]+", path)]
        assert all(0 <= x <= WIDTH for x in numbers[::2])
        assert all(0 <= y <= HEIGHT for y in numbers[1::2])


def test_a_chart_of_nothing_is_empty():
    made = charts.of(points(), HOUR, NOON)
    assert all(chart.is_empty for chart in made)
    assert not charts.of(points(wait=Times(p50=0.1, p95=0.2)), HOUR, NOON)[3].is_empty


@pytest.mark.parametrize(
    ("changes", "attempts", "titles"),
    [
        ({}, [], ["Pushed", "First try as soon as its turn comes"]),
        ({"run_at": NOON + timedelta(hours=2)}, [], ["Pushed", "First try in 2h"]),
        (
            {"status": JobStatus.RETRYING, "attempt": 1, "run_at": NOON + timedelta(minutes=3)},
            [1],
            ["Pushed", "Attempt 1 failed", "Next try in 3m"],
        ),
        ({"status": JobStatus.RUNNING, "attempt": 2}, [1], ["Pushed", "Attempt 1 failed", "Attempt 2 runs"]),
        ({"status": JobStatus.RUNNING, "attempt": 2}, [], ["Pushed", "Attempt 1 left no record", "Attempt 2 runs"]),
        (
            {"status": JobStatus.FAILED, "attempt": 6},
            [3, 6],
            ["Pushed", "Attempts 1 to 2 left no record", "Attempt 3 failed", "Attempts 4 to 5 left no record",
             "Attempt 6 failed", "Failed for good"],
        ),
        ({"status": JobStatus.COMPLETED, "attempt": 1}, [], ["Pushed", "Attempt 1 completed"]),
        ({"status": JobStatus.CANCELLED}, [], ["Pushed", "Cancelled"]),
        ({"terms": Terms(follows=5)}, [], ["Pushed", "Waits for job 5"]),
        ({"terms": Terms(follows_batch=5)}, [], ["Pushed", "Waits for batch 5"]),
    ],
)  # fmt: skip
def test_the_story_of_a_job(changes, attempts, titles):
    told = story.told(job(**changes), [attempt(number) for number in attempts], NOON)
    assert [event.title for event in told] == titles


def test_the_story_says_since_when_a_job_runs_and_on_whom():
    running = job(status=JobStatus.RUNNING, attempt=1, claimed_at=NOON - timedelta(minutes=5), runner="host:1")
    event = story.told(running, [], NOON)[-1]
    assert (event.at, event.runner, event.details) == (NOON - timedelta(minutes=5), "host:1", ["for 5m"])


@pytest.mark.parametrize(
    ("outcome", "title"),
    [
        ("lost", "Attempt 1 was lost: its runner ended"),
        ("cancelled", "Attempt 1 was cancelled"),
        ("odd", "Attempt 1 odd"),
    ],
)
def test_how_an_attempt_ended(outcome, title):
    told = story.told(job(status=JobStatus.FAILED, attempt=1), [attempt(1, outcome)], NOON)
    assert told[1].title == title
    assert told[1].traceback == "a traceback"


def test_what_one_asked_for_is_written_as_it_is_read():
    chosen = Filter(queue="a/b?c=d&e", status=JobStatus.FAILED, name="näme", text="50 %", before=9)
    assert Filter.read(chosen.fields()) == chosen
    assert chosen.with_().before is None
    assert chosen.with_(text="").fields() == {"queue": "a/b?c=d&e", "status": "failed", "name": "näme"}
    assert Filter().is_any
    assert not chosen.is_any
    assert address("/jobs", **chosen.fields()).count("&") == 4
    assert address("/jobs") == "/jobs"


def test_a_stretch_of_time_that_there_is_not_is_refused():
    assert stretch({}) is HOUR
    with pytest.raises(InvalidOption, match="expected range to be one of"):
        stretch({"range": "1y"})
