"""Registry: the tasks of a queue by name. It is itself a `Worker`, so nothing below knows that there are tasks."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final, ParamSpec, Protocol, TypedDict, TypeVar, Unpack, cast, overload

from workqueue.arguments import checked_name, one_of, positive
from workqueue.backoff import Backoff
from workqueue.context import Context
from workqueue.control import Snooze
from workqueue.duration import as_duration
from workqueue.errors import InvalidOption, UsageError
from workqueue.job import Job, NewJob, OnConflict
from workqueue.lanes import checked_limits
from workqueue.logs import Log
from workqueue.manner import Manner
from workqueue.policy import Decide, Errors, Policy
from workqueue.schedule import Schedule
from workqueue.signature import Signature
from workqueue.task import AsyncTask, BaseTask, Desk, Plan, Task
from workqueue.worker import Handling, Worker

P = ParamSpec("P")
R = TypeVar("R")

log = Log("workqueue.tasks")

_FIRST_WAIT: Final = 5.0  # seconds that a job of an unknown name is put off; doubled each time
_LONGEST_WAIT: Final = 300.0


# An `async def` function gives an awaitable, and fits both overloads: the first is meant.
class TaskMaker(Protocol):
    """Makes a task of a function, with the options that `Queue.task` was given."""

    @overload
    def __call__(self, function: Callable[P, Awaitable[R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...


class Options(TypedDict, total=False):
    """What a task may be told; each has its words at `Queue.task`."""

    name: str
    retry: Backoff | Decide | None
    retry_on: Errors | None
    no_retry_on: Errors
    timeout: timedelta | float | None
    keep_results: timedelta | float | None
    priority: int
    expires: timedelta | float | None
    limit: int | None
    limit_by: str | None
    rate: str | None
    rate_by: str | None
    ordered_by: str | None
    key_by: str | None
    unique_for: timedelta | float | None
    on_conflict: OnConflict
    isolated: bool
    every: str | timedelta | None
    timezone: str
    jitter: timedelta | float
    catch_up: int


class Registry:
    """See the module. Calling it makes a task. Safe from any thread.

    worker: the queue's own, if it has one; then it has no tasks. runs: says whether the queue runs jobs just now.
    """

    def __init__(self, desk: Desk, *, worker: Worker | None, runs: Callable[[], bool]) -> None:
        self._desk = desk
        self._worker = worker
        self._runs = runs
        self._tasks: dict[str, BaseTask[..., object]] = {}

    @overload
    def __call__(self, function: Callable[P, Awaitable[R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: None = None, /, **options: Unpack[Options]) -> TaskMaker: ...
    def __call__(self, function: Callable[..., object] | None = None, /, **options: Unpack[Options]) -> object:
        """Make a task of a function: its calls can be pushed, and are run by whoever runs this queue.

        name: of its jobs; `module.function` if not given; two of one name are refused, but at a prompt or in a
        notebook what is defined anew takes the place of what was. retry: a Backoff, or a function of the error and the
        number of the failure that gives the delay, or None for no more; all errors are retried, or those of `retry_on`,
        never those of `no_retry_on`. timeout: the attempt is over after so long; docs/tasks.md has what that means on a
        thread. keep_results: for how long one can ask for what it gave; None: not; as the queue's own `keep_results`,
        if not said. priority, expires: as for `using`; unique_for, on_conflict too, and a push is then refused without
        a key. limit: so many run at once, of all or of those that agree in the argument `limit_by`; rate: so many start
        within a time ("100/minute"), of all or by `rate_by`; ordered_by: those that agree in it run one after another;
        key_by: those that agree in it are one job. isolated: runs in a child process. every, timezone, jitter,
        catch_up: see Schedule; it may take its slot as a date or datetime. Raises InvalidOption, and UsageError in a
        queue that has a worker, or for a periodic one when the queue runs already.
        """
        if function is not None:
            return self._make(function, **options)

        def make(function: Callable[..., object]) -> BaseTask[..., object]:
            return self._make(function, **options)

        return make

    def _make(self, function: Callable[..., object], **options: Unpack[Options]) -> BaseTask[..., object]:
        if unknown := options.keys() - Options.__annotations__.keys():
            raise InvalidOption(
                f"expected options of a task ({', '.join(Options.__annotations__)}), got: {', '.join(sorted(unknown))}",
                name=min(unknown),
                value=None,
            )
        if isinstance(function, BaseTask):
            raise InvalidOption(
                f"expected a plain function, got: {function!r}; a function is one task", name="function", value=None
            )
        if self._worker is not None:
            raise UsageError(
                f"expected a queue without a worker to make a task in, but it was opened with {self._worker!r}, which "
                "runs all of its jobs; give the tasks a Queue of another id="
            )
        name = options.get("name")
        called = checked_name(_name_of(function) if name is None else name, "name")
        signature = Signature(function, name=called, injected=Context)
        if called in self._tasks and not _is_retyped(function, self._tasks[called].function):
            raise InvalidOption(_of_two(called, function, self._tasks[called].function), name="name", value=called)
        plan = _plan(function, signature, options, keep_results=self._desk.retention.result_age)
        if plan.schedule is not None and self._runs():
            raise UsageError(
                f"expected periodic task {called!r} to be made before the queue is started, which begins its schedules"
            )
        kind = cast("type[BaseTask[..., object]]", AsyncTask if _is_async(function) else Task)
        manner = Manner().varied(
            priority=options.get("priority"),
            unique_for=options.get("unique_for"),
            on_conflict=options.get("on_conflict"),
            expires=options.get("expires"),
        )
        task = kind(function, signature=signature, desk=self._desk, plan=plan, manner=manner)
        if plan.schedule is not None:
            task.check_key()  # nobody says one for its slots
        self._tasks[called] = task
        if name is None and function.__module__ == "__main__" and (plan.isolated or plan.schedule is not None):
            log.warning(
                "task %r is named after the script it stands in, which is called otherwise where it is imported, as by "
                "`workqueue run`: there its jobs and its schedule are those of another task; give it a name=",
                called,
            )
        return task

    def names(self) -> list[str]:
        return sorted(self._tasks)

    def find(self, name: str) -> BaseTask[..., object] | None:
        return self._tasks.get(name)

    def schedules(self) -> dict[str, Schedule]:
        """Give those of the periodic tasks, by their names."""
        return {name: task.plan.schedule for name, task in self._tasks.items() if task.plan.schedule is not None}

    def makers(self) -> dict[str, Callable[[datetime], NewJob]]:
        """Give, by the names of the periodic tasks, what makes the job of a slot."""
        return {name: self._tasks[name].slot_job for name in self.schedules()}

    # as a worker

    def id(self) -> str:
        return "tasks"

    def handling(self, job: Job) -> Handling:
        task = self._tasks.get(job.name)
        return Handling() if task is None else task.handling(job)

    def do_work(self, ctx: Context, job: Job) -> object:
        """Run the task of this job's name; put the job off where there is none: another process may know it."""
        task = self._tasks.get(job.name)
        if task is None:
            wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(job.attempt - 1, 10))
            raise Snooze(
                wait,
                f"no task {job.name!r} is known here; known: {', '.join(self.names()) or 'none'}; "
                f"{_whereabouts(job.name)}",
            )
        return task.do_work(ctx, job)


