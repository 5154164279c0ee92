"""The fixtures for pytest, which finds them by the entry point of this package; `-p no:workqueue` leaves them out."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from workqueue.queue import Queue
from workqueue.testing.clock import FakeClock


@pytest.fixture
def workqueue_clock() -> FakeClock:
    """Give a clock that stands still until the test moves it."""
    return FakeClock()


@pytest.fixture
def temporary_queue(tmp_path: Path, workqueue_clock: FakeClock) -> Generator[Queue]:
    """Give an empty queue in a file of the test's own, with the test's `workqueue_clock`; closed at the end."""
    with Queue(tmp_path / "jobs.db", clock=workqueue_clock) as queue:
        yield queue
