"""FakeClock: the time of a queue under test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from workqueue.arguments import aware
from workqueue.duration import as_duration
from workqueue.store.clock import instant, later, micros

_START: Final = datetime(2026, 1, 1, tzinfo=UTC)  # a Thursday


class FakeClock:
    """A clock that stands still until it is told: `Queue(path, clock=FakeClock())`. Safe from any thread.

    start: an aware datetime, 2026-01-01 00:00 UTC if not given. Only the store's time is told by it: run_at, retries,
    schedules, keys, expiry. Timeouts and `ctx.wait` go by the machine's.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self._at = micros(_START if start is None else aware(start, "start"))

    def __call__(self) -> int:
        return self._at

    def now(self) -> datetime:
        """Give its time, in UTC."""
        return instant(self._at)

    def advance(self, delta: timedelta | float) -> datetime:
        """Let so much time pass (a timedelta, or seconds); give the time after it."""
        self._at = later(self._at, as_duration(delta, "delta"))
        return self.now()

    def set(self, at: datetime) -> None:
        """Let it be this aware datetime, earlier ones too."""
        self._at = micros(aware(at, "at"))

    def __repr__(self) -> str:
        return f"<FakeClock at {self.now().isoformat()}>"
