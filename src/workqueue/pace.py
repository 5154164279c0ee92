"""Pace: how fast a runner's jobs go, and so how many it claims ahead of what it can start. See decision 0007."""

from __future__ import annotations

from typing import Final

_AHEAD_SECONDS: Final = 0.1  # of work; more would be kept from other runners, and blamed if this one dies
_STUCK_SECONDS: Final = 0.2  # without an outcome, until it is seen that the jobs take longer than it was thought


class Pace:
    """Belongs to the runner's thread. Instants are monotonic seconds."""

    def __init__(self, *, batch_size: int) -> None:
        self._most = 2 * batch_size  # so that one batch is run while the other is settled and claimed anew
        self._seconds = _AHEAD_SECONDS  # that a job takes, smoothed
        self._moved_at = 0.0

    def begin(self, now: float) -> None:
        """Jobs came into empty hands."""
        self._moved_at = now

    def note(self, count: int, busy: float, now: float) -> None:
        """So many jobs ended, and took `busy` seconds in all."""
        self._moved_at = now
        self._seconds += (1 - 0.7**count) * (busy / count - self._seconds)

    def stuck_at(self) -> float:
        """Say when what was claimed ahead is to be given to others, unless a job ends before."""
        return self._moved_at + _STUCK_SECONDS

    def ahead(self, now: float, at_once: int) -> int:
        """Say how many to claim beyond those that can be started at once."""
        if now >= self.stuck_at():
            return 0
        return min(self._most, int(at_once * _AHEAD_SECONDS / max(self._seconds, 1e-9)))
