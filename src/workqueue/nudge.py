"""A nudge: one thread waits for it, any other gives it. Whoever is interrupted meanwhile keeps no lock of others."""

from __future__ import annotations

import threading


class Nudge:
    """Given before it is waited for, it ends the wait at once; given several times, it is one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # had by nobody: released, it lets the one who waits go on
        self._lock.acquire()

    def give(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:  # it was given already
            return

    def wait(self, seconds: float | None) -> bool:
        """Say whether it was given within so many seconds; 0: by now. None: however long that takes."""
        return self._lock.acquire(timeout=-1 if seconds is None else min(seconds, threading.TIMEOUT_MAX))
