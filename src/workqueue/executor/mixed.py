"""Runs the jobs of a worker that says for each how it is to be run: on threads, on a loop, in children."""

from __future__ import annotations

import inspect
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Literal, Protocol, TypeAlias, assert_never, cast

import msgspec

from workqueue.context import Context
from workqueue.errors import UsageError
from workqueue.executor import Executor
from workqueue.executor.children import ChildExecutor
from workqueue.executor.loop import AsyncHandler, LoopExecutor
from workqueue.executor.observed import observed, observed_async
from workqueue.executor.outcome import not_started, of_exception
from workqueue.executor.threads import Handler, ThreadExecutor
from workqueue.job import Job
from workqueue.lifecycle import Outcome
from workqueue.observer import NOBODY, Observers
from workqueue.worker import MOST_THREADS, Handling

Kind: TypeAlias = Literal["thread", "loop", "child"]
KINDS: Final = ("thread", "loop", "child")


class HandlingWorker(Protocol):
    """A `Worker` that has `handling`."""

    def do_work(self, ctx: Context, job: Job, /) -> object: ...
    def handling(self, job: Job, /) -> Handling: ...


class Children(msgspec.Struct, frozen=True):
    """How many there may be, and for how long: see `Plan`."""

    processes: int = 0
    max_jobs: int | None = None
    max_memory: int | None = None


def executor_for(
    handler: Handler | AsyncHandler,
    *,
    concurrency: int,
    children: Children,
    enough: int,
    ready: Callable[[], None],
    observers: Observers = NOBODY,
) -> Executor:
    """Give what runs this handler: all kinds where its worker says for each job how, else the one kind that it is."""
    worker = getattr(handler, "__self__", None)  # a bound method knows whose it is
    if hasattr(worker, "handling"):
        handling = cast("HandlingWorker", worker)
        return MixedExecutor(
            handling, concurrency=concurrency, children=children, enough=enough, ready=ready, observers=observers
        )
    if inspect.iscoroutinefunction(handler):
        awaited = observed_async(cast("AsyncHandler", handler), observers)
        return LoopExecutor(awaited, concurrency=concurrency, enough=enough, ready=ready)
    return ThreadExecutor(observed(handler, observers), concurrency=concurrency, enough=enough, ready=ready)


class _Part:
    """One of the executors, how many it runs at once, and what it was handed and has not ended."""

    def __init__(self, executor: Executor, limit: int) -> None:
        self.executor = executor
        self.limit = limit
        self.held: set[Context] = set()

    def running(self) -> int:
        return min(self.limit, len(self.held))


