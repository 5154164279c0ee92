"""An idle worker in a process of its own, which says how long ago each job was pushed.

It ends with whoever started it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Final, Self

import msgspec

from workqueue.context import Context
from workqueue.errors import StoreUnavailable
from workqueue.job import Job
from workqueue.queue import Queue
from workqueue.store.contract import Durability

_READY: Final = "ready"
_LONGEST_START: Final = 30.0  # seconds


class Sleeper:
    """The side of whoever starts it: inside the block the other process waits for jobs."""

    def __init__(self, path: str, queue: str, durability: Durability, *, allow_network: bool) -> None:
        self._path = path
        self._said: SimpleQueue[str] = SimpleQueue()
        # -P: the current folder's modules are not ours. A session of its own: Ctrl-C is told to us alone.
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-P", "-m", __name__, queue, durability, *(["allow"] if allow_network else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()
        self._tell(path)  # not as an argument: other users can see those, and a URL may have a password

    def __enter__(self) -> Self:
        try:
            if self._hear(_LONGEST_START) != _READY:
                raise StoreUnavailable(
                    "expected a worker in another process to open the file too, but it did not", path=self._path
                )
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def next(self, timeout: float) -> float | None:
        """Wait for the next delay, in seconds; None when there was none in time."""
        said = self._hear(timeout)
        return None if said is None else float(said)

    def _hear(self, timeout: float) -> str | None:
        try:
            return self._said.get(timeout=timeout) or None
        except Empty:
            return None

    def _tell(self, path: str) -> None:
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # whoever waits for it to be ready is told
                self._process.stdin.write(f"{msgspec.json.encode(path).decode()}\n")
                self._process.stdin.flush()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._said.put(line.strip())
        self._said.put("")

    def _end(self) -> None:
        with self._process:  # closes the pipes, and waits
            self._process.kill()
            self._reader.join()


class _Saying:
    def id(self) -> str:
        return "saying"

    def do_work(self, ctx: Context, job: Job) -> None:
        now = time.monotonic()
        del ctx
        _say(repr(now - job.decode(float)))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(queue: str, durability: str, *allow: str) -> None:
    """Wait for jobs of the path that the first line of stdin names, until stdin ends."""
    path = msgspec.json.decode(sys.stdin.readline(), type=str)
    how: Durability = msgspec.convert(durability, type=Durability)
    with Queue(path, _Saying(), id=queue, durability=how, allow_network=bool(allow)):
        _say(_READY)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
