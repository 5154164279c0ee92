"""The nursery: a process that has imported everything, and forks each program from there; a start costs 10 ms, not 300.

It runs as `python -m prove.crash.nursery`. Lines in: a Part each. Lines out: `born SLOT PID`, `dead PID STATUS`, and
whatever its programs say on their standard output. It adopts what dead programs leave behind, so that nothing is
forgotten; when its input ends, so does everything it started.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final

from prove.crash import programs
from prove.crash.part import SERVICE, Part, decode

_PR_SET_CHILD_SUBREAPER: Final = 36
_TRACER_PATIENCE: Final = 5.0  # seconds


def main() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _nothing)
    buffered = b""
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            with suppress(BlockingIOError):
                os.read(woken, 4096)
            _bury()
        if 0 in ready:
            more = os.read(0, 65536)
            if not more:
                break
            *lines, buffered = (buffered + more).split(b"\n")
            for line in lines:
                _bear(decode(line), (woken, wake))
    _end_all()


def _bear(part: Part, pipes: tuple[int, int]) -> None:
    pid = os.fork()
    if pid:
        programs.say("born", part.slot, pid)
        if part.tracer:
            _attach([*part.tracer, "-p", str(pid)])
        return
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for end in pipes:
            os.close(end)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.setpgid(0, 0)
        log = os.open(part.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(log, 2)
        os.close(log)
        if part.kind == "pair":
            os.environ[SERVICE] = part.encode()
            command = [sys.executable, "-m", "workqueue", "run", "--processes", "2", "--grace", "1s",
                       part.service]  # fmt: skip
            os.execvp(command[0], command)
        if part.tracer:
            _wait_for_tracer()
        module, _, function = part.by.partition(":")
        code = getattr(importlib.import_module(module), function)(part)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


def _attach(command: list[str]) -> None:
    if os.fork() == 0:
        nothing = os.open(os.devnull, os.O_RDWR)
        for end in range(3):
            os.dup2(nothing, end)
        with suppress(OSError):
            os.execvp(command[0], command)
        os._exit(71)


def _wait_for_tracer() -> None:
    """Go on once somebody traces this process; or untraced, should nobody come."""
    until = time.monotonic() + _TRACER_PATIENCE
    while "\nTracerPid:\t0\n" in Path("/proc/self/status").read_text() and time.monotonic() < until:
        time.sleep(0.001)


def _bury() -> None:
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            programs.say("dead", ended[0], os.waitstatus_to_exitcode(ended[1]))


def _end_all() -> None:
    """Kill until nothing is left: who dies may leave us its own children."""
    with suppress(ChildProcessError):
        while True:
            for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)
            os.waitpid(-1, 0)


def _nothing(number: int, frame: FrameType | None) -> None:
    """Take the signal, so that the interpreter writes its byte."""


if __name__ == "__main__":
    main()
