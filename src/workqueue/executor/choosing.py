"""Which executor runs the jobs of a handler."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import cast

from workqueue.executor import Executor
from workqueue.executor.loop import AsyncHandler, LoopExecutor
from workqueue.executor.mixed import Children, HandlingWorker, MixedExecutor
from workqueue.executor.threads import Handler, ThreadExecutor


def choose(
    handler: Handler | AsyncHandler, *, concurrency: int, children: Children, enough: int, ready: Callable[[], None]
) -> Executor:
    """Give the one that this handler needs: of a worker that says so job by job, `async def`, or neither."""
    worker = getattr(handler, "__self__", None)  # a bound method knows whose it is
    if hasattr(worker, "handling"):
        return MixedExecutor(
            cast("HandlingWorker", worker), concurrency=concurrency, children=children, enough=enough, ready=ready
        )
    if inspect.iscoroutinefunction(handler):
        return LoopExecutor(cast("AsyncHandler", handler), concurrency=concurrency, enough=enough, ready=ready)
    return ThreadExecutor(handler, concurrency=concurrency, enough=enough, ready=ready)
