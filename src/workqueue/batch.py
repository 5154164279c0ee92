"""Batches: calls that are watched, cancelled and followed together; and chains, in which each result is passed on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar, cast, overload

import msgspec

from workqueue.duration import as_duration
from workqueue.errors import UsageError
from workqueue.handle import Handle
from workqueue.job import NewJob, Terms
from workqueue.pusher import Pusher
from workqueue.store.batching import BatchStanding
from workqueue.store.contract import Store
from workqueue.task import Call

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
R = TypeVar("R")

_AT_ONCE: Final = 1000
_SOONEST, _LATEST = 0.002, 0.1  # seconds between two looks


class Batch:
    """Jobs that belong together; a context manager: they are added inside its block, whose end says that these are all.

    id: of the batch; `Queue.find_batch(id)` finds it again. When the block raises, or its end cannot be stored, what
    was added is cancelled. Not for several threads at once.
    """

    def __init__(
        self,
        batch: int,
        *,
        store: Callable[[], Store],
        pusher: Pusher,
        then: NewJob | None,
        within: object | None = None,
    ) -> None:
        self.id = batch
        self._within = within
        self._store = store
        self._pusher = pusher
        self._then = None if then is None else with_terms(then, follows_batch=batch)
        self._added: list[NewJob] = []
        self._is_sealed = False

    def add(self, call: Call[object]) -> None:
        """Let the call be one of the batch; stored by the thousand, and at the block's end.

        Raises as `push` does, TypeError for what is no call, and UsageError for that of another queue's task; then the
        batch is as it was before.
        """
        job = with_terms(job_of(call, self._pusher), batch=self.id)
        if len(self._added) + 1 < _AT_ONCE:
            self._added.append(job)
        else:
            self._pusher.push_together([*self._added, job], within=self._within)
            self._added.clear()

    def seal(self) -> None:
        """Say that no more calls come; the end of the block does. What follows the batch is pushed now, and waits.

        When it raises, the batch is as it was before, and it can be said again.
        """
        last = [*self._added] if self._then is None else [*self._added, self._then]
        self._pusher.observed(last, partial(self._store().batches.seal, self.id, within=self._within))
        self._added.clear()
        self._then = None
        self._is_sealed = True

    def standing(self) -> BatchStanding:
        """Say how many of how many are done. Raises BatchNotFound a week after the last."""
        return self._store().batches.get(self.id)

    def wait(self, timeout: timedelta | float | None = None) -> bool:
        """Wait until all have ended; False when `timeout` came first."""
        until = None if timeout is None else time.monotonic() + as_duration(timeout, "timeout").total_seconds()
        pause = _SOONEST
        while not self.standing().is_done:
            left = pause if until is None else min(pause, until - time.monotonic())
            if left <= 0:
                return False
            time.sleep(left)
            pause = min(_LATEST, pause * 1.5)
        return True

    def cancel(self) -> int:
        """Cancel those that wait, and tell those that run; give how many there were. No more can be added.

        When it raises, it can be said again.
        """
        count = self._store().batches.cancel(self.id, within=self._within)
        self._added.clear()
        return count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.cancel()
            return
        try:
            self.seal()
        except BaseException:
            if not self._is_sealed:  # else it stands, whatever was raised after it
                self.cancel()
            raise


class Chain(Generic[R]):
    """Calls of which each waits for the one before, and takes its result as its first free argument."""

    def __init__(self, calls: Sequence[Call[object]], pusher: Pusher) -> None:
        self._calls = calls
        self._pusher = pusher

    def push(self, *, within: object | None = None) -> Handle[R]:
        """Store all of them, durable when this returns; give the handle of the last. Raises as a task's `push` does.

        When one fails for good or is cancelled, those after it are cancelled. within: as of `Queue.push`.
        """
        return self.push_all(within=within)[-1]  # type: ignore[return-value] # R is what the last call gives

    def push_all(self, *, within: object | None = None) -> list[Handle[object]]:
        """Do as `push` does, and give the handles of all."""
        jobs: list[NewJob] = []
        last = len(self._calls) - 1
        for place, call in enumerate(self._calls):
            if place == 0:
                job, into = call.task.new_job(call.args, call.kwargs), None
            else:
                job, into = call.task.partial_job(call.args, call.kwargs)
            follows = None if place == 0 else -1
            jobs.append(with_terms(job, follows=follows, into=into, followed=place < last))
        ids = self._pusher.push_together(jobs, within=within)
        return [call.task.handle(job_id) for call, job_id in zip(self._calls, ids, strict=True)]


@overload
def chain(first: Call[A], second: Call[R], /) -> Chain[R]: ...
@overload
def chain(first: Call[A], second: Call[B], third: Call[R], /) -> Chain[R]: ...
@overload
def chain(first: Call[A], second: Call[B], third: Call[C], fourth: Call[R], /) -> Chain[R]: ...
@overload
def chain(first: Call[A], second: Call[B], third: Call[C], fourth: Call[D], /, *rest: Call[R]) -> Chain[R]: ...
def chain(*calls: Call[object]) -> Chain[Any]:
    """Put calls, as `task.s(...)` gives them, one after another; push them by `push`.

    Raises TypeError for what is no call, and UsageError for calls of several queues, for fewer than two, and for those
    that ask for a key, which may stand for a job that is there already.
    """
    pushers = {_checked(call).task.pusher for call in calls}
    if len(calls) < 2 or len(pushers) > 1:
        raise UsageError(f"expected two calls or more, of tasks of one queue, got: {list(calls)!r:.200}")
    if any(call.task.asks_for_key() for call in calls):
        raise UsageError(
            "expected no call in a chain to ask for a key: the job that has it may have been pushed before"
        )
    return Chain(calls, next(iter(pushers)))


def job_of(call: Call[object], pusher: Pusher) -> NewJob:
    """Give the job of a call, not pushed. Raises as `Batch.add` does."""
    task = _checked(call).task
    if task.pusher is not pusher:
        raise UsageError(
            f"expected a call of a task of the batch's own queue, {pusher.queue!r}, got one of {task!r} of another "
            f"Queue, {task.pusher.queue!r}; make a batch there"
        )
    return task.new_job(call.args, call.kwargs)


def _checked(call: object) -> Call[object]:
    """Give `call` if it is one, and says no `within` of its own. Raises TypeError and UsageError."""
    if not isinstance(call, Call):
        raise TypeError(f"expected a call, as task.s(...) gives it, got: {call!r:.80}")
    given = cast("Call[object]", call)
    if given.task.within is not None:
        raise UsageError(
            f"expected within= to be said of the batch, or of the chain's push, not of one call, got: {given.task!r}"
        )
    return given


def with_terms(job: NewJob, **terms: object) -> NewJob:
    """Give the job with these terms added."""
    return msgspec.structs.replace(
        job, terms=msgspec.structs.replace(job.terms or Terms(), **cast("dict[str, int]", terms))
    )
