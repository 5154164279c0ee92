"""What the tests of the seed share: a queue in a file and one in memory, and a worker that notes what it ran."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from workqueue import Context, Job, Queue


class Notes:
    """A worker that notes the data of each job, in the order it ran them, and then does `act(ctx, job)`."""

    def __init__(self, act: Callable[[Context, Job], object] | None = None) -> None:
        self.ran: list[object] = []
        self._act = act

    def id(self) -> str:
        return "notes"

    def do_work(self, ctx: Context, job: Job) -> object:
        self.ran.append(job.decode())
        return None if self._act is None else self._act(ctx, job)


@pytest.fixture
def notes() -> type[Notes]:
    return Notes


@pytest.fixture(params=["file", "memory"])
def open_queue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Queue]]:
    """Give a function that opens a Queue, in a file and in memory; at the end each is whole, and is closed."""
    path = ":memory:" if request.param == "memory" else str(tmp_path / "jobs.db")
    opened: list[Queue] = []

    def opener(*args: object, **options: object) -> Queue:
        opened.append(Queue(path, *args, **options))  # type: ignore[arg-type]
        return opened[-1]

    yield opener
    try:
        for queue in opened:
            queue.stop(grace=10)
        assert [queue.check() for queue in opened if not queue._closed] == [[] for queue in opened if not queue._closed]
    finally:
        for queue in opened:
            queue.close(grace=0)
