"""The figures of a MemoryStore, as they were added; nothing of them survives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Final

import msgspec

from workqueue.figures import Counted, Figures, Span, total
from workqueue.store.clock import EPOCH, instant, micros
from workqueue.store.ledger import HOURS_STAY, MINUTES_STAY, by_name, tellable
from workqueue.store.memory.rows import Rows

_SPANS: Final[Mapping[Span, timedelta]] = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1)}
_STAY: Final[Mapping[Span, timedelta]] = {"minute": MINUTES_STAY, "hour": HOURS_STAY}


class MemoryLedger:
    """See `store.ledger.Ledger`. turn: holds the store's lock and gives its time."""

    def __init__(self, rows: Rows, turn: Callable[[], AbstractContextManager[int]]) -> None:
        self._rows = rows
        self._turn = turn
        self._figures: dict[tuple[Span, datetime, str, str], Figures] = {}
        self._totals: dict[tuple[str, str], Counted] = {}
        self._heard_at: dict[tuple[str, str], int] = {}

    def add(self, queue: str, counted: Mapping[str, Counted]) -> None:
        queue = tellable(queue)
        with self._turn() as now:
            for name, one in by_name(counted).items():
                place = queue, name
                self._totals[place] = total([self._totals.get(place, Counted()), one])
                self._heard_at[place] = now
                for span in _SPANS:
                    known = self._at(span, now, queue, name)
                    self._put(span, msgspec.structs.replace(known, **_asdict(total([known, one]))))

    def note_backlog(self, queue: str) -> None:
        with self._turn() as now:
            if self._at("minute", now, tellable(queue), "").waiting is not None:
                return
            due = [row.job for row in self._rows.of(queue) if row.waits() and row.is_due(now)]
            oldest = max(timedelta(0), instant(now) - due[0].run_at) if due else None
            for span in _SPANS:
                known = self._at(span, now, tellable(queue), "")
                self._put(span, msgspec.structs.replace(known, waiting=len(due), oldest=oldest))

    def figures(self, queue: str | None, since: datetime, until: datetime, *, span: Span = "minute") -> list[Figures]:
        ours = None if queue is None else tellable(queue)
        with self._turn():
            return [
                self._figures[place]
                for place in sorted(self._figures)
                if place[0] == span and since <= place[1] < until and ours in (None, place[2])
            ]

    def totals(self, queue: str | None = None) -> dict[tuple[str, str], Counted]:
        with self._turn():
            ours = None if queue is None else tellable(queue)
            return {place: self._totals[place] for place in sorted(self._totals) if ours in (None, place[0])}

    def forget(self, now: int) -> None:
        """Forget what was kept for long enough."""
        hour = _begin("hour", now)
        for place in [place for place in self._figures if place[1] < hour - _STAY[place[0]]]:
            del self._figures[place]
        for gone in [one for one, at in self._heard_at.items() if instant(at) < hour - HOURS_STAY]:
            del self._heard_at[gone], self._totals[gone]

    def broken_invariants(self) -> list[str]:
        """Give each as a sentence."""
        wrong = sum(_is_wrong(one) for one in (*self._figures.values(), *self._totals.values()))
        return [f"{wrong} figures are less than nothing, or know of more waits than runs"] if wrong else []

    def _at(self, span: Span, now: int, queue: str, name: str) -> Figures:
        begin = _begin(span, now)
        return self._figures.get((span, begin, queue, name), Figures(queue=queue, name=name, minute=begin))

    def _put(self, span: Span, one: Figures) -> None:
        self._figures[span, one.minute, one.queue, one.name] = one


def _begin(span: Span, now: int) -> datetime:
    length = micros(_SPANS[span])
    return EPOCH + timedelta(microseconds=now // length * length)


def _asdict(counted: Counted) -> dict[str, object]:
    return {name: getattr(counted, name) for name in Counted.__struct_fields__}


def _is_wrong(one: Counted) -> bool:
    counts = (one.completed, one.failed, one.retried, one.cancelled, one.lost, *one.wait_buckets, *one.run_buckets)
    return min(counts) < 0 or sum(one.wait_buckets) != sum(one.run_buckets)
