"""Inbox: what a main thread waits on: signals, counted, and whatever other threads put in; and SIGTERM as an exception.

It waits for a pipe and not for a lock. A signal that comes between the last look and the wait for a lock is heard only
when something else wakes the thread; into the pipe, the interpreter writes a byte for each signal at once.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final, Generic, TypeVar

T = TypeVar("T")
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Inbox(Generic[T]):
    """Events in the order they came. `put` is safe from threads and signal handlers; the rest is the main thread's."""

    def __init__(self) -> None:
        self._events: deque[T] = deque()
        self._signals = 0
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)

    def listen(self, heard: Callable[[int], None]) -> None:
        """Call `heard` with the count of signals that ask to end, at each; call again when others took the signals."""

        def on_signal(number: int, frame: FrameType | None) -> None:
            del number, frame
            self._signals += 1
            heard(self._signals)

        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, on_signal)

    def put(self, event: T) -> None:
        self._events.append(event)
        with suppress(BlockingIOError):  # full: more than enough to wake by
            os.write(self._wake, b"\0")

    def get(self, timeout: float | None = None) -> T | None:
        """Wait for the next event; None when `timeout` seconds went by without one."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self._events:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return None
            select.select([self._woken], [], [], left)
            with suppress(BlockingIOError):
                os.read(self._woken, 4096)
        return self._events.popleft()


@contextmanager
def unwound_by_sigterm(code: int) -> Generator[None]:
    """Let SIGTERM unwind the block, so that what it made is removed, and end the process with `code`."""

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        sys.exit(code)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
