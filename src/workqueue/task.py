"""Task: a function, its name, and how its jobs are pushed and run."""

from __future__ import annotations

import copy
import functools
import operator
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Final, Generic, Literal, ParamSpec, Self, TypeVar, cast

import msgspec

from workqueue.arguments import job_id as checked_id
from workqueue.context import Context
from workqueue.context import Policy as Judge
from workqueue.control import Retry
from workqueue.errors import InvalidOption, UsageError
from workqueue.handle import Handle
from workqueue.job import Claim, Job, JobStatus, NewJob, OnConflict, Terms
from workqueue.lanes import Limits
from workqueue.lifecycle import Returned
from workqueue.manner import Manner
from workqueue.policy import Policy
from workqueue.pusher import Pusher
from workqueue.retention import Retention
from workqueue.schedule import Schedule
from workqueue.signature import Signature
from workqueue.watch import Watch
from workqueue.worker import Handling

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Desk(msgspec.Struct, frozen=True):
    """What a task needs of its queue: how to push, to watch jobs, and to cancel them; and what is kept of them."""

    pusher: Pusher
    watch: Watch
    cancel: Callable[[int], bool]
    retention: Retention


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How a task's jobs are run. keep_results: for how long; None: they are not kept."""

    policy: Policy
    limits: Limits
    timeout: timedelta | None = None
    keep_results: timedelta | None = None
    isolated: bool = False
    schedule: Schedule | None = None


@dataclass(frozen=True, slots=True)
class Call(Generic[R_co]):
    """A call of a task that was not pushed yet, for `push_many`, `Batch.add` and `chain`."""

    task: BaseTask[..., R_co]
    args: tuple[object, ...]
    kwargs: Mapping[str, object]