def _plan(
    function: Callable[..., object], signature: Signature, options: Options, *, keep_results: timedelta | None
) -> Plan:
    keep, timeout, every = options.get("keep_results", keep_results), options.get("timeout"), options.get("every")
    isolated = one_of(options.get("isolated", False), (True, False), "isolated")
    if keep is not None:
        signature.check_result()
    schedule = None
    if every is not None:
        schedule = Schedule(
            every=every,
            timezone=options.get("timezone", "UTC"),
            jitter=as_duration(options.get("jitter", 0), "jitter"),
            catch_up=options.get("catch_up", 1),
        )
        _ = signature.slot_kind  # raises what is wrong with it
    for name in ("timezone", "jitter", "catch_up"):
        if every is None and name in options:
            value: object = options.get(name)
            raise InvalidOption(f"expected every beside {name}, got: {name}={value!r} alone", name=name, value=value)
    if isolated:
        _check_importable(function, signature.name)
    return Plan(
        policy=Policy(
            options.get("retry"), retry_on=options.get("retry_on"), no_retry_on=options.get("no_retry_on", ())
        ),
        limits=checked_limits(
            signature.name,
            signature.names(),
            limit=options.get("limit"),
            limit_by=options.get("limit_by"),
            rate=options.get("rate"),
            rate_by=options.get("rate_by"),
            ordered_by=options.get("ordered_by"),
            key_by=options.get("key_by"),
        ),
        timeout=None if timeout is None else positive(timeout, "timeout"),
        keep_results=None if keep is None else positive(keep, "keep_results"),
        isolated=isolated,
        schedule=schedule,
    )


def _is_async(function: Callable[..., object]) -> bool:
    """Say whether it gives a coroutine; of a plain wrapper nobody can know, for it may wait for what it wraps."""
    call = getattr(function, "__call__", None)  # noqa: B004 - its code is asked for
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _name_of(function: Callable[..., object]) -> str:
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not name or "<lambda>" in name:
        raise InvalidOption(
            f"expected a function with a name, got: {function!r}; give the task a `name=`", name="name", value=function
        )
    return f"{module}.{name}".replace(".<locals>", "")


def _is_anew(function: object, before: object) -> bool:
    """Say whether it stands where the function before it stood."""
    return all(getattr(function, name, None) == getattr(before, name, "") for name in ("__module__", "__qualname__"))


def _is_retyped(function: object, before: object) -> bool:
    """Say whether it was typed anew, at a prompt or in a notebook; a module that has two of a name is mistaken."""
    return hasattr(sys, "ps1") and getattr(function, "__module__", None) == "__main__" and _is_anew(function, before)


def _of_two(name: str, function: object, before: object) -> str:
    advice = "give one a `name=`"
    if _is_anew(function, before):
        advice += ", or, where their module was loaded again, make the queue again too: load its module before"
    return f"expected each task to have a name of its own, but there are two of {name!r}; {advice}"


def _whereabouts(name: str) -> str:
    """Say where a task may be whose name nobody knows."""
    if name.startswith("__main__."):
        return (
            "it was pushed by a script that was run itself, and is called otherwise where that is imported: give the "
            "task a `name=`, or keep it in a module"
        )
    return "is the module that defines it imported?"


def _check_importable(function: Callable[..., object], name: str) -> None:
    place: str | None = getattr(function, "__qualname__", None)
    if place is None or "<" in place:  # of what stands inside a function, and of a lambda
        raise InvalidOption(
            f"expected isolated task {name!r} to stand in its module, where a child process can import it, but it is "
            f"{place or repr(function)}",
            name="isolated",
            value=True,
        )
