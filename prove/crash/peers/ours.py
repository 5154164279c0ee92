"""workqueue, with its defaults."""

from __future__ import annotations

import threading
from importlib.metadata import version
from pathlib import Path

from workqueue import Context, Job, Queue

from prove.crash.peers import Handler

TITLE = f"workqueue {version('durable-workqueue')}"


class _Worker:
    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def id(self) -> str:
        return "crash"

    def do_work(self, ctx: Context, job: Job) -> None:
        self._handler(job.decode(int))


class _Ours:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue = Queue(path)

    def push(self, number: int) -> None:
        self._queue.push("number", number)

    def work(self, handler: Handler) -> None:
        Queue(self._path, _Worker(handler))
        threading.Event().wait()

    def left(self) -> set[int]:
        return {job.decode(int) for job in self._queue.jobs(limit=1_000_000)}


def open_queue(path: Path, *, works: bool) -> _Ours:
    del works
    return _Ours(path)
