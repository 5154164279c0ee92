"""Batches: what a store promises of jobs that belong together; see `contract` for what holds for every verb."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from workqueue.job import NewJob


class BatchStanding(msgspec.Struct, frozen=True, kw_only=True):
    """How a batch stands. sealed: no more jobs come. total: pushed so far; the rest of them waits or runs."""

    id: int
    queue: str
    sealed: bool = False
    total: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def ended(self) -> int:
        return self.completed + self.failed + self.cancelled

    @property
    def left(self) -> int:
        return self.total - self.ended

    @property
    def is_done(self) -> bool:
        return self.sealed and self.ended == self.total


class Batches(Protocol):
    """The batches of a store: jobs that are looked at, cancelled and waited for together."""

    def open(self, queue: str, *, within: object | None = None) -> int:
        """Begin a batch; give its id. Jobs join it by their terms, until it is sealed. within: as of `Store.push`."""
        ...

    def seal(self, batch: int, jobs: Sequence[NewJob] = (), *, within: object | None = None) -> list[int]:
        """Push the last jobs, as `Store.push` does, and let no more come: both or neither; give the ids of those.

        jobs: of the batch, or to follow it: they become due when all of the batch have ended. Raises BatchNotFound.
        """
        ...

    def get(self, batch: int) -> BatchStanding:
        """Raises BatchNotFound."""
        ...

    def newest(self, limit: int, *, before: int | None = None) -> list[BatchStanding]:
        """List the batches, the newest first; before: only ids below it."""
        ...

    def cancel(self, batch: int, *, within: object | None = None) -> int:
        """Cancel those that wait and ask those that run, as `Store.cancel` does; give how many. Seals it."""
        ...
