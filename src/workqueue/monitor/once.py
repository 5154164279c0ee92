"""One frame for scripts and logs: as a record, and as tables. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from workqueue.monitor import panels
from workqueue.monitor.desk import Frame
from workqueue.monitor.panels import Column, Row
from workqueue.words import printable


def record(frame: Frame) -> dict[str, object]:
    """Give the frame for JSON, without the data of jobs."""
    sight = frame.sight
    return {
        "path": printable(frame.path),
        "now": frame.now,
        "queues": [] if sight is None else sight.overview.queues,
        "tasks": frame.tasks,
        "standings": frame.standings,
        "paused": {} if sight is None else sight.paused,
        "runners": [] if sight is None else sight.overview.runners,
        "running": [
            {
                "job": one.job.id,
                "queue": one.job.queue,
                "name": one.job.name,
                "attempt": one.job.attempt,
                "runner": one.job.runner,
                "since": one.job.claimed_at,
                "cancel_requested": one.job.cancel_requested,
                "progress": one.progress,
            }
            for one in frame.running
        ],
        "failures": [
            {
                "job": one.job.id,
                "queue": one.job.queue,
                "name": one.job.name,
                "attempt": one.job.attempt,
                "status": str(one.job.status),
                "at": one.at,
                "message": one.job.message,
            }
            for one in frame.failures
        ],
        "minutes": frame.points,
    }


def tables(frame: Frame) -> list[tuple[list[str], list[list[object]]]]:
    """Give the panels as tables: titles and rows, numbers as such."""
    return [
        _table(panels.WORK, panels.work(frame)),
        _table(panels.RUNNERS, panels.runners(frame)),
        _table(panels.FAILURES, panels.failures(frame)),
    ]


def _table(columns: Sequence[Column], rows: Sequence[Row]) -> tuple[list[str], list[list[object]]]:
    cells = [
        [_value(cell.text) if column.right else cell.text for column, cell in zip(columns, row.cells, strict=True)]
        for row in rows
    ]
    return [column.title for column in columns], cells


def _value(text: str) -> object:
    digits = text.replace(",", "")
    return 0 if text == panels.NOTHING else int(digits) if digits.isdecimal() else text
