"""What every runner does so that its queue keeps no more than it is told to. Safe twice: no leader."""

from __future__ import annotations

import time
from typing import Final

from workqueue.retention import Keep, Retention
from workqueue.store.contract import Store
from workqueue.store.surplus import Kept, Mark

_LIMIT: Final = 500  # deleted in one transaction
_SECONDS: Final = 5.0  # between two looks
_LOOKING: Final = 100  # it looks for no more than one part in so many of the time
_PRUNING: Final = 5  # and deletes for no more than one in so many


class Pruner:
    """One runner's share; it belongs to one thread.

    Modes. *looking*: now and then, up to where there is too much of each kind. *pruning*: a kind up to its mark, in
    small steps with rests between them, to the last. next_at: when there is something to do, by the monotonic clock.
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
        self.next_at = 0.0 if self._rules else float("inf")

    def step(self) -> None:
        """Look, or delete a little, if it is time to."""
        began = time.monotonic()
        if began < self.next_at:
            return
        self.next_at = began + _SECONDS  # also when it raises
        if self._marks:
            what, mark = next(iter(self._marks.items()))
            if not self._store.surplus.prune(self._queue, what, mark, _LIMIT):
                del self._marks[what]
            rest = 0.0 if self._marks else _SECONDS
            self.next_at = self._after(began, _PRUNING, rest)
            return
        for what, keep in self._rules.items():
            found = self._store.surplus.find(self._queue, what, keep)
            if found is not None:
                self._marks[what] = found
        self.next_at = self._after(began, _LOOKING, 0.0 if self._marks else _SECONDS)

    def _after(self, began: float, share: int, rest: float) -> float:
        """Give when a share of the time is no more than this took; not before `rest` is over."""
        now = time.monotonic()
        return now + max(rest, (now - began) * (share - 1))
