"""The program of a child process that runs isolated jobs, one at a time, for as long as its parent wants.

What it imports, the parent has named, out of its own registered functions: never the store. It has no connection to
the queue's database.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from contextvars import copy_context
from functools import partial
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Final, cast

from workqueue.context import Context
from workqueue.errors import UsageError
from workqueue.executor import forked
from workqueue.executor.importing import importing
from workqueue.executor.messages import Began, Ended, Line, Program, Progress, Run, Stop, ToChild, to_child
from workqueue.executor.outcome import describe, of_exception, of_result
from workqueue.job import Job
from workqueue.lifecycle import Outcome, Returned
from workqueue.logs import running
from workqueue.observer import Entered
from workqueue.stderr import Logging, log_to_stderr

_MAIN: Final = "__workqueue_main__"  # a script's name here, so that its `if __name__ == "__main__"` is not run
_BETWEEN_PROGRESS: Final = 0.1  # seconds
_LAST_SECONDS: Final = 1.0  # for threads and exit handlers of the user's, once the parent is gone


_is_child = False


def in_child() -> bool:
    """Say whether this process is one that runs isolated jobs of another. What such a job starts is none."""
    return _is_child


def main() -> None:
    """Be a child until the parent closes the line. Its arguments: the line, and the parent's pid and sys.argv[0]."""
    global _is_child  # noqa: PLW0603 - there is one of it in each process
    _is_child = True
    descriptor, parent, script = sys.argv[1:]
    _die_with(int(parent))
    sys.argv = [script]
    os.set_inheritable(int(descriptor), False)
    _Child(Line(socket.socket(fileno=int(descriptor)), to_child)).run()


def _die_with(parent: int) -> None:
    """Have the system kill this process when its parent dies, where it can; the end of the line says so too."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - nobody else needs it

        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # 1: PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it died before that
        os._exit(1)


class ChildContext(Context):
    """The context of a job that runs here; its parent has another."""

    def __init__(self, run: Run, line: Line[ToChild]) -> None:
        super().__init__(run.claim, None, time.monotonic())
        self.run = run
        self.timeout = run.timeout
        self._line = line
        self._telling = threading.Lock()
        self._untold: bytes | None = None
        self._next_telling = 0.0
        self._timer: threading.Timer | None = None

    def progress(self, value: object) -> None:
        super().progress(value)
        with self._telling:
            self._untold = self.progress_data
            left = self._next_telling - time.monotonic()
            if left <= 0:
                self._tell()
            elif self._timer is None:
                self._timer = threading.Timer(left, self._tell_late)
                self._timer.daemon = True
                self._timer.start()

    def finish(self) -> None:
        """Tell what was not told yet; from now on nothing more is, for the line is another job's."""
        with self._telling:
            self._tell()
            self._next_telling = float("inf")
            if self._timer is not None:
                self._timer.cancel()

    def _tell_late(self) -> None:
        with self._telling:
            self._timer = None
            if self._next_telling != float("inf"):
                self._tell()

    def _tell(self) -> None:
        if self._untold is not None:
            self._line.send(Progress(self._untold))
            self._line.flush()
            self._untold = None
            self._next_telling = time.monotonic() + _BETWEEN_PROGRESS


