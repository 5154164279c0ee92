"""Runs isolated jobs: each in a child process, which may crash, hang or be killed and harms nobody else."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, cast

import msgspec

from workqueue import stderr
from workqueue.context import Context
from workqueue.errors import ChildDied, TimedOut
from workqueue.executor.messages import Began, Ended, Line, Program, Progress, Run, Stop, ToParent, to_parent
from workqueue.executor.observed import observed
from workqueue.executor.outcome import not_started
from workqueue.executor.threads import ThreadExecutor
from workqueue.job import Claim, Job
from workqueue.lifecycle import HandedBack, Outcome
from workqueue.observer import NOBODY, Observers

_LOOK_SECONDS: Final = 0.2  # between looks at a child that runs a job: whether it lives, and how large it is
_START_SECONDS: Final = 60.0  # for a child to start and to import what it runs; only then the timeout begins
_END_SECONDS: Final = 1.0  # for an idle child to end by itself
_NEVER: Final = float("inf")
_MIB: Final = 1024 * 1024
_PROGRAM: Final = (  # the path first: until then `import` would look into the current directory
    "import sys; sys.path[:] = sys.argv.pop().split('\\n'); from workqueue.executor.child import main; main()"
)


class Child:
    """One child process. `kill` is safe from any thread; the rest is for who runs a job in it.

    It is in a session of its own: Ctrl-C is for the parent, and what it starts can be killed with it.
    """

    def __init__(self) -> None:
        ours, theirs = map(_beyond_streams, socket.socketpair())
        with theirs:
            try:
                self.process = subprocess.Popen(  # noqa: S603 - this Python, and a program of ours
                    [sys.executable, "-c", _PROGRAM, str(theirs.fileno()), str(os.getpid()), sys.argv[0], _path()],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        self.line: Line[ToParent] = Line(ours, to_parent)
        self.jobs = 0
        self.has_begun = False
        self._ending = threading.Lock()

    def has_ended(self) -> bool:
        """Say whether it has. It is not buried by that: its pid is still its own."""
        return self._look(os.WNOHANG)

    def resident(self) -> int:
        """Give the bytes of memory it takes; 0 where the system does not say."""
        try:
            return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        except (OSError, IndexError):
            return 0

    def kill(self) -> None:
        """Kill it, and what it has started."""
        with self._ending:
            if self.process.returncode is None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.process.pid, signal.SIGKILL)

    def bury(self) -> int:
        """Kill it and wait until it is gone; give its exit code, or the signal below zero that had ended it before."""
        self.kill()
        self._look(0)
        with self._ending:  # whoever kills it meanwhile must not hit another process of this pid
            code = self.process.wait()
        self.line.close()
        return code

    def dismiss(self, until: float) -> None:
        """Let an idle one end by itself, which it does when its line is closed, or kill it then."""
        self.line.close()
        try:
            self.process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.bury()

    def _look(self, how: int) -> bool:
        if not hasattr(os, "waitid"):  # an older Python on macOS
            return (self.process.wait() if how == 0 else self.process.poll()) is not None
        try:
            return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT | how) is not None
        except ChildProcessError:  # buried; or somebody in this program waits for any child there is
            return True


class _DiedIdle(ChildDied):
    """It was killed while it had no job, and the next one had nothing to do with that."""


class ChildExecutor:
    """See `Executor`. `interrupt` kills the child, and so does the job's timeout: `abandoned` is always 0.

    At most `processes` children, started when needed and kept. max_jobs: a child is replaced after so many. max_memory:
    and when it takes more bytes than that after a job; during one it is killed (where there is /proc).

    A thread here speaks with the child of each job that runs, so these are the jobs of a `ThreadExecutor`.
    """

    def __init__(
        self,
        *,
        processes: int,
        max_jobs: int | None,
        max_memory: int | None,
        enough: int,
        ready: Callable[[], None],
        ended: Callable[[Context], None] | None = None,
        observers: Observers = NOBODY,
    ) -> None:
        self._around = observers.in_children
        self._max_jobs = max_jobs
        self._max_memory = max_memory
        self._main = _main_program()
        self._lock = threading.Lock()
        self._idle: list[Child] = []
        self._running: dict[Context, Child] = {}
        self._busy = 0
        self._closed = False
        self._threads = ThreadExecutor(
            observed(self._run, observers, is_isolated=True),
            concurrency=processes,
            enough=enough,
            ready=ready,
            ended=ended,
            keeps_time=False,
        )

    def submit(self, contexts: Iterable[Context]) -> None:
        self._threads.submit(contexts)

    def collect(self) -> list[tuple[Context, Outcome]]:
        return self._threads.collect()

    def finished(self) -> int:
        return self._threads.finished()

    def is_pressing(self) -> bool:
        return self._threads.is_pressing()

    def halt(self) -> None:
        self._threads.halt()

    def take_back(self) -> list[Context]:
        return self._threads.take_back()

    def interrupt(self, context: Context) -> None:
        context.abandoned = True
        with self._lock:
            child = self._running.get(context)
        if child is not None:
            child.kill()

    def capacity(self) -> int:
        return self._threads.capacity()

    def abandoned(self) -> int:
        return 0

    def owns_current_thread(self) -> bool:
        return self._threads.owns_current_thread()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            children, self._idle = self._idle, []
            last = not self._busy
        _dismiss(children)
        # The system kills a child when the very thread that started it ends, so threads stay until all children went.
        if last:
            self._threads.close()

    # on a thread for each running job

    def _run(self, context: Context, job: Job) -> object:
        del job
        context.give = _told  # by the child, which has asked the handler's own
        with self._lock:
            self._busy += 1
        try:
            while True:
                child = self._take()
                try:
                    return self._run_in(child, context)
                except _DiedIdle:
                    continue
                except ChildDied:
                    if context.abandoned:
                        return HandedBack()
                    raise
        finally:
            with self._lock:
                self._busy -= 1
                last = self._closed and not self._busy
            if last:
                self._threads.close()

    def _take(self) -> Child:
        dead: list[Child] = []
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if not child.has_ended():
                    break
                dead.append(child)
            else:
                child = None
        for one in dead:
            one.bury()
        if child is not None:
            return child
        try:
            return Child()
        except OSError as error:  # no memory, too many processes
            raise not_started(error) from error

    def _run_in(self, child: Child, context: Context) -> Outcome:
        with self._lock:
            self._running[context] = child
        if context.abandoned:
            child.kill()
        is_well = False
        try:
            outcome = self._converse(child, context)
            is_well = True
            return outcome
        finally:
            with self._lock:
                del self._running[context]
            child.jobs += 1 if child.has_begun else 0
            self._put_back(child, is_well=is_well)

    def _put_back(self, child: Child, *, is_well: bool) -> None:
        if not is_well:
            child.bury()
            return
        used_up = (self._max_jobs is not None and child.jobs >= self._max_jobs) or (
            self._max_memory is not None and child.resident() > self._max_memory
        )
        with self._lock:
            used_up = used_up or self._closed
            if not used_up:
                self._idle.append(child)
        if used_up:
            _dismiss([child])

    def _converse(self, child: Child, context: Context) -> Outcome:
        """Have the job run there. Raises ChildDied or TimedOut; then the child is of no use any more."""
        child.has_begun = False
        timeout = context.timeout
        deadline = _NEVER if timeout is None else time.monotonic() + timeout + _START_SECONDS
        child.line.send(Run(_seen(context), context.entry, timeout, self._main, self._around, stderr.said))
        context.when_cancelled(partial(self._pass_on, context))
        while True:
            ended = child.has_ended()  # asked first: what it said before is read below
            try:
                messages = child.line.receive()
            except ValueError as error:
                raise ChildDied(f"the child process wrote into its line to the queue: {error}", None) from error
            for message in messages:
                match message:
                    case Began():
                        child.has_begun = True
                        context.started_at = time.monotonic()
                        deadline = _NEVER if timeout is None else context.started_at + timeout
                    case Progress(data):
                        context.progress_data = data
                    case Ended():
                        return message.outcome
            if ended:
                code = child.bury()
                # Where the job had begun, that was said before the end, and has been read.
                if child.jobs and not child.has_begun and not context.abandoned:
                    raise _DiedIdle("the child process had ended before it was given the job", code)
                raise _death(code)
            if time.monotonic() >= deadline:
                child.kill()
                raise TimedOut(timeout or 0)
            self._check_memory(child)
            if child.line.is_over:  # dead in a moment, or a handler closed what it did not open
                _await_end(child)
                continue
            child.line.wait(min(_LOOK_SECONDS, deadline - time.monotonic()))

    def _pass_on(self, context: Context) -> None:
        """Tell the child that its job is cancelled; not one that has another job by now."""
        with self._lock:
            child = self._running.get(context)
            if child is not None:
                child.line.send(Stop(context.deadline, context.cancel_requested))

    def _check_memory(self, child: Child) -> None:
        most = self._max_memory
        if most is not None and (taken := child.resident()) > most:
            child.kill()
            raise ChildDied(
                f"the child process took {taken / _MIB:,.0f} MiB of memory, which is more than max_memory "
                f"({most / _MIB:,.0f} MiB), and was killed",
                -signal.SIGKILL,
            )


def _seen(context: Context) -> Claim:
    """Give the claim with what its observers let the child see of its headers."""
    claim, run = context.claim, context.observed
    if run is None:
        return claim
    return msgspec.structs.replace(claim, job=msgspec.structs.replace(claim.job, headers=run.headers))


def _told(outcome: object) -> Outcome:
    return cast("Outcome", outcome)


def _death(code: int) -> ChildDied:
    if code >= 0:
        return ChildDied(f"the child process ended with exit code {code} while it ran the job", code)
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    hint = " (the system sends it when memory runs out)" if -code == signal.SIGKILL else ""
    return ChildDied(f"the child process ended with signal {name} while it ran the job{hint}", code)


def _await_end(child: Child) -> None:
    until = time.monotonic() + _END_SECONDS
    while not child.has_ended():
        if time.monotonic() > until:
            raise ChildDied("the child process closed its line to the queue, and was killed", None)
        time.sleep(0.001)


def _dismiss(children: Iterable[Child]) -> None:
    children = list(children)
    for child in children:
        child.line.close()  # all at once
    until = time.monotonic() + _END_SECONDS
    for child in children:
        child.dismiss(until)


def _beyond_streams(end: socket.socket) -> socket.socket:
    """Give it a descriptor that is no standard stream's, where this process has closed one of its own."""
    if end.fileno() > 2:
        return end
    with end:
        return socket.socket(fileno=fcntl.fcntl(end.fileno(), fcntl.F_DUPFD_CLOEXEC, 3))


def _path() -> str:
    return "\n".join(os.path.abspath(entry) for entry in sys.path)


def _main_program() -> Program:
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return Program(name=spec.name)
    path = getattr(main, "__file__", None)
    return Program(path=os.path.abspath(path)) if isinstance(path, str) else Program()