class MixedExecutor:
    """See `Executor`. Each kind of job has a part, made when the first one comes.

    Jobs are handed to the parts in order, and no more than `concurrency` of all run at once: one that would be too
    many waits, and what comes after it. What a part has no room for waits there, and holds nobody up; so a run of jobs
    of one kind is handed over whole.
    """

    def __init__(
        self,
        worker: HandlingWorker,
        *,
        concurrency: int,
        children: Children,
        enough: int,
        ready: Callable[[], None],
        observers: Observers = NOBODY,
    ) -> None:
        self._worker = worker
        self._observers = observers
        self._concurrency = concurrency
        self._children = children
        self._enough = enough
        self._ready = ready
        self._lock = threading.Lock()
        self._inbox: deque[tuple[Kind, Context]] = deque()
        self._parts: dict[Kind, _Part] = {}
        self._refused: deque[tuple[Context, Outcome]] = deque()
        self._halted = False

    def submit(self, contexts: Iterable[Context]) -> None:
        for context in contexts:
            try:
                self._inbox.append((self._kind(context), context))
            except BaseException as error:  # noqa: BLE001 - `handling` is code of the user's
                self._refuse(context, error)
        self._hand_over()

    def collect(self) -> list[tuple[Context, Outcome]]:
        done = [self._refused.popleft() for _ in range(len(self._refused))]
        for part in self._made():
            done += part.executor.collect()
        return done

    def finished(self) -> int:
        return len(self._refused) + sum(part.executor.finished() for part in self._made())

    def is_pressing(self) -> bool:
        nothing_to_run = not self._inbox and all(part.executor.is_pressing() for part in self._made())
        return nothing_to_run or self.finished() >= self._enough

    def halt(self) -> None:
        self._halted = True
        for part in self._made():
            part.executor.halt()

    def take_back(self) -> list[Context]:
        with self._lock:
            unstarted = [context for _, context in self._inbox]
            self._inbox.clear()
        handed = [context for part in self._made() for context in part.executor.take_back()]
        for context in handed:
            self._has_ended(context)
        return handed + unstarted

    def interrupt(self, context: Context) -> None:
        context.abandoned = True
        for part in self._made():
            if context in part.held:
                part.executor.interrupt(context)

    def owns_current_thread(self) -> bool:
        return any(part.executor.owns_current_thread() for part in self._made())

    def capacity(self) -> int:
        """Say 0 where a part has none: whether a job is for that part is known once it is claimed."""
        parts = [(part.limit, part.executor.capacity()) for part in self._made()]
        if not all(left for _, left in parts):
            return 0
        return self._concurrency - sum(limit - left for limit, left in parts)

    def abandoned(self) -> int:
        return sum(part.executor.abandoned() for part in self._made())

    def close(self) -> None:
        for part in self._made():
            part.executor.close()

    # handing over

    def _made(self) -> list[_Part]:
        return list(self._parts.values())

    def _kind(self, context: Context) -> Kind:
        handling = self._worker.handling(context.job)
        if handling.kind not in KINDS:
            raise UsageError(f"expected handling(job) to give one of the kinds {KINDS}, got: {handling.kind!r}")
        context.timeout = None if handling.timeout is None else handling.timeout.total_seconds()
        context.entry = handling.entry
        context.policy = handling.policy
        return handling.kind

    def _hand_over(self) -> None:
        with self._lock:
            while self._inbox and not self._halted:
                kind, context = self._inbox[0]
                try:
                    part = self._part(kind)
                except Exception as error:  # noqa: BLE001 - no thread can be started
                    self._inbox.popleft()
                    self._refuse(context, not_started(error))
                    continue
                batch: list[Context] = []
                while self._inbox and self._inbox[0][0] == kind and self._has_room(part):
                    batch.append(self._inbox.popleft()[1])
                    part.held.add(batch[-1])
                if not batch:
                    return
                part.executor.submit(batch)

    def _has_room(self, part: _Part) -> bool:
        others = sum(other.running() for other in self._parts.values() if other is not part)
        # A part that is full, or alone, minds the limit itself.
        return not others or len(part.held) >= part.limit or others + len(part.held) < self._concurrency

    def _has_ended(self, context: Context) -> None:
        """Hand over what waited for that. On the thread that ran it."""
        with self._lock:
            for part in self._parts.values():
                part.held.discard(context)
        if self._inbox:
            self._hand_over()

    def _part(self, kind: Kind) -> _Part:
        part = self._parts.get(kind)
        if part is None:
            part = self._parts[kind] = self._make(kind)
            if self._halted:
                part.executor.halt()
        return part

    def _make(self, kind: Kind) -> _Part:
        concurrency, enough, ready, ended = self._concurrency, self._enough, self._ready, self._has_ended
        match kind:
            case "thread":
                limit = min(concurrency, MOST_THREADS)
                do_work = observed(self._worker.do_work, self._observers)
                threads = ThreadExecutor(do_work, concurrency=limit, enough=enough, ready=ready, ended=ended)
                return _Part(threads, limit)
            case "loop":
                handler = observed_async(self._await, self._observers)
                loop = LoopExecutor(handler, concurrency=concurrency, enough=enough, ready=ready, ended=ended)
                return _Part(loop, concurrency)
            case "child":
                plan = self._children
                limit = min(concurrency, MOST_THREADS, plan.processes or os.cpu_count() or 1)
                children = ChildExecutor(
                    processes=limit,
                    max_jobs=plan.max_jobs,
                    max_memory=plan.max_memory,
                    enough=enough,
                    ready=ready,
                    ended=ended,
                    observers=self._observers,
                )
                return _Part(children, limit)
        assert_never(kind)

    async def _await(self, ctx: Context, job: Job) -> object:
        result = self._worker.do_work(ctx, job)
        if not inspect.isawaitable(result):
            raise UsageError(
                f"expected do_work to give an awaitable for a job on the event loop, got: {type(result).__name__}"
            )
        return await result

    def _refuse(self, context: Context, error: BaseException) -> None:
        self._refused.append((context, of_exception(context, error)))
        self._ready()