class _Child:
    """The main thread runs the jobs, so that signals work as in any program; another listens to the parent."""

    def __init__(self, line: Line[ToChild]) -> None:
        self._line = line
        self._jobs: queue.SimpleQueue[ChildContext | None] = queue.SimpleQueue()
        self._context: ChildContext | None = None
        self._busy = False
        self._main: ModuleType | None = None
        self._logs = False
        self._depth = forked.depth

    def run(self) -> None:
        threading.Thread(target=self._listen, name="workqueue-line", daemon=True).start()
        while (context := self._jobs.get()) is not None:
            outcome = self._work(context)
            for stream in (sys.stdout, sys.stderr):
                with suppress(Exception):  # closed by the handler, or nobody reads it
                    stream.flush()
            context.finish()
            self._busy = False
            self._line.send(Ended.of(outcome))
            self._line.flush()
            if self._line.is_broken:  # by the handler: the parent would wait for ever
                os._exit(1)

    def _listen(self) -> None:
        while not self._line.is_over:
            self._line.wait(None)
            for message in self._line.receive():
                match message:
                    case Run():
                        self._busy = True
                        self._context = ChildContext(message, self._line)
                        self._jobs.put(self._context)
                    case Stop(deadline, cancel_requested):
                        if self._context is not None:
                            self._context.deadline = deadline
                            self._context.cancel_requested = cancel_requested
                            self._context.cancel()
        if self._busy:  # for a parent that died
            os._exit(1)
        self._jobs.put(None)
        time.sleep(_LAST_SECONDS)
        os._exit(1)

    def _work(self, context: ChildContext) -> Outcome:
        outcome: Outcome = Returned()
        running.set(context)
        try:
            do_work = self._find(context.run)
            self._log_as(context.run.logs)
            # What a module sets on import, later jobs see as well; what a handler sets, they do not.
            result = copy_context().run(self._call, do_work, context)
            if forked.depth != self._depth:
                forked.end_child(None)
            if result is not None or context.give is not None:
                outcome = of_result(context, result)
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises fails its job and nothing else
            if forked.depth != self._depth:
                forked.end_child(error)
            outcome = of_exception(context, error)
        return outcome

    def _call(self, do_work: Callable[[Context, Job], object], context: ChildContext) -> object:
        entered = Entered(partial(_around, name, context.job) for name in context.run.around)
        self._line.send(Began())
        context.started_at = time.monotonic()
        try:
            result = do_work(context, context.job)
            if inspect.isawaitable(result):
                result = asyncio.run(_finished(result))
        except BaseException as error:
            if forked.depth == self._depth:
                entered.leave(error)
            raise
        if forked.depth == self._depth:
            entered.leave(None)
        return result

    def _log_as(self, logs: Logging | None) -> None:
        """Log as the parent does; once all is imported, for what that sets up may stay, or may not."""
        if logs is not None and not self._logs:
            self._logs = True
            log_to_stderr(logs.form, logs.level)

    def _find(self, run: Run) -> Callable[[Context, Job], object]:
        """Give the `do_work` of what the parent named."""
        module, _, path = run.entry.partition(":")
        try:
            with importing():
                found: object = self._script(run.main) if module == "__main__" else importlib.import_module(module)
            for name in path.split("."):
                found = getattr(found, name)
            do_work = getattr(found, "do_work", None)
        except BaseException as error:
            raise UsageError(
                f"expected {run.entry!r} to name what has do_work(ctx, job) and can be imported in a child process, "
                f"but there: {describe(error)}"
            ) from error
        if do_work is None:
            kind = type(found).__name__
            raise UsageError(
                f"expected {run.entry!r} to be a task, or else what has do_work(ctx, job), but it is a {kind}; let its "
                "module have the task itself under its function's name, as a decorator does"
            )
        return cast("Callable[[Context, Job], object]", do_work)

    def _script(self, main: Program) -> ModuleType:
        """Give what the parent runs as `__main__`, without its being the main program here."""
        if main.name:
            return importlib.import_module(main.name)
        if not main.path:
            raise UsageError("the parent's __main__ is no file (it was typed in, or came from a pipe)")
        if self._main is None:
            loader = SourceFileLoader(_MAIN, main.path)
            spec = importlib.util.spec_from_file_location(_MAIN, main.path, loader=loader)
            if spec is None:
                raise UsageError(f"expected a script at {main.path!r}")
            module = importlib.util.module_from_spec(spec)
            before = sys.modules["__main__"]
            sys.modules[_MAIN] = sys.modules["__main__"] = module
            try:
                loader.exec_module(module)
            except BaseException:
                sys.modules["__main__"] = before
                del sys.modules[_MAIN]
                raise
            self._main = module
        return self._main


def _around(name: str, job: Job) -> AbstractContextManager[object]:
    """Give what an observer in the parent wants around the job: see `Observer.in_child`."""
    module, _, function = name.partition(":")
    found: object = getattr(importlib.import_module(module), function)
    return cast("Callable[[Job], AbstractContextManager[object]]", found)(job)


async def _finished(result: Awaitable[object]) -> object:
    return await result
