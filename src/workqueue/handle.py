"""Handle: a job that was pushed, in the hand of who pushed it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Generic, TypeVar

from workqueue import payload
from workqueue.duration import as_duration
from workqueue.errors import JobCancelled, JobFailed, ResultNotKept
from workqueue.job import JobStatus
from workqueue.store.contract import Outlook
from workqueue.watch import Watch

R = TypeVar("R")


class Handle(Generic[R]):
    """A job that was pushed: how it stands, and what it gives. `await` it for its result. Safe from any thread.

    id: the job's. Results are there where the task says `keep_results=`, and for so long.
    """

    def __init__(
        self, job_id: int, *, watch: Watch, decode: Callable[[bytes], R] | None, cancel: Callable[[int], bool]
    ) -> None:
        self.id = job_id
        self._watch = watch
        self._decode = decode
        self._cancel = cancel

    def status(self) -> JobStatus:
        """Say how it stands. A job that has left the file counts as completed."""
        status = self._watch.look(self.id).status
        return JobStatus.COMPLETED if status is None else status

    def progress(self) -> payload.Json:
        """Give what was stored last of what `ctx.progress` told; None before that, and once it has completed."""
        data = self._watch.look(self.id).progress
        return None if data is None else payload.decode(data)

    def cancel(self) -> bool:
        """Do as `Queue.cancel` does; False too when it has left the file."""
        return self._cancel(self.id)

    def wait(self, timeout: timedelta | float | None = None) -> bool:
        """Wait until it has ended, however; False when `timeout` came first."""
        return self._wait(timeout) is not None

    def result(self, timeout: timedelta | float | None = None) -> R:
        """Wait for what it gives. Raises TimeoutError, JobFailed, JobCancelled, ResultNotKept."""
        decode = self._decoder()
        outlook = self._wait(timeout)
        if outlook is None:
            raise TimeoutError(f"expected job {self.id} to end within {timeout} s, but it still waits or runs")
        return self._result(outlook, decode)

    async def ended(self) -> JobStatus:
        """Wait until it has ended, however, without blocking the event loop; say as what."""
        status = (await self._watch.ended(self.id)).status
        return JobStatus.COMPLETED if status is None else status

    def __await__(self) -> Generator[object, None, R]:
        return self._awaited().__await__()

    async def _awaited(self) -> R:
        decode = self._decoder()
        return self._result(await self._watch.ended(self.id), decode)

    def _wait(self, timeout: timedelta | float | None) -> Outlook | None:
        seconds = None if timeout is None else as_duration(timeout, "timeout").total_seconds()
        return self._watch.wait(self.id, seconds)

    def _decoder(self) -> Callable[[bytes], R]:
        if self._decode is None:
            raise ResultNotKept(self.id)
        return self._decode

    def _result(self, outlook: Outlook, decode: Callable[[bytes], R]) -> R:
        match outlook.status:
            case JobStatus.FAILED:
                raise JobFailed(self.id, outlook.message)
            case JobStatus.CANCELLED:
                raise JobCancelled(self.id, outlook.message)
            case _ if outlook.result is None:
                raise ResultNotKept(self.id)
            case _:
                return decode(outlook.result)

    def __repr__(self) -> str:
        return f"Handle({self.id})"
