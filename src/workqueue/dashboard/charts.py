"""Figures over time as lines: for the script that draws them, and as a drawing for who runs no script. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from workqueue.dashboard.filters import Stretch
from workqueue.report import Point

WIDTH: Final = 600
HEIGHT: Final = 120
_STEPS: Final = (1, 2, 2.5, 5, 10)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE: Final = timedelta(minutes=1)
_SOONEST: Final = timedelta(seconds=20)


class Line(msgspec.Struct, frozen=True):
    """One line of a chart. tone: how it is drawn. values: None where nothing is known."""

    label: str
    tone: str
    values: list[float | None]

    @property
    def last(self) -> float | None:
        """The latest value that is known."""
        return next((value for value in reversed(self.values) if value is not None), None)


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """Lines over the same instants. unit: `jobs` or `seconds`. filled: the first line stands on an area."""

    key: str
    title: str
    unit: str
    instants: list[datetime]
    lines: list[Line]
    filled: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known at all, or nothing happened."""
        return not any(value for line in self.lines for value in line.values)

    @property
    def top(self) -> float:
        """The value at the upper edge: a round number, above all others."""
        return round_up(max((value for line in self.lines for value in line.values if value is not None), default=0))

    @property
    def data(self) -> str:
        """The chart as JSON, for the script: seconds since 1970, then the values of each line."""
        columns: list[object] = [[int(instant.timestamp()) for instant in self.instants]]
        columns += [line.values for line in self.lines]
        lines = [{"label": line.label, "tone": line.tone} for line in self.lines]
        return msgspec.json.encode({"unit": self.unit, "filled": self.filled, "lines": lines, "data": columns}).decode()

    def path(self, line: Line, *, closed: bool = False) -> str:
        """Give a line as the path of an SVG of WIDTH × HEIGHT; closed: with the area below it."""
        count, top = max(1, len(line.values) - 1), self.top
        pieces: list[str] = []
        for run in _known(line.values):
            points = [(at * WIDTH / count, HEIGHT - 2 - value / top * (HEIGHT - 6)) for at, value in run]
            drawn = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
            if closed:
                pieces.append(f"M{points[0][0]:.1f} {HEIGHT}L{drawn}L{points[-1][0]:.1f} {HEIGHT}Z")
            else:
                pieces.append(f"M{drawn}" + ("h.1" if len(points) == 1 else ""))  # a point alone would not be drawn
        return "".join(pieces)


def beginning(until: datetime, stretch: Stretch) -> datetime:
    """Give where a chart that goes to `until` begins: its steps begin at round times, the last one is not over yet."""
    last = until - (until - _EPOCH) % stretch.step
    return last - (stretch.points - 1) * stretch.step


def of(points: Sequence[Point], stretch: Stretch, until: datetime) -> list[Chart]:
    """Give the charts for what happened in each step."""
    instants = [point.at for point in points]

    def rates(counts: Iterable[int]) -> list[float | None]:
        return [_rate(count, min(stretch.step, until - at)) for at, count in zip(instants, counts, strict=True)]

    def chart(key: str, title: str, unit: str, *lines: Line, filled: bool = False) -> Chart:
        return Chart(key=key, title=title, unit=unit, instants=instants, lines=list(lines), filled=filled)

    return [
        chart(
            "throughput",
            "Completed a minute",
            "jobs",
            Line("completed", "accent", rates(point.completed for point in points)),
            filled=True,
        ),
        chart(
            "failures",
            "Failures a minute",
            "jobs",
            Line("failed", "red", rates(point.failed for point in points)),
            Line("retried", "amber", rates(point.retried for point in points)),
            Line("lost", "faint", rates(point.lost for point in points)),
        ),
        chart(
            "waiting",
            "Due and waiting",
            "jobs",
            Line("jobs", "accent", [point.waiting for point in points]),
            filled=True,
        ),
        chart(
            "wait",
            "Wait until started",
            "seconds",
            Line("p50", "accent", [point.wait.p50 for point in points]),
            Line("p95", "faint", [point.wait.p95 for point in points]),
        ),
        chart(
            "run",
            "Run time",
            "seconds",
            Line("p50", "accent", [point.run.p50 for point in points]),
            Line("p95", "faint", [point.run.p95 for point in points]),
        ),
        chart("oldest", "Longest due", "seconds", Line("oldest job", "accent", [point.oldest for point in points])),
    ]


def _rate(count: int, over: timedelta) -> float | None:
    """Give jobs a minute; None where too little time has passed to say."""
    return None if over < _SOONEST else round(count * (_MINUTE / over), 3)


def round_up(value: float) -> float:
    """Give the next round number that is not below `value`; 1 for 0.

    >>> round_up(0), round_up(3), round_up(11), round_up(0.03)
    (1.0, 5.0, 20.0, 0.05)
    """
    if value <= 0:
        return 1.0
    power = 1.0
    while power > value:
        power /= 10
    while power * 10 < value:
        power *= 10
    return next(round(step * power, 12) for step in _STEPS if step * power >= value)


def _known(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Give the stretches of a line without gaps, each value with its place."""
    runs: list[list[tuple[int, float]]] = [[]]
    for at, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((at, value))
    return [run for run in runs if run]
