"""What waits in a queue, and assertions about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import ParamSpec, TypeVar

import msgspec

from workqueue import payload
from workqueue.arguments import aware
from workqueue.duration import as_duration
from workqueue.errors import InvalidPayload
from workqueue.job import Job, JobStatus
from workqueue.queue import Queue
from workqueue.store.contract import Store
from workqueue.store.paging import Find, walk
from workqueue.task import BaseTask, Call
from workqueue.testing import inside

P = ParamSpec("P")
R = TypeVar("R")

_ALL = 1_000_000


class Pushed(msgspec.Struct, frozen=True):
    """A job that waits: for a runner, for its time, for another try, or for the job before it.

    arguments: of its task's call, by name and as annotated, defaults included; None where no task of its name is known.
    """

    job: Job
    arguments: dict[str, object] | None = None

    def __str__(self) -> str:
        if self.arguments is None:
            given = f"data={self.job.data[:200]!r}"
        else:
            given = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.job.name}({given}), job {self.job.id}, due {self.job.run_at.isoformat()}"


def pushed(queue: Queue, task: BaseTask[P, R] | str | None = None) -> list[Pushed]:
    """Give what waits in the queue, as it was pushed; of one task, or of one name, where that is said.

    Raises TypeError for what is no queue, and for what is neither a task nor a name.
    """
    if not isinstance(queue, Queue):  # pyright: ignore[reportUnnecessaryIsInstance] - from callers without types
        raise TypeError(f"expected a queue, as in pushed(queue, task), got: {queue!r:.80}")
    if not isinstance(task, BaseTask | str | None):  # pyright: ignore[reportUnnecessaryIsInstance] - from callers without types
        raise TypeError(f"expected a task or its name, got: {task!r:.80}")
    name = task.name if isinstance(task, BaseTask) else task
    jobs = _waiting(inside.store_of(queue), queue.id, name)
    return [Pushed(job, _arguments(queue.task.find(job.name), job)) for job in jobs]


def assert_pushed(
    what: BaseTask[P, R] | Call[R],
    *,
    count: int | None = None,
    at: datetime | None = None,
    after: timedelta | float | None = None,
) -> list[Pushed]:
    """Assert that a job of this task waits, or of this call: `assert_pushed(send.s("ada"))`; give those that do.

    Of a call, the arguments that it names are compared, each as it is or as JSON has it; those it leaves out may be
    anything, and so may `unittest.mock.ANY`. count: so many wait, no more and no fewer. at: due then. after: due so
    long after its push. Raises AssertionError, which lists what waits instead; TypeError for a call that the task does
    not take, and for what is neither a task nor a call.
    """
    __tracebackhide__ = True
    task, given = _taken_apart(what)
    found = _matching(task, given, at=at, after=after)
    if found if count is None else len(found) == count:
        return found
    many = "a job" if count is None else f"{count} jobs"
    when = "" if at is None else f", due {at.isoformat()}"
    when += "" if after is None else f", due {as_duration(after, 'after')} after the push"
    raise AssertionError(f"expected {many} of {_said(task, given)}{when} to wait, got: {len(found)}; {_instead(task)}")


def assert_not_pushed(what: BaseTask[P, R] | Call[R]) -> None:
    """Assert that no job of this task waits, or of this call, compared as by `assert_pushed`."""
    __tracebackhide__ = True
    task, given = _taken_apart(what)
    found = _matching(task, given, at=None, after=None)
    if found:
        raise AssertionError(f"expected no job of {_said(task, given)} to wait, got: {_listed(found)}")


def _taken_apart(what: BaseTask[P, R] | Call[R]) -> tuple[BaseTask[..., R], Mapping[str, object]]:
    if isinstance(what, Call):
        return what.task, what.task.signature.given(what.args, what.kwargs)
    if not isinstance(what, BaseTask):  # pyright: ignore[reportUnnecessaryIsInstance] - from callers without types
        raise TypeError(f"expected a task, or a call as task.s(...) gives it, got: {what!r:.80}")
    return what, {}


def _matching(
    task: BaseTask[..., R], given: Mapping[str, object], *, at: datetime | None, after: timedelta | float | None
) -> list[Pushed]:
    due = None if at is None else aware(at, "at")
    wait = None if after is None else as_duration(after, "after")
    return [
        one
        for one in _of(task)
        if all(
            name in (one.arguments or {}) and _alike(value, (one.arguments or {})[name])
            for name, value in given.items()
        )
        and due in (None, one.job.run_at)
        and wait in (None, one.job.run_at - one.job.pushed_at)
    ]


def _of(task: BaseTask[..., R]) -> list[Pushed]:
    jobs = _waiting(inside.store_of(task.pusher), task.pusher.queue, task.name)
    return [Pushed(job, _arguments(task, job)) for job in jobs]


def _waiting(store: Store, queue: str, name: str | None) -> list[Job]:
    found = (
        walk(store.find, Find(queue=queue, name=name, status=status, limit=_ALL))
        for status in (JobStatus.PENDING, JobStatus.RETRYING)
    )
    return sorted((job for jobs in found for job in jobs), key=lambda job: job.id)


def _arguments(task: BaseTask[..., R] | None, job: Job) -> dict[str, object] | None:
    if task is None:
        return None
    into = None if job.terms is None else job.terms.into
    given = job.decode()
    is_complete = into is None or not isinstance(given, dict) or into in given
    return task.signature.by_name(job.data, without=None if is_complete else into)


def _alike(expected: object, actual: object) -> bool:
    if expected == actual:
        return True
    try:
        return payload.decode(payload.encode(expected)) == payload.decode(payload.encode(actual))
    except InvalidPayload:
        return False


def _said(task: BaseTask[..., R], given: Mapping[str, object]) -> str:
    if not given:
        return f"task {task.name!r}"
    return f"{task.name}({', '.join(f'{name}={value!r}' for name, value in given.items())})"


def _instead(task: BaseTask[..., R]) -> str:
    if ours := _of(task):
        return f"of this task there wait: {_listed(ours)}"
    others = Counter(job.name for job in _waiting(inside.store_of(task.pusher), task.pusher.queue, None))
    if not others:
        return "nothing waits in this queue"
    return f"none of this task; of others: {', '.join(f'{name} ({n})' for name, n in sorted(others.items()))}"


def _listed(found: Iterable[Pushed]) -> str:
    return "".join(f"\n  {one}" for one in found)
