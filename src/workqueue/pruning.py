"""What every runner does so that its queue keeps no more than it is told to, nor room for it. Safe twice: no leader."""

from __future__ import annotations

import time
from typing import Final

from workqueue.retention import Keep, Retention
from workqueue.store.contract import Store
from workqueue.store.surplus import Kept, Mark

_LIMIT: Final = 500  # deleted in one transaction
_ROOM: Final = 512 * 1024  # bytes given back in one
_SECONDS: Final = 5.0  # between two looks
_LOOKING: Final = 100  # it looks for no more than one part in so many of the time
_PRUNING: Final = 5  # and gives up what it has found for no more than one in so many


class Pruner:
    """One runner's share; it belongs to one thread.

    Modes. *looking*: now and then, up to where there is too much of each kind. *pruning*: a kind up to its mark, in
    small steps with rests between them, to the last. *shrinking*: room is given back in the same way, while the runner
    has no jobs in hand. next_at: when there is something to do, by the monotonic clock.
    """

    def __init__(self, store: Store, queue: str, retention: Retention) -> None:
        self._store = store
        self._queue = queue
        rules: dict[Kept, Keep | None] = {
            "completed": retention.completed,
            "failed": retention.failed,
            "results": retention.results if retention.counts_results else None,
        }
        self._rules: dict[Kept, Keep] = {what: keep for what, keep in rules.items() if keep is not None}
        self._marks: dict[Kept, Mark] = {}
        self._shrinks = False
        self.next_at = 0.0

    def step(self, *, idle: bool) -> None:
        """Look, or give up a little, if it is time to. idle: nothing is in hand."""
        began = time.monotonic()
        if began < self.next_at:
            return
        self.next_at = began + _SECONDS  # also when it raises
        if self._marks:
            self._prune()
        elif not (self._shrinks and idle):
            self._look()
        self._shrinks = idle and not self._marks and self._store.surplus.shrink(_ROOM) > 0
        took = time.monotonic() - began
        more = self._marks or self._shrinks
        self.next_at = began + took + (took * (_PRUNING - 1) if more else max(_SECONDS, took * (_LOOKING - 1)))

    def _prune(self) -> None:
        what, mark = next(iter(self._marks.items()))
        if not self._store.surplus.prune(self._queue, what, mark, _LIMIT):
            del self._marks[what]

    def _look(self) -> None:
        for what, keep in self._rules.items():
            mark = self._store.surplus.find(self._queue, what, keep)
            if mark is not None:
                self._marks[what] = mark
