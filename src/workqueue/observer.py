"""Observers: who is told of pushes and attempts, around them; traces and reports of errors are made by these.

They only look, but for one thing: they give jobs headers for their way. What an observer raises is logged, and changes
nothing: jobs are pushed and run as if it were not there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from functools import partial
from typing import Final, Protocol

import msgspec

from workqueue.errors import InvalidOption
from workqueue.job import Headers, Job, JobStatus, NewJob
from workqueue.logs import Log

log = Log("workqueue.observer")

_JOINED = "baggage"  # a list by its standard: what several observers put into it stands side by side


class Push:
    """Jobs that are stored in one transaction; a bulk push is several. jobs: without the headers that they will have.

    is_bulk: pushed by `push_many`, or as part of a batch or chain. ids: of the jobs, once they are stored.
    """

    def __init__(self, queue: str, jobs: Sequence[NewJob], *, is_bulk: bool) -> None:
        self.queue = queue
        self.jobs = jobs
        self.is_bulk = is_bulk
        self.ids: Sequence[int] = ()
        self.headers: dict[str, str] = {}

    def carry(self, name: str, value: str) -> None:
        """Let these jobs carry a header. What they have in `baggage` already stays, before this."""
        _carry(self.headers, name, value)


class Run:
    """One attempt of a job. age: from its push to its claim. is_isolated: its handler runs in a child process.

    headers: the job's own, and with `carry` what the child is to see of them. Once it has ended: to: where its job
    stands now; failed: its handler raised, and no control like Snooze; error: of that, or the reason, in one line;
    exception: what was raised, RaisedInChild where that stayed in a child; traceback: as Python prints it.
    """

    def __init__(self, job: Job, age: timedelta, *, is_isolated: bool) -> None:
        self.job = job
        self.age = age
        self.is_isolated = is_isolated
        self._carried: dict[str, str] = {}
        self.to: JobStatus | None = None
        self.failed = False
        self.error = ""
        self.traceback = ""
        self.exception: BaseException | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {**self.job.headers, **self._carried}

    def carry(self, name: str, value: str) -> None:
        """Let the child see this header, in place of what the job came with; `baggage` of several is joined."""
        _carry(self._carried, name, value)


class Observer(Protocol):
    """What `Queue(…, observers=[…])` takes. Called from many threads, and event loops, at once.

    An attempt has no `ended` whose process dies, that is handed back when its queue stops, or whose handler was never
    called, because its worker could not say how to run it.
    """

    @property
    def in_child(self) -> str | None:
        """What is around an isolated handler in its child process, which imports it: `module:function`; None: nothing.

        It is called with the Job, and gives a context manager.
        """
        ...

    def pushing(self, push: Push, /) -> AbstractContextManager[object]:
        """Be around the storing of jobs, in the thread, or asyncio task, that pushes."""
        ...

    def running(self, run: Run, /) -> AbstractContextManager[object]:
        """Be around a handler, in its thread or asyncio task; of an isolated one, around the wait for its child.

        It is left with what the handler raised: with TimedOut where its time was up, however late it comes back; with
        RaisedInChild where it was isolated.
        """
        ...

    def ended(self, run: Run, /) -> None:
        """Hear what became of an attempt, once; on the runner's thread.

        As soon as its outcome is known, also where its handler runs on past its timeout. Its claim may be lost by then:
        then others run it again.
        """
        ...


class Observers:
    """The observers of a queue, as one; false where there are none."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._all = tuple(observers)
        self.in_children = tuple(one.in_child for one in self._all if one.in_child is not None)

    def __bool__(self) -> bool:
        return bool(self._all)

    @contextmanager
    def pushing(self, queue: str, jobs: Sequence[NewJob], *, is_bulk: bool) -> Generator[Push]:
        """Be around a push; give it, its jobs with their headers. Whoever stores them notes the ids."""
        push = Push(queue, jobs, is_bulk=is_bulk)
        entered = Entered(partial(one.pushing, push) for one in self._all)
        headers = _sound(push.headers)
        if headers:
            carried = Headers(headers)
            push.jobs = [msgspec.structs.replace(job, headers=carried) for job in jobs]
        try:
            yield push
        except BaseException as error:
            entered.leave(error)
            raise
        entered.leave(None)

    def running(self, run: Run) -> Entered:
        """Begin to be around a handler."""
        return Entered(partial(one.running, run) for one in self._all)

    def ended(self, run: Run) -> None:
        """Tell that it has."""
        for one in self._all:
            try:
                one.ended(run)
            except BaseException as worse:  # noqa: BLE001 - the runner, whose thread this is, shall not end by it
                _tell("ended", worse)


NOBODY: Final = Observers()


class Entered:
    """What observers gave, entered in order."""

    def __init__(self, around: Iterable[Callable[[], AbstractContextManager[object]]]) -> None:
        self._entered: list[AbstractContextManager[object]] = []
        for give in around:
            try:
                manager = give()
                manager.__enter__()
            except Exception as worse:  # noqa: BLE001 - no job shall fail by being looked at
                _tell("began", worse)
            else:
                self._entered.append(manager)

    def leave(self, error: BaseException | None) -> None:
        """Leave them, the last one first, with what was raised."""
        for manager in reversed(self._entered):
            try:
                if error is None:
                    manager.__exit__(None, None, None)
                else:
                    manager.__exit__(type(error), error, error.__traceback__)
            except Exception as worse:  # noqa: BLE001 - as above
                if worse is not error:
                    _tell("left", worse)


def checked_observers(observers: Iterable[Observer]) -> Observers:
    """Give them as one. Raises InvalidOption for what is none."""
    given = tuple(observers)
    for one in given:
        if not all(hasattr(one, name) for name in ("in_child", "pushing", "running", "ended")):
            raise InvalidOption(
                f"expected observers to have in_child, pushing, running and ended, got: {one!r}",
                name="observers",
                value=one,
            )
    return Observers(given)


def _carry(headers: dict[str, str], name: str, value: str) -> None:
    before = headers.get(name)
    headers[name] = f"{before},{value}" if before and name == _JOINED else value


def _sound(headers: dict[str, str]) -> dict[str, str]:
    """Give what JSON can carry of them; an observer's nonsense shall not end a push."""
    try:
        msgspec.json.decode(msgspec.json.encode(headers), type=dict[str, str])
    except (msgspec.MsgspecError, UnicodeError, TypeError) as worse:
        _tell("gave headers that are no texts", worse)
        return {}
    return headers


def _tell(when: str, error: BaseException) -> None:
    log.error("an observer raised when a push or an attempt %s; it goes on: %r", when, error, exc_info=error)
