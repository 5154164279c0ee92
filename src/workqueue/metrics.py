"""Metrics: the figures of a store in the text that Prometheus reads, version 0.0.4 of its format.

Counters and times are the totals of all who work, kept in the store: whoever is asked gives the same, and they fall
neither when a worker is started anew nor when old figures are pruned. What is counted just now, the gauges, is from one
look at the store. What the disk under a file has room for is that of the machine that is asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from typing import Final, Literal, TypeAlias

from workqueue.figures import BOUNDS, Buckets, Counted
from workqueue.store import is_url, sizes
from workqueue.store.contract import Overview, Standing, Store

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Labels: TypeAlias = Mapping[str, str]
_Kind: TypeAlias = Literal["counter", "gauge", "histogram"]

_COUNTERS: Final = {
    "jobs_completed": "Jobs that completed.",
    "jobs_failed": "Jobs that failed for good.",
    "jobs_cancelled": "Jobs that were cancelled while they ran.",
    "attempts_retried": "Attempts that failed, of jobs that are tried again.",
    "attempts_lost": "Attempts whose worker died.",
}

_PARTS: Final = {"data": "", "log": "-wal", "reserve": "-reserve"}


class Page:
    """Metrics of ours, written one family after another."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, name: str, kind: _Kind, text: str, samples: Iterable[tuple[str, Labels, float]]) -> None:
        """Add a family, if there is anything of it. samples: what follows the family's name, labels, and the value."""
        lines = [f"workqueue_{name}{suffix}{_labels(labels)} {_number(value)}" for suffix, labels, value in samples]
        if lines:
            self._lines += [f"# HELP workqueue_{name} {text}", f"# TYPE workqueue_{name} {kind}", *lines]

    def __str__(self) -> str:
        return "".join(f"{line}\n" for line in self._lines)


def exposition(store: Store) -> str:
    """Give all metrics of a store. It counts all that waits: who is asked again and again lets a `Look` do it."""
    page = Page()
    _add_totals(page, store.ledger.totals())
    _add_standing(page, store.overview())
    if not is_url(store.path) and store.path != ":memory:":
        _add_disk(page, store.path)
    return str(page)


def _add_totals(page: Page, totals: Mapping[tuple[str, str], Counted]) -> None:
    labels = {place: {"queue": place[0], "task": place[1]} for place in totals}
    for name, text in _COUNTERS.items():
        field = name.partition("_")[2]
        samples = [("", labels[place], float(getattr(one, field))) for place, one in totals.items()]
        page.add(f"{name}_total", "counter", text, samples)
    for name, text in (
        ("wait", "From when a job was due to the start of its attempt."),
        ("run", "From the start of an attempt to its end."),
    ):
        histograms = (
            _histogram(labels[place], getattr(one, f"{name}_buckets"), getattr(one, f"{name}_sum").total_seconds())
            for place, one in totals.items()
        )
        page.add(f"{name}_seconds", "histogram", text, [sample for samples in histograms for sample in samples])


def _histogram(labels: Labels, buckets: Buckets, sum_: float) -> Iterable[tuple[str, Labels, float]]:
    counts = list(accumulate((*buckets, *[0] * (len(BOUNDS) + 1 - len(buckets)))))
    for bound, count in zip((*BOUNDS, float("inf")), counts, strict=True):
        yield "_bucket", {**labels, "le": _number(bound)}, count
    yield "_sum", labels, sum_
    yield "_count", labels, counts[-1]


def _add_standing(page: Page, overview: Overview) -> None:
    page.add(
        "jobs",
        "gauge",
        "Jobs in the store: due, for later, running, or settled and kept.",
        [
            ("", {"queue": one.queue, "status": status}, count)
            for one in overview.queues
            for status, count in _statuses(one).items()
        ],
    )
    page.add(
        "oldest_due_seconds",
        "gauge",
        "For how long the first job in line has been due; 0 where none is.",
        [
            (
                "",
                {"queue": one.queue},
                max(0.0, (overview.now - one.oldest_due).total_seconds()) if one.oldest_due else 0,
            )
            for one in overview.queues
        ],
    )
    page.add(
        "runners",
        "gauge",
        "Runners of the queue that are alive.",
        [
            ("", {"queue": one.queue}, sum(runner.alive and runner.queue == one.queue for runner in overview.runners))
            for one in overview.queues
        ],
    )
    engine = overview.engine
    about = {"version": _version(), "engine": engine.name, "engine_version": engine.version}
    page.add("info", "gauge", "What keeps the jobs.", [("", about, 1)])


def _add_disk(page: Page, path: str) -> None:
    found = sizes(path)
    parts = [("", {"part": part}, float(found[suffix])) for part, suffix in _PARTS.items() if found.get(suffix)]
    page.add("file_bytes", "gauge", "The file, its log, and what is set aside for a full disk.", parts)
    room = os.statvfs(os.path.dirname(os.path.abspath(path)))
    for name, text, blocks in (
        ("free", "What the disk of the file still has room for.", room.f_bavail),
        ("size", "The disk of the file.", room.f_blocks),
    ):
        page.add(f"disk_{name}_bytes", "gauge", text, [("", {}, float(blocks * room.f_frsize))])


def _version() -> str:
    try:
        return version("durable-workqueue")
    except PackageNotFoundError:  # a copy of the code that nobody installed
        return ""


def _statuses(one: Standing) -> dict[str, int]:
    return {
        "due": one.due,
        "later": one.later,
        "running": one.running,
        "failed": one.failed,
        "cancelled": one.cancelled,
        "completed": one.completed,
    }


def _labels(labels: Labels) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
