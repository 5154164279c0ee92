"""Rows, columns and bars, of frames that are made up."""

from __future__ import annotations

import doctest
from datetime import UTC, datetime, timedelta

from workqueue.monitor import drawing, overview, panels
from workqueue.monitor.desk import COUNTED, Frame
from workqueue.monitor.panels import Cell, Column
from workqueue.report import Point, Sight
from workqueue.store.contract import Engine, Overview, Standing, TaskStanding

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def frame(**changes: object) -> Frame:
    queues = [Standing(queue="mail", pending=200_000, oldest_due=NOON - timedelta(minutes=5))]
    sight = Sight(Overview(now=NOON, queues=queues, runners=[], engine=Engine(name="memory")), {})
    plain: dict[str, object] = {
        "path": "jobs.db", "now": NOON, "sight": sight, "points": [], "tasks": [], "standings": [], "running": [],
        "failures": [], "rates": None,
    }  # fmt: skip
    return Frame(**(plain | changes))  # type: ignore[arg-type]


def texts(rows: list[panels.Row]) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in rows]


def test_what_was_not_counted_to_its_end_is_said_to_be_more():
    many = [TaskStanding(queue="mail", name="a", due=COUNTED - 1), TaskStanding(queue="mail", name="b", failed=1)]
    _, first, second = texts(panels.work(frame(standings=many)))
    assert first[:5] == ["  a", "99,999+", "?", "·", "?"]
    assert second[:5] == ["  b", "?", "?", "·", "1+"]
    whole, first, _ = texts(panels.work(frame(standings=many[1:] + [TaskStanding(queue="mail", name="a", due=7)])))
    assert whole[:2] == ["mail  no runner", "200,000"] and first[:3] == ["  a", "7", "·"]


def test_a_store_whose_jobs_were_moved_away_is_told():
    moved = Overview(now=NOON, queues=[], runners=[], engine=Engine(name="memory"), moves=["its jobs\x1b were moved"])
    assert panels.notes(frame(sight=Sight(moved, {}))) == [r"its jobs\x1b were moved"]
    assert panels.notes(frame()) == panels.notes(frame(sight=None)) == []


def test_the_examples_are_true():
    for module in (drawing, overview):
        assert doctest.testmod(module).attempted > 0 == doctest.testmod(module).failed


def test_before_anybody_has_counted_there_are_no_rows():
    assert panels.work(frame(sight=None)) == panels.runners(frame(sight=None)) == []
    assert panels.figures(frame(sight=None)) == [("counting …", Cell(""))]


def test_a_minute_that_is_not_over_counts_as_if_it_were():
    points = [Point(at=NOON - timedelta(minutes=1), completed=60), Point(at=NOON, completed=10, failed=1, retried=1)]
    assert panels.minutes(frame(points=points, now=NOON + timedelta(seconds=20))) == ([60, 30], [0, 6])
    assert panels.minutes(frame(points=points, now=NOON + timedelta(seconds=5))) == ([60], [0])
    assert panels.minutes(frame(points=points[:1], now=NOON + timedelta(seconds=5)))[0] == [60]
    assert panels.minutes(frame()) == ([], [])


def test_columns_fit_what_room_there_is():
    columns = [Column("NAME"), Column("N", 9, right=True), Column("M", 5, least=50), Column("TASK", 30, narrow=12)]
    for room in (30, 49, 50, 99, 100, 300):
        shown = drawing.widths(columns, room)
        assert sum(width for _, _, width in shown) + 2 * (len(shown) - 1) == room
        assert any(column.title == "M" for _, column, _ in shown) is (room >= 50)
        line = drawing.row([Cell("漢字" * 99, "bad"), Cell("7"), Cell("x"), Cell("[b]y[/b]" * 9)], columns, room)
        assert line.cell_len == room and "[b]y[/b]" in line.plain
        assert drawing.header(columns, room).cell_len == room


def test_bars_are_as_high_as_their_values_say():
    high, low = drawing.spark([0, 8, 16, None, 1], 6, 2, "good")
    assert (high.plain, low.plain) == ("   █  ", " ▁██ ▁")
    assert drawing.spark([3, 0], 2, 1, "bad")[0].plain == "█▁"
    assert [str(span.style) for span in drawing.spark([3, 0], 2, 1, "bad")[0].spans] == ["red", "dim"]
    assert drawing.spark([], 3, 1, "good")[0].plain == "   "
    assert drawing.spark(list(range(100)), 3, 1, "good")[0].plain == "███"
