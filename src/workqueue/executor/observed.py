"""Handlers with observers around them."""

from __future__ import annotations

from workqueue.context import Context
from workqueue.errors import RaisedInChild, TimedOut
from workqueue.executor import forked
from workqueue.executor.loop import AsyncHandler
from workqueue.executor.threads import Handler
from workqueue.job import Job
from workqueue.lifecycle import Raised, Settlement
from workqueue.observer import Entered, Observers, Run


def observed(handler: Handler, observers: Observers, *, is_isolated: bool = False) -> Handler:
    """Give the handler with them around it; as it is, where there are none."""
    if not observers:
        return handler

    def observe(context: Context, job: Job) -> object:
        around = Around(context, observers, is_isolated=is_isolated)
        try:
            result = handler(context, job)
        except BaseException as error:
            around.leave(error)
            raise
        around.leave(None, result)
        return result

    return observe


def observed_async(handler: AsyncHandler, observers: Observers) -> AsyncHandler:
    """Do as `observed` for one that is awaited."""
    if not observers:
        return handler

    async def observe(context: Context, job: Job) -> object:
        around = Around(context, observers)
        try:
            result = await handler(context, job)
        except BaseException as error:
            around.leave(error)
            raise
        around.leave(None)
        return result

    return observe


class Around:
    """The observers around one attempt, from now on."""

    def __init__(self, context: Context, observers: Observers, *, is_isolated: bool = False) -> None:
        self._context = context
        self._run = context.observed = Run(context.job, context.claim.age, is_isolated=is_isolated)
        self._depth = forked.depth
        self._entered: Entered = observers.running(self._run)

    def leave(self, error: BaseException | None, result: object = None) -> None:
        """Leave them with what the handler raised, or, isolated, gave; not in what it forked."""
        if forked.depth != self._depth:
            return
        context = self._context
        if self._run.is_isolated:
            if isinstance(result, Raised):
                error = self._run.exception = RaisedInChild(result.error, result.traceback)
        elif context.cancelled and (context.time_left() or 0) < 0:
            late = TimedOut(context.timeout or 0)
            late.__cause__ = error
            error = late
        self._entered.leave(error)


def tell_observers(observers: Observers, context: Context, settlement: Settlement) -> None:
    """Tell what became of an attempt that they were around."""
    run = context.observed
    if run is None:
        return
    run.to, run.failed = settlement.to, settlement.outcome == "raised"
    run.error, run.traceback = settlement.error, settlement.traceback
    observers.ended(run)
