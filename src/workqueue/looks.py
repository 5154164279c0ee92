"""Looking at the store on behalf of many: one question at a time, and seldom enough to cost it next to nothing."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Final, Generic, TypeVar

T = TypeVar("T")
_SHARE: Final = 0.05  # of the time may be spent on asking: what takes half a second is asked every ten
_MOST: Final = 64  # kept answers


class Look(Generic[T]):
    """One question, whose answer is shared by all who ask. Safe from any thread.

    It is asked again when the answer is older than `period`, or than twenty times what asking took; after an error,
    when that is older than `period`.
    """

    def __init__(self, ask: Callable[[], T], *, period: float) -> None:
        self._ask = ask
        self._period = period
        self._changed = threading.Condition()
        self._answer: list[T] = []  # the last one, if any
        self._error: Exception | None = None
        self._raised: TracebackType | None = None  # where
        self._asked = 0  # how often; and of those, how many have ended
        self._ended = 0
        self._next = float("-inf")

    def latest(self, patience: float) -> T | None:
        """Give the answer: a new one, if it is due and comes within `patience` seconds; else the last; else None.

        Raises what asking raised, if that was the last that was heard.
        """
        found = self._heard(patience)
        return found[0] if found else None

    def answer(self) -> T:
        """Give the answer, a new one where it is due, however long that takes. Raises as `latest`."""
        return self._heard(None)[0]

    def outdate(self) -> None:
        """Let the next who asks see what was done just now."""
        with self._changed:
            self._next = float("-inf")

    def _heard(self, patience: float | None) -> list[T]:
        with self._changed:
            if self._asked == self._ended and time.monotonic() >= self._next:
                threading.Thread(target=self._find_out, name="workqueue-look", daemon=True).start()
                self._asked += 1
            asked = self._asked
            self._changed.wait_for(lambda: self._ended >= asked, patience)
            if self._error is not None:
                raise self._error.with_traceback(self._raised)  # or each who asks would make it longer
            return self._answer

    def _find_out(self) -> None:
        began = time.monotonic()
        answer: list[T] = []
        error: Exception | None = None
        try:
            answer.append(self._ask())
        except Exception as raised:  # noqa: BLE001 - raised again to whoever asks
            error = raised
        with self._changed:
            took = time.monotonic() - began
            self._answer, self._error = answer or self._answer, error
            self._raised = None if error is None else error.__traceback__
            # A store that is away says so after long, and is not spared anything by not being asked.
            self._next = began + took + (self._period if error is not None else max(self._period, took / _SHARE))
            self._ended += 1
            self._changed.notify_all()


class Looks(Generic[T]):
    """A look for each of many questions; those that nobody asked for longest are forgotten."""

    def __init__(self, *, period: float) -> None:
        self._period = period
        self._looks: OrderedDict[Hashable, Look[T]] = OrderedDict()
        self._lock = threading.Lock()

    def at(self, question: Hashable, ask: Callable[[], T]) -> Look[T]:
        """Give the look for this question; `ask` asks it, if nobody has."""
        with self._lock:
            look = self._looks.setdefault(question, Look(ask, period=self._period))
            self._looks.move_to_end(question)
            while len(self._looks) > _MOST:
                self._looks.popitem(last=False)
            return look
