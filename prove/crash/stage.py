"""Stage: the processes of one unit, as the driver sees and hurts them."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import workqueue

from prove.crash.part import Part, now
from prove.journal import Journal, Vanished

ROOT: Final = Path(__file__).resolve().parents[2]
_PATIENCE: Final = 30.0  # seconds for a process to be born or to die


class Actor:
    """One process. runners: the names that it, or the worker processes under it, announced, with their process."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.pid = 0
        self.born_at = now()
        self.killed_at = 0
        self.dead_at = 0
        self.status: int | None = None
        self.runners: list[tuple[int, str]] = []
        self.wanted = ""  # "killed", "stopped": by the driver
        self.frozen_until = 0.0
        self.is_asked = False  # to end
        self.hurt_at = 0  # when it was first stopped or frozen: from then on, it did not work all the time

    @property
    def is_up(self) -> bool:
        return bool(self.runners)


class Possessions(NamedTuple):
    """What a process has at one moment."""

    pid: int
    files: int
    threads: int


class Stage:
    """See the module. actors: who plays now, by role; all: who ever did."""

    def __init__(self, folder: Path, journal: Path, paths: list[Path]) -> None:
        self.journal = Journal(journal)
        self.actors: dict[str, Actor] = {}
        self.all: list[Actor] = []
        self.stillness = 0.0  # seconds that who freezes by its own hand stands still
        self.frozen: dict[int, float] = {}  # by their own hand: process → when to let it go on, monotonic
        self._by_pid: dict[int, Actor] = {}
        self._by_slot: dict[str, Actor] = {}
        self._said = b""
        self._log = (folder / "nursery.log").open("ab")
        search = [str(Path(workqueue.__file__).parents[1]), str(ROOT), *map(str, paths)]
        self._nursery = subprocess.Popen(
            [sys.executable, "-m", "prove.crash.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(search), "PYTHONWARNINGS": "ignore"},
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.close()  # then it ends all that it started, and what those left behind
        try:
            self._nursery.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._nursery.kill()
            self._nursery.wait()
        self._nursery.stdout.close()
        self._log.close()
        self.journal.close()

    def start(self, role: str, part: Part) -> Actor:
        """Let a new process play the role. Its slot must be new."""
        assert self._nursery.stdin is not None
        actor = self.actors[role] = self._by_slot[part.slot] = Actor(part)
        self.all.append(actor)
        self._nursery.stdin.write(part.encode().encode() + b"\n")
        self._nursery.stdin.flush()
        self._until(lambda: actor.pid != 0)
        return actor

    def listen(self, seconds: float) -> None:
        """Hear what is said within so long; let go on who has stood still for long enough."""
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            nearest = min([left, *(at - time.monotonic() for at in self._thaws())])
            self._hear(max(0.0, nearest))
            self._thaw(time.monotonic())
            if left <= 0:
                return

    def kill(self, actor: Actor, *, only: int = 0) -> None:
        """Kill it and see it dead; `only` one of the worker processes under it."""
        actor.wanted = actor.wanted or "killed"
        if only:
            self._note_vanished(actor, only, "killed")
            self._send(only, signal.SIGKILL)
            return
        actor.killed_at = now()
        self._send(actor.pid, signal.SIGKILL)
        self.bury(actor)

    def children(self, pid: int) -> list[int]:
        """Give the processes that a program has started."""
        found: list[int] = []
        with suppress(OSError):  # it ends meanwhile
            for thread in Path(f"/proc/{pid}/task").iterdir():
                found += map(int, (thread / "children").read_text().split())
        return sorted(found)

    def kill_child(self, name: str, pid: int) -> None:
        """Kill a process that a program has started, and that the journal knows by this name."""
        self.journal.note(Vanished(at=now(), by=name))
        self._send(pid, signal.SIGKILL)

    def bury(self, actor: Actor) -> bool:
        """Wait until it is dead; False when it does not die."""
        return self._until(lambda: actor.status is not None)

    def stop(self, actor: Actor, number: int = signal.SIGTERM) -> None:
        """Ask it to end, or to begin anew; others may take over what it holds from now on."""
        if number == signal.SIGTERM:
            actor.is_asked = True
            actor.wanted = actor.wanted or "stopped"
        actor.hurt_at = actor.hurt_at or now()
        self._note_vanished(actor, 0, "stopped")
        self._send(actor.pid, number)

    def freeze(self, actor: Actor, seconds: float) -> None:
        actor.hurt_at = actor.hurt_at or now()
        actor.frozen_until = time.monotonic() + seconds
        self._send(actor.pid, signal.SIGSTOP)

    def thaw_all(self) -> None:
        self._thaw(float("inf"))

    def ask_for_its_stacks(self, pid: int) -> None:
        """Let a program write down where its threads are."""
        self._send(pid, signal.SIGUSR1)

    def possessions(self, actor: Actor) -> Possessions:
        there = Path(f"/proc/{actor.pid}")
        return Possessions(actor.pid, len(list((there / "fd").iterdir())), len(list((there / "task").iterdir())))

    # inside

    def _thaws(self) -> list[float]:
        return [*self.frozen.values(), *(a.frozen_until for a in self.actors.values() if a.frozen_until)]

    def _thaw(self, at: float) -> None:
        for actor in self.actors.values():
            if actor.frozen_until and actor.frozen_until <= at:
                actor.frozen_until = 0.0
                self._send(actor.pid, signal.SIGCONT)
        for pid, until in list(self.frozen.items()):
            if until <= at:
                # It says so just before it stops: what comes too early is lost, so look whether it stands.
                if _state(pid) == "T":
                    self._send(pid, signal.SIGCONT)
                    del self.frozen[pid]
                elif _state(pid) in "XZ":
                    del self.frozen[pid]
                else:
                    self.frozen[pid] = time.monotonic() + 0.01

    def _until(self, condition: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._hear(0.1)
        return True

    def _hear(self, seconds: float) -> None:
        assert self._nursery.stdout is not None
        ready, _, _ = select.select([self._nursery.stdout], [], [], seconds)
        if not ready:
            return
        said = os.read(self._nursery.stdout.fileno(), 65536)
        if not said:
            raise RuntimeError("the nursery ended by itself")
        *lines, self._said = (self._said + said).split(b"\n")
        for line in lines:
            self._heed(line.decode().split())

    def _heed(self, words: list[str]) -> None:
        match words:
            case ["born", slot, pid]:
                self._by_slot[slot].pid = int(pid)
                self._by_pid[int(pid)] = self._by_slot[slot]
            case ["up", slot, pid, name]:
                actor = self._by_slot[slot]
                actor.runners.append((int(pid), name))
                if actor.status is not None:  # a worker process whose parent is dead already
                    self._note_vanished(actor, int(pid), "orphaned")
            case ["frozen", pid]:
                for actor in self._by_pid.values():
                    if actor.pid == int(pid):
                        actor.hurt_at = actor.hurt_at or now()
                self.frozen[int(pid)] = time.monotonic() + self.stillness
            case ["dead", pid, status]:
                self.frozen.pop(int(pid), None)
                actor = self._by_pid.pop(int(pid), None)
                if actor is not None:
                    actor.status = int(status)
                    actor.dead_at = now()
                    actor.frozen_until = 0.0
                    self._note_vanished(actor, 0, actor.wanted or "killed")
            case _:
                raise RuntimeError(f"expected born, up, frozen or dead, got: {words}")

    def _note_vanished(self, actor: Actor, pid: int, why: str) -> None:
        names = [name for process, name in actor.runners if not pid or process == pid]
        if names:
            at = actor.killed_at or now()
            self.journal.note(*(Vanished(at=at, by=name, why=why) for name in names))

    def _send(self, pid: int, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"
