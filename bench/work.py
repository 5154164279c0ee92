"""The work of the bench: a job that does nothing, with about 100 bytes of data."""

import threading
from collections.abc import Iterator

from workqueue import Context, Job


def objects(count: int) -> Iterator[object]:
    """Give the data of `count` jobs: about 100 bytes of JSON each."""
    return ({"number": number, "address": "somebody@example.org", "text": "x" * 40} for number in range(count))


class NoOp:
    """Decodes each job, and counts. `enough` is set at job number `target`."""

    def __init__(self, target: int = -1) -> None:
        self.count = 0
        self.enough = threading.Event()
        self._target = target

    def id(self) -> str:
        return "no-op"

    def do_work(self, ctx: Context, job: Job) -> None:
        del ctx
        job.decode()
        self.count += 1
        if self.count == self._target:
            self.enough.set()


class Weigher:
    """Looks at the size of each job, which is bytes and no JSON."""

    def id(self) -> str:
        return "weigher"

    def do_work(self, ctx: Context, job: Job) -> None:
        del ctx
        len(job.data)
