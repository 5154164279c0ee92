"""Telling the store that a runner lives: the beat that renews its leases, and how long they surely hold."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import msgspec

from workqueue.errors import WorkqueueError
from workqueue.logs import Log
from workqueue.store.contract import Beat, Store

log = Log("workqueue.liveness")

_BEATS_PER_LEASE: Final = 4
_RETRY_SECONDS: Final = 1.0


class Pulse(msgspec.Struct, frozen=True):
    """How the runner of a queue is, in this process. turned: how long ago its last round began. stopping: drains."""

    turned: timedelta
    stopping: bool


class Heartbeat:
    """A thread of its own, because a busy handler or event loop must not look like death. It stops last.

    heard: called, on that thread, with what each beat learned and when (monotonic) it was sent.
    """

    def __init__(self, store: Store, runner: int, *, lease: timedelta, heard: Callable[[Beat, float], None]) -> None:
        self._store = store
        self._runner = runner
        self._lease = lease
        self._heard = heard
        self._stop = threading.Event()
        self._sent = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"workqueue-beat-{runner}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:  # else it could not be started
            self._thread.join()

    def holds(self) -> bool:
        """Say whether leases taken now are sure to be renewed in time: the last beat that got through is young enough.

        Measured from before that beat was sent, on the monotonic clock. When False, claim nothing; still try to settle:
        the fence decides.
        """
        return time.monotonic() - self._sent < self._lease.total_seconds() * 0.9

    def _run(self) -> None:
        pause = self._lease.total_seconds() / _BEATS_PER_LEASE
        wait = pause
        while not self._stop.wait(wait):
            sent = time.monotonic()
            try:
                beat = self._store.beat(self._runner, self._lease)
                self._sent = sent
                self._heard(beat, sent)
                wait = pause
            except Exception as error:
                log.warning(
                    "beat of runner %d failed, trying again: %s",
                    self._runner,
                    error,
                    exc_info=None if isinstance(error, WorkqueueError) else error,
                )
                wait = min(pause, _RETRY_SECONDS)
