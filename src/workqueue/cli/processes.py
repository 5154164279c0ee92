"""Several worker processes: started, kept alive, told to end. The parent imports nothing of the user's.

Each child holds the end of a pipe, its leash: the parent writes the level to end at (see `run`), and a parent that is
killed lets go of it, whereupon the children drain by themselves.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial
from typing import Final, TypeAlias

from workqueue.backoff import Backoff
from workqueue.cli.codes import Code
from workqueue.cli.inbox import Inbox
from workqueue.cli.listening import Ask, Listener
from workqueue.cli.notifying import Manager
from workqueue.cli.probing import Place, Several
from workqueue.cli.run import DRAIN, NOW
from workqueue.logs import Log

log = Log("workqueue.cli")

_MOST_DEATHS: Final = 10
_WITHIN: Final = 60.0  # seconds
_PAUSE: Final = Backoff(min=timedelta(milliseconds=100), max=timedelta(seconds=30))


class _Child:
    """One place for a process, and who holds it now."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: subprocess.Popen[bytes] | None = None
        self.leash = -1
        self.place = Place(number)
        self.started = 0.0
        self.deaths = 0  # in a row
        self.restart_at = 0.0

    def tell(self, level: int) -> None:
        with suppress(BrokenPipeError):  # it is dead already
            os.write(self.leash, bytes([level]))


_BEAT: Final = 0
_Event: TypeAlias = int | _Child
"""A level to end at, or a child that ended; _BEAT: the service manager is to hear that all is well."""


class Processes:
    """See the module. command: what follows `workqueue run` in a child. listen: makes what answers probes."""

    def __init__(
        self,
        command: Sequence[str],
        count: int,
        manager: Manager,
        *,
        listen: Callable[[Ask], Listener] | None = None,
    ) -> None:
        # -P: else the current folder stands before Python's own modules, which it does not in one process alone.
        self._command = [sys.executable, "-P", "-m", "workqueue", "run", *command]
        self._children = [_Child(number) for number in range(1, count + 1)]
        self._probes = Several([child.place for child in self._children])
        self._listener = None if listen is None else listen(self._probes.ask)
        self._manager = manager
        self._events: Inbox[_Event] = Inbox()
        self._died: deque[float] = deque()
        self._level = 0
        self._code = 0

    def run(self) -> int:
        """Keep the children alive until a signal; give the exit code."""
        self._events.listen(self._events.put)
        if self._listener is not None:
            self._listener.start()
            self._listener.tell()
        self._manager.watch(self._probes.ask, partial(self._events.put, _BEAT))
        log.info("process %d starts %d worker processes", os.getpid(), len(self._children))
        while not self._level or any(child.process for child in self._children):
            self._start_those_due()
            event = self._events.get(self._pause())
            if isinstance(event, _Child):
                self._bury(event)
            elif event == _BEAT:
                self._manager.beat()
            elif event is not None:
                self._reach(event)
        if self._listener is not None:
            self._listener.close()
        return self._code

    def _reach(self, level: int) -> None:
        """Tell the children to end; at the last level, end them."""
        if level <= self._level:
            return
        self._level = level
        self._manager.tell("draining" if level == DRAIN else "handing back what still runs", stopping=True)
        for child in self._children:
            if child.process is not None:
                child.tell(level)
                if level >= NOW:
                    child.process.kill()
        if level >= NOW:
            self._code = Code.INTERRUPTED

    def _pause(self) -> float | None:
        """Give the seconds until a child is to be started again; None when no child is waiting for that."""
        if self._level:
            return None
        waiting = [child.restart_at for child in self._children if child.process is None]
        return max(0.0, min(waiting) - time.monotonic()) if waiting else None

    def _start_those_due(self) -> None:
        for child in self._children:
            if not self._level and child.process is None and child.restart_at <= time.monotonic():
                self._start(child)
                self._tell()

    def _tell(self) -> None:
        running = sum(child.process is not None for child in self._children)
        self._manager.tell(f"runs {running} of {len(self._children)} worker processes")

    def _start(self, child: _Child) -> None:
        child.started = time.monotonic()
        held_by_child, child.leash = os.pipe()
        command, passed = [*self._command, "--leash", str(held_by_child)], [held_by_child]
        with ExitStack() as ours:
            ours.callback(os.close, held_by_child)
            if self._listener is not None or self._manager.listens:
                theirs = ours.enter_context(child.place.open())
                command, passed = [*command, "--probes", str(theirs.fileno())], [*passed, theirs.fileno()]
            try:
                child.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=passed)  # noqa: S603 - no shell
            except OSError as error:
                os.close(child.leash)
                child.place.close()
                self._note_death(child, f"could not be started: {error}")
                return
        watch = threading.Thread(target=self._watch, args=(child, child.process), daemon=True)
        watch.start()

    def _watch(self, child: _Child, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._events.put(child)

    def _bury(self, child: _Child) -> None:
        process, child.process = child.process, None
        os.close(child.leash)
        child.place.close()
        if process is None or (self._level and process.returncode == 0):
            return
        code = process.returncode
        how = f"ended with code {code}" if code >= 0 else f"was ended by {_signal_name(-code)}"
        if code == Code.USAGE and not child.deaths and not self._level:
            log.error("worker process %d (pid %d) %s: trying again will not help", child.number, process.pid, how)
            self._give_up(Code.USAGE)
            return
        self._note_death(child, f"(pid {process.pid}) {how}")

    def _note_death(self, child: _Child, how: str) -> None:
        if self._level:
            log.error("worker process %d %s", child.number, how)
            return
        now = time.monotonic()
        child.deaths = 1 if now - child.started > _WITHIN else child.deaths + 1
        pause = _PAUSE.for_attempt(child.deaths - 1).total_seconds()
        child.restart_at = now + pause
        self._tell()
        log.error("worker process %d %s; starting another in %.1f s", child.number, how, pause)
        self._died.append(now)
        while self._died[0] < now - _WITHIN:
            self._died.popleft()
        if len(self._died) > _MOST_DEATHS:
            log.error("worker processes died %d times within %.0f s: giving up", len(self._died), _WITHIN)
            self._give_up(Code.GAVE_UP)

    def _give_up(self, code: int) -> None:
        self._code = code
        self._reach(DRAIN)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
