"""Where in line a claim begins to look: at its head, unless that is long to reach."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

_SLOW: Final = 0.02  # seconds
_SHARE: Final = 9  # so many times as long as a slow look took, the next ones begin further on


class Place(NamedTuple):
    """A place in the line of a queue, in the order of its index: the best priority is the lowest."""

    priority: int
    position: int
    id: int


HEAD: Final = Place(-(2**63), -(2**63), -(2**63))


class Looks:
    """The looks of a process at one queue.

    While somebody holds a long transaction, the server keeps the entries of jobs that have left, and each look from the
    head walks over all of them. So after a slow one the next begin where it found its first job, and a tenth of the
    time at most is spent on those from the head. A job that comes to stand before that place (of a better priority, or
    tried again) waits for the next of those: nine times as long as one takes.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._from = HEAD
        self._head_at = 0.0  # when the next one begins at the head

    def begin(self) -> Place:
        """Say where the next look begins."""
        return HEAD if self._now() >= self._head_at else self._from

    def saw(self, begun: Place, first: Place | None, took: float) -> None:
        """Hear of a look: where it was begun, the first job that it found, and the seconds that it took."""
        if begun == HEAD:
            self._head_at = self._now() + _SHARE * took if took > _SLOW and first is not None else 0.0
        if first is not None:
            self._from = first

    def until_head(self, begun: Place) -> float | None:
        """Give the seconds until the head is looked at, where a look did not begin there; None where it did."""
        return None if begun == HEAD else max(0.0, self._head_at - self._now())
