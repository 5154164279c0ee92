"""A store's clock that stands still until it is told."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from workqueue.store.clock import instant, micros

START: Final = 1_700_000_000_000_000  # microseconds since 1970: 2023-11-14 22:13:20 UTC


class FakeClock:
    """It moves only by `advance`; backwards too."""

    def __init__(self, at: int = START) -> None:
        self._at = at

    def __call__(self) -> int:
        return self._at

    def advance(self, step: timedelta) -> None:
        self._at += micros(step)

    def now(self) -> datetime:
        return instant(self._at)