class BaseTask(Generic[P, R]):
    """A function whose calls can be pushed; made by `Queue.task`. Safe from any thread.

    name: what its jobs are called, for ever: a job that waits finds its function by it. function: the plain one.
    """

    runs_on: ClassVar[Literal["thread", "loop"]] = "thread"

    def __init__(
        self, function: Callable[..., object], *, signature: Signature, desk: Desk, plan: Plan, manner: Manner
    ) -> None:
        # What the function has as attributes may be called like ours, and stays its own.
        functools.update_wrapper(cast("Callable[..., object]", self), function, updated=())
        self.name: Final = signature.name
        self.function = function
        self.signature = signature
        self.plan = plan
        self._desk = desk
        self._by = plan.limits.by()
        self._set(manner)

    # push

    def push(self, *args: P.args, **kwargs: P.kwargs) -> Handle[R]:
        """Store a job that makes this call; durable when this returns.

        Raises TypeError for a wrong call, InvalidPayload for what JSON cannot carry, DuplicateJob where `on_conflict`
        says so, QueueFull or StoreUnavailable; then nothing was stored.
        """
        return self._handle(self._desk.pusher.push(self.new_job(args, kwargs), within=self.within))

    async def apush(self, *args: P.args, **kwargs: P.kwargs) -> Handle[R]:
        """Do as `push` does, without blocking the event loop; not within a transaction of yours."""
        if self.within is not None:
            raise UsageError(
                "expected push() within= a transaction, whose connection apush() would use beside its owner"
            )
        return self._handle(await self._desk.pusher.apush(self.new_job(args, kwargs)))

    def push_many(self, calls: Iterable[Call[R] | tuple[object, ...] | Mapping[str, object]]) -> list[int]:
        """Store a job for each of `calls`, taken as they come, in one transaction per 1,000; give their ids in order.

        A call is a tuple of arguments, a mapping of them by name, or what `s` gives, which may be that of a variant: it
        is pushed as its own `using` says. Raises as `push` does, and UsageError for a call of another task; then the
        thousands before are stored, and the error's `__notes__` say how many jobs those were.
        """
        return self._desk.pusher.push_many(self._jobs(calls), within=self.within)

    def s(self, *args: object, **kwargs: object) -> Call[R]:
        """Give a call, to be pushed later; it may lack an argument that a chain fills in."""
        return Call(self, args, kwargs)

    def using(
        self,
        *,
        after: timedelta | float | None = None,
        at: datetime | None = None,
        priority: int | None = None,
        key: str | None = None,
        unique_for: timedelta | float | None = None,
        on_conflict: OnConflict | None = None,
        expires: timedelta | float | None = None,
        within: object | None = None,
    ) -> Self:
        """Give this task with other ways of pushing; what is not said stays as it is.

        after, at: not before then. priority: higher first. key: no second job of this task and key while one waits or
        runs, and for at least `unique_for` after the push; on_conflict: then "keep" gives the one that is there,
        "replace" cancels it if it waits, "error" raises DuplicateJob; both ask for a key. expires: not run later than
        that after the push. within: a connection of yours, in whose open transaction it is pushed; see `Queue.push`.
        """
        manner = self._manner.varied(
            after=after,
            at=at,
            priority=priority,
            key=key,
            unique_for=unique_for,
            on_conflict=on_conflict,
            expires=expires,
            within=within,
        )
        other = copy.copy(self)
        other._set(manner)  # noqa: SLF001 - one of us
        if unique_for is not None or on_conflict is not None:
            other.check_key()
        return other

    def handle(self, job_id: int) -> Handle[R]:
        """Give the handle of a job of this task that was pushed before.

        Raises InvalidOption for what is no id, and JobNotFound for a number that no job can have.
        """
        return self._handle(checked_id(job_id))

    def _handle(self, job_id: int) -> Handle[R]:
        decode = None if self.plan.keep_results is None else self.signature.decode_result
        return Handle(
            job_id,
            watch=self._desk.watch,
            decode=cast("Callable[[bytes], R] | None", decode),
            cancel=self._desk.cancel,
        )

    def new_job(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> NewJob:
        """Give the job of a call, not pushed. Raises as `push` does."""
        data = self.signature.encode(args, kwargs, limit=self._desk.pusher.max_payload)
        if not self._makes_terms:
            return msgspec.structs.replace(self._head, data=data)
        texts = self.signature.texts(data, self._by) if self._by else {}
        return msgspec.structs.replace(self._head, data=data, terms=self._terms(texts))

    def partial_job(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> tuple[NewJob, str | None]:
        """Give the job of a call that takes the result before it as its first free argument, and that one's name."""
        bound = self.signature.names_bound(args, kwargs)
        if self._by - bound:
            raise InvalidOption(
                f"expected task {self.name!r} to be given {', '.join(sorted(self._by - bound))}, on which its limits "
                "depend, by a call in a chain; it cannot come from the result before",
                name="call",
                value=self.name,
            )
        into = self.signature.first_free(bound)
        data = self.signature.encode_partial(args, kwargs, into=into, limit=self._desk.pusher.max_payload)
        texts = self.signature.texts(data, self._by, without=into) if self._by else {}
        terms = self._terms(texts) if self._makes_terms else None
        return msgspec.structs.replace(self._head, data=data, terms=terms), into

    def slot_job(self, slot: datetime) -> NewJob:
        """Give the job of a schedule's slot."""
        zone = None if self.plan.schedule is None else self.plan.schedule.zone
        return self.new_job((), self.signature.slot_argument(slot.astimezone(zone)))

    def _jobs(self, calls: Iterable[Call[R] | tuple[object, ...] | Mapping[str, object]]) -> Iterator[NewJob]:
        for call in calls:
            if isinstance(call, tuple):
                yield self.new_job(call, {})
            elif isinstance(call, Call):
                self._check_own(call.task)
                yield call.task.new_job(call.args, call.kwargs)
            elif isinstance(call, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - from callers without types
                yield self.new_job((), call)
            else:
                raise TypeError(
                    f"expected a tuple of arguments, a mapping of them, or {self.name}.s(...), got: {call!r:.80}"
                )

    def _check_own(self, task: BaseTask[..., R]) -> None:
        """Raise UsageError for a task that is no variant of this one, or is pushed within another transaction."""
        elsewhere = "" if task.pusher is self.pusher else f" of another Queue, {task.pusher.queue!r}"
        if elsewhere or task.name != self.name:
            raise UsageError(
                f"expected a call of {self!r}, got one of {task!r}{elsewhere}; push it by the push_many of that task"
            )
        if task.within is not None and task.within is not self.within:
            raise UsageError(
                f"expected within= to be said of the task whose push_many this is, not of one call, got: {task!r}"
            )

    def check_key(self) -> None:
        """Raise InvalidOption when it says for how long a key is taken, or what then, and has none."""
        for name, value in (("unique_for", self._manner.unique_for), ("on_conflict", self._manner.on_conflict)):
            if value is not None and not self.asks_for_key():
                raise InvalidOption(
                    f"expected a key of task {self.name!r} beside {name}, got: {name}={value} alone; say "
                    f"key_by= where the task is made, or using(key=..., {name}=...)",
                    name=name,
                    value=value,
                )

    def _terms(self, texts: Mapping[str, str]) -> Terms:
        if self._lacks_key:
            self.check_key()
        terms = self.plan.limits.terms(texts) if self.plan.limits.any() else Terms()
        return terms if self._manner.key is None else msgspec.structs.replace(terms, key=self._manner.key)

    def asks_for_key(self) -> bool:
        """Say whether a push of it may give a job that was there before."""
        return self._manner.key is not None or self.plan.limits.key_by is not None

    @property
    def within(self) -> object | None:
        """The connection in whose transaction it is pushed, if any."""
        return self._manner.within

    @property
    def pusher(self) -> Pusher:
        return self._desk.pusher

    def _set(self, manner: Manner) -> None:
        self._manner = manner
        self._lacks_key = (manner.unique_for, manner.on_conflict) != (None, None) and not self.asks_for_key()
        self._makes_terms = self.plan.limits.any() or manner.key is not None or self._lacks_key
        head = self._desk.pusher.new_job(
            self.name,
            b"",
            run_at=manner.run_at,
            delay=manner.delay,
            priority=manner.priority,
            backoff=self.plan.policy.backoff,
        )
        self._head = msgspec.structs.replace(
            head,
            expires=manner.expires,
            unique_for=manner.unique_for,
            on_conflict="keep" if manner.on_conflict is None else manner.on_conflict,
        )

    # run

    def handling(self, job: Job) -> Handling:
        """Say how a job of it is to be run."""
        if self.plan.isolated:
            entry = f"{self.function.__module__}:{self.function.__qualname__}"
            # Its own process cannot say any more what a timeout, or its death, is worth.
            return Handling("child", self.plan.timeout, entry, self._policy(job))
        return Handling(self.runs_on, self.plan.timeout)

    def do_work(self, ctx: Context, job: Job) -> object:
        """Run a job of this task: give what its function gives. Raises InvalidPayload when its data fit no more."""
        args, kwargs = self.signature.decode(job.data)
        ctx.task, ctx.policy = self.name, self._policy(job)
        if self.plan.keep_results is not None or (job.terms is not None and job.terms.followed):
            ctx.give = self._give
        return self.signature.call(self.function, args, kwargs, ctx)

    def _policy(self, job: Job) -> Judge | None:
        policy, failure = self.plan.policy, job.retry_count + 1

        def judge(error: BaseException) -> Retry | None:
            return policy.judge(error, failure)

        return judge if policy.retries else None

    def _give(self, value: object) -> Returned:
        limit = self._desk.pusher.max_payload
        result = self.signature.encode_result(value, limit=limit)
        return Returned(result, self.plan.keep_results or timedelta(0), counted=self._desk.retention.counts_results)

    def _call(self, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        if self.signature.context is None or self.signature.context in kwargs:
            return self.function(*args, **kwargs)
        return self.signature.call(self.function, args, kwargs, _detached(self.name))

    # as a function

    def __reduce__(self) -> str:
        """Be pickled by the name under which its module has it, as functions are."""
        place = str(getattr(self, "__qualname__", self.name))
        try:
            held: object = operator.attrgetter(place)(sys.modules[self.__module__])
        except (KeyError, AttributeError):
            held = None
        if held is not self:
            raise TypeError(
                f"expected a task that its module has under the name of its function, got: {self!r}, which is not "
                f"{self.__module__}.{place}; what using() gives is pickled as that task, and using() said afterwards"
            )
        return place

    def __get__(self, instance: object, owner: type[object] | None = None) -> Self:
        """Be itself as an attribute of a class too. help() and Sphinx take for a function what has this."""
        return self

    def __copy__(self) -> Self:
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        return other

    def __repr__(self) -> str:
        return f"<task {self.name!r}>"


class Task(BaseTask[P, R]):
    """The task of a `def` function. Calling it runs the plain function, here and now."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function. A parameter annotated Context gets one that belongs to no job."""
        return cast("R", self._call(args, kwargs))


class AsyncTask(BaseTask[P, R]):
    """The task of an `async def` function. Calling it gives the plain coroutine."""

    runs_on = "loop"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[object, object, R]:
        """Give the coroutine. A parameter annotated Context gets one that belongs to no job."""
        return cast("Coroutine[object, object, R]", self._call(args, kwargs))


def _detached(name: str) -> Context:
    job = Job(id=0, name=name, data=b"{}", status=JobStatus.RUNNING)
    return Context(Claim(job, 0, timedelta(0), 0), None, time.monotonic())
