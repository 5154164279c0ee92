"""Turnstile: the threads of this process write one at a time; between processes SQLite sees to that."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from workqueue.errors import StoreUnavailable, UsageError

PATIENCE: Final = 30.0  # seconds that a write waits for its turn


class Turnstile:
    """The turn to write the file at `path`. Safe from any thread."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.lock = threading.RLock()  # which knows whose it is: Ctrl-C may come between getting it and noting so
        self._holder: int | None = None

    @contextmanager
    def turn(self) -> Generator[None]:
        """Have the turn in the block. Raises UsageError where this thread has it, StoreUnavailable for a long wait."""
        me = threading.get_ident()
        if self._holder == me:
            raise UsageError(
                "expected no await inside `with ctx.transaction()`, and no signal handler that writes: this thread has "
                "a transaction open already, of another job of this loop or of what the signal interrupted; let the "
                "handler set an event, and write when that is seen"
            )
        try:
            if not self.lock.acquire(timeout=PATIENCE):
                raise StoreUnavailable(
                    f"expected a turn to write {self._path!r} within {PATIENCE:.0f} s, but another thread of this "
                    "process holds a transaction open",
                    path=self._path,
                )
            self._holder = me
            yield
        finally:
            if self._holder == me:
                self._holder = None
            try:  # not by `suppress`: between its steps Ctrl-C may come, and the turn be kept for ever
                self.lock.release()
            except RuntimeError:  # it is not ours: the wait for it was in vain
                pass
