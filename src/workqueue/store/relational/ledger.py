"""The figures of a database: a row for each task and minute, one for each hour, and one for all time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from workqueue.figures import Buckets, Counted, Figures, Span, shortened, total
from workqueue.store.clock import instant, micros
from workqueue.store.ledger import HOURS_STAY, MINUTES_STAY, by_name, tellable
from workqueue.store.relational.session import Database, Session

_MINUTE: Final = micros(timedelta(minutes=1))
_HOUR: Final = micros(timedelta(hours=1))
_SPANS: Final[Mapping[Span, int]] = {"minute": 1, "hour": 60}  # as the rows have it; 0: all time
_ALL_TIME: Final = 0
_OF_THE_QUEUE: Final = ""
_AT_ONCE: Final = 500  # minutes, or hours, whose figures are forgotten in one transaction
_encode = msgspec.json.encode
_buckets = msgspec.json.Decoder(Buckets)


class StoredLedger:
    """See `store.ledger.Ledger`.

    database: gives this process's own, or raises QueueClosed. refuse: raises QueueFull where figures should not take
    the room that is left.
    """

    def __init__(
        self, database: Callable[[], Database], *, refuse: Callable[[Session], None] = lambda _session: None
    ) -> None:
        self._database = database
        self._refuse = refuse

    def add(self, queue: str, counted: Mapping[str, Counted]) -> None:
        known = by_name(counted)

        def work(session: Session, now: int) -> None:
            # In the order of the key, so that of two who add none waits for the other's rows while it has theirs.
            rows = [(*place, name, *_columns(one)) for place in _starts(now) for name, one in known.items()]
            self._refuse(session)
            session.ask("add_figures", {"queue": tellable(queue), "rows": _encode(rows).decode(), "now": now})

        if counted:
            self._database().write(work, _taken_for_done, gated=False)

    def note_backlog(self, queue: str) -> None:
        database = self._database()
        place = {"queue": tellable(queue), "name": _OF_THE_QUEUE}
        row = {"queue": tellable(queue), "start": database.clock() // _MINUTE * _MINUTE}
        if database.read(lambda session: session.ask("backlog_noted", row).fetchone()[0]):
            return

        def look(session: Session) -> tuple[int, int | None]:
            waiting, run_at = session.ask("backlog", {"queue": queue, "now": database.clock()}).fetchone()
            return waiting, run_at

        waiting, run_at = database.read(look)  # not while others wait to write: it counts all that is due

        def work(session: Session, now: int) -> None:
            self._refuse(session)
            oldest = None if run_at is None else max(0, now - run_at)
            for span, start in _starts(now)[1:]:
                seen = {"waiting": waiting, "oldest": oldest, "now": now}
                session.ask("note_backlog", {"span": span, "start": start, **place, **seen})

        database.write(work, _taken_for_done, gated=False)

    def figures(self, queue: str | None, since: datetime, until: datetime, *, span: Span = "minute") -> list[Figures]:
        row = {"queue": None if queue is None else tellable(queue), "span": _SPANS[span]}
        times = {"since": micros(since), "until": micros(until)}
        rows = self._database().read(lambda session: session.ask("figures", {**row, **times}).fetchall())
        return [_figures(found) for found in rows]

    def totals(self, queue: str | None = None) -> dict[tuple[str, str], Counted]:
        row = {"queue": None if queue is None else tellable(queue)}
        rows = self._database().read(lambda session: session.ask("totals", row).fetchall())
        return {(one.queue, one.name): total([one]) for one in map(_figures, rows)}


def forget(session: Session, now: int) -> None:
    """Forget what was kept for long enough; of what nobody forgot for very long, not all at once."""
    before = ends(now)
    session.ask("forget_figures", {"span": 1, "before": before["minutes_before"], "step": _AT_ONCE * _MINUTE})
    session.ask("forget_figures", {"span": 60, "before": before["hours_before"], "step": _AT_ONCE * _HOUR})
    session.ask("forget_totals", {"before": before["hours_before"]})


def ends(now: int) -> dict[str, int]:
    """Give the instants before which there is something to forget, as `wants_sweeping` has them."""
    # By the hour, so that a minute's end is not each time something to do.
    return {
        "minutes_before": now // _HOUR * _HOUR - micros(MINUTES_STAY),
        "hours_before": now // _HOUR * _HOUR - micros(HOURS_STAY),
    }


def _starts(now: int) -> Sequence[tuple[int, int]]:
    """Give the spans of time that this instant is in, as the rows have them."""
    return (_ALL_TIME, 0), (1, now // _MINUTE * _MINUTE), (60, now // _HOUR * _HOUR)


def _columns(counted: Counted) -> tuple[object, ...]:
    return (
        counted.completed,
        counted.failed,
        counted.retried,
        counted.cancelled,
        counted.lost,
        micros(counted.wait_sum),
        micros(counted.wait_max),
        micros(counted.run_sum),
        micros(counted.run_max),
        shortened(counted.wait_buckets),
        shortened(counted.run_buckets),
    )


def _figures(row: Sequence[object]) -> Figures:
    stored = msgspec.convert(row, _Stored)
    return Figures(
        queue=stored.queue,
        name=stored.name,
        minute=instant(stored.start),
        completed=stored.completed,
        failed=stored.failed,
        retried=stored.retried,
        cancelled=stored.cancelled,
        lost=stored.lost,
        wait_sum=timedelta(microseconds=stored.wait_sum),
        wait_max=timedelta(microseconds=stored.wait_max),
        run_sum=timedelta(microseconds=stored.run_sum),
        run_max=timedelta(microseconds=stored.run_max),
        wait_buckets=_buckets.decode(stored.wait_buckets),
        run_buckets=_buckets.decode(stored.run_buckets),
        waiting=stored.waiting,
        oldest=None if stored.oldest is None else timedelta(microseconds=stored.oldest),
    )


def _taken_for_done(_session: Session, _nothing: None) -> bool:
    """Say so of a commit of unknown fate: rather are some figures missing than there twice."""
    return True


class _Stored(msgspec.Struct, array_like=True):
    """A row of `figures` or `totals`."""

    queue: str
    name: str
    start: int
    completed: int
    failed: int
    retried: int
    cancelled: int
    lost: int
    wait_sum: int
    wait_max: int
    run_sum: int
    run_max: int
    wait_buckets: str
    run_buckets: str
    waiting: int | None
    oldest: int | None
