"""The deadlines of running jobs, kept by one thread that sleeps until the nearest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from workqueue.context import Context

_NEVER: Final = float("inf")
_LONGEST_SLEEP: Final = 86_400.0  # seconds; the system takes no centuries


class Deadlines:
    """Calls `overdue` for each context whose time is up, on a thread of its own. Safe from any thread.

    late: those of them whose handlers still run.
    """

    def __init__(self, overdue: Callable[[Context], None]) -> None:
        self._overdue = overdue
        self._news = threading.Condition()
        # As many as jobs run at once, and most leave long before their time: to look through all of them at each
        # deadline costs less than to keep them in order.
        self._watched: dict[Context, float] = {}
        self._next = _NEVER
        self.late: set[Context] = set()
        self._closed = False
        threading.Thread(target=self._run, name="workqueue-deadlines", daemon=True).start()

    def add(self, context: Context, at: float) -> None:
        """Watch it until `at` (monotonic)."""
        with self._news:
            self._watched[context] = at
            if at < self._next:
                self._next = at
                self._news.notify_all()

    def remove(self, context: Context) -> bool:
        """Say whether it ended in time; if so, `overdue` will not be called for it. It is late no longer."""
        with self._news:
            self.late.discard(context)
            return self._watched.pop(context, None) is not None

    def close(self) -> None:
        with self._news:
            self._closed = True
            self._news.notify_all()

    def _run(self) -> None:
        while True:
            with self._news:
                if self._closed:
                    return
                now = time.monotonic()
                over = [context for context, at in self._watched.items() if at <= now]
                for context in over:
                    del self._watched[context]
                self.late.update(over)
                if not over:
                    self._next = min(self._watched.values(), default=_NEVER)
                    self._news.wait(min(self._next - now, _LONGEST_SLEEP))
            for context in over:
                self._overdue(context)
