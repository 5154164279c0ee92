"""How a runner works, as its queue was told."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from workqueue.observer import NOBODY, Observers
from workqueue.retention import Retention


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How a runner works; `Queue` checks the ranges.

    processes: child processes for isolated jobs; 0: one per CPU. max_jobs, max_memory (bytes): see `ChildExecutor`.
    """

    queue: str
    batch_size: int
    concurrency: int
    poll_rate: timedelta
    lease: timedelta
    grace: timedelta
    archive: bool
    processes: int = 0
    max_jobs: int | None = None
    max_memory: int | None = None
    retention: Retention = Retention()
    figures: bool = True
    observers: Observers = NOBODY
