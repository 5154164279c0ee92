"""A machine whose wall clock can be set: a file that all its processes share, and the processes themselves.

The clock runs as the monotonic one does, from an offset that may be stepped at any instant; or it stands still. Each
process reads one slot of the file, so that all can have one clock, or each its own.
"""

from __future__ import annotations

import json
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import workqueue
from workqueue import Job, JobNotFound, JobStatus, Queue
from workqueue import queue as queue_module
from workqueue.store.clock import Clock, instant, micros
from workqueue.store.sqlite.engine import SqliteStore

from prove.journal import AnyEvent, Forgiven, Journal, Pushed, Vanished, read

ROOT: Final = Path(__file__).resolve().parents[2]
START: Final = 1_700_000_000_000_000  # microseconds since 1970, when the machine is switched on
PATIENCE: Final = 30.0  # seconds after which something that should come about is said not to
_SLOTS: Final = 4
_SLOT: Final = struct.Struct("qq")  # offset; 0, or the instant at which the clock stands still

_INSTANT: Final = struct.Struct("q")

_opening = threading.Lock()


def since_boot() -> int:
    """Give microseconds by a clock that nobody sets."""
    return time.monotonic_ns() // 1000


class WallClock:
    """One slot of a clock file, as a store's clock."""

    def __init__(self, path: Path, slot: int = 0) -> None:
        if not path.exists():
            path.write_bytes(_SLOT.pack(START - since_boot(), 0) * _SLOTS + _INSTANT.pack(START))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._at = slot * _SLOT.size

    def __call__(self) -> int:
        offset, still = _SLOT.unpack_from(self._map, self._at)
        return still or since_boot() + offset

    def furthest(self) -> int:
        """Give the latest instant that it ever showed: what was due then stays due when the clock is set back."""
        (found,) = _INSTANT.unpack_from(self._map, _SLOTS * _SLOT.size)
        return max(found, self())

    def step(self, by: timedelta) -> None:
        _INSTANT.pack_into(self._map, _SLOTS * _SLOT.size, self.furthest())
        offset, _ = _SLOT.unpack_from(self._map, self._at)
        _SLOT.pack_into(self._map, self._at, offset + micros(by), 0)

    def stand_still(self) -> None:
        offset, _ = _SLOT.unpack_from(self._map, self._at)
        _SLOT.pack_into(self._map, self._at, offset, self())

    def go_on(self) -> None:
        """From where it stood."""
        offset, still = _SLOT.unpack_from(self._map, self._at)
        _SLOT.pack_into(self._map, self._at, still - since_boot() if still else offset, 0)


def open_queue(path: Path, clock: Clock, kind: type[SqliteStore] = SqliteStore, **options: object) -> Queue:
    """Open a Queue whose store is of this kind, and has this clock."""
    with _opening:
        before = queue_module.open_store
        queue_module.open_store = lambda path, **more: kind(path, **(more | {"clock": clock}))  # type: ignore
        try:
            return Queue(path, **options)  # type: ignore[arg-type]
        finally:
            queue_module.open_store = before


class Process:
    """A worker process of the machine (`program.py`); `runner` is its runner's id."""

    def __init__(self, folder: Path, *, slot: int = 0, **options: object) -> None:
        told, tells = os.pipe()
        self._log = (folder / "log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "prove.time_faults.program", folder, str(slot), str(tells), json.dumps(options)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(workqueue.__file__).parents[1]), str(ROOT)])},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            pass_fds=[tells],
        )
        os.close(tells)
        self._lines: list[str] = []
        self._more = threading.Condition()
        threading.Thread(target=self._read, args=(told,), daemon=True).start()
        if not self.wait("runs "):
            self.kill()
            raise RuntimeError((folder / "log").read_text()[-2000:])
        self.runner = next(line.split()[1] for line in self._lines if line.startswith("runs "))

    def _read(self, told: int) -> None:
        with os.fdopen(told) as file, suppress(OSError, ValueError):
            for line in file:
                with self._more:
                    self._lines.append(line.strip())
                    self._more.notify_all()

    def count(self, text: str) -> int:
        with self._more:
            return sum(line.startswith(text) for line in self._lines)

    def wait(self, text: str, times: int = 1, patience: float = PATIENCE) -> bool:
        """Wait until it has said so so often; False when that took too long."""
        with self._more:
            return self._more.wait_for(lambda: sum(line.startswith(text) for line in self._lines) >= times, patience)

    def wait_more(self, text: str, times: int, patience: float = PATIENCE) -> bool:
        """Wait until it has said so so often from now on."""
        return self.wait(text, self.count(text) + times, patience)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def freeze(self) -> None:
        """Stop it where it is in no commit, so that it keeps nobody else from the file."""
        self.process.send_signal(signal.SIGUSR1)
        until(lambda: Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Let it drain."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()

    def close(self) -> None:
        self.kill()
        self._log.close()


class Machine:
    """A folder with a queue's file, a clock, a journal, and processes that work."""

    def __init__(self, *, timing: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="prove-time-"))
        self.clock = WallClock(self.folder / "clock")
        self.journal = Journal(self.folder / "journal")
        self.timing = timing
        self.queue = open_queue(self.folder / "jobs.db", self.clock, timing=timing, poll_rate=0.02)
        self.processes: list[Process] = []
        self.steps = self.suspensions = 0

    def start(self, *, slot: int = 0, lease: float = 2, concurrency: int = 16) -> Process:
        options = {"lease": lease, "concurrency": concurrency, "timing": self.timing}
        self.processes.append(Process(self.folder, slot=slot, **options))
        return self.processes[-1]

    def step(self, by: timedelta) -> None:
        self.steps += 1
        self.clock.step(by)

    def push(self, name: str, data: object = None, *, run_at: datetime | None = None, delay: float = 0) -> int:
        with self.queue.transaction():  # the id is noted before anybody can see the job
            if run_at is None:
                job_id = self.queue.push_after(name, data, delay)
            else:
                job_id = self.queue.push(name, data, run_at=run_at)
            self.journal.note(Pushed(at=since_boot(), job=job_id))
        return job_id

    def status(self, job_id: int) -> JobStatus:
        try:
            return self.queue.get(job_id).status
        except JobNotFound:
            return JobStatus.COMPLETED

    def jobs(self) -> list[Job]:
        return self.queue.jobs(limit=100_000)

    def now(self) -> datetime:
        return instant(self.clock())

    def forgive(self, job_id: int) -> None:
        """Take the job out, as a person does."""
        self.queue.cancel(job_id)
        self.queue.clean_cancelled_jobs()
        self.journal.note(Forgiven(at=since_boot(), job=job_id))

    def blame(self, process: Process, why: str) -> None:
        self.journal.note(Vanished(at=since_boot(), by=process.runner, why=why))

    def events(self) -> list[AnyEvent]:
        return list(read(self.folder / "journal"))

    def lines(self, name: str) -> list[list[str]]:
        """Give what the processes wrote down in a file of that name."""
        path = self.folder / name
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def robbed(self) -> list[str]:
        """Say which jobs were taken from runners that lived."""
        vanished: Collection[str] = {event.by for event in self.events() if isinstance(event, Vanished)}
        return [f"job {job} was taken from runner {by}" for job, by in self.lines("rescued") if by not in vanished]

    def release(self) -> None:
        """Let the jobs that hold on end."""
        (self.folder / "release").touch()

    def close(self) -> None:
        for process in self.processes:
            process.close()
        self.queue.close()
        self.journal.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def until(condition: Callable[[], bool], patience: float = PATIENCE) -> bool:
    """Wait until it is so, in other processes; False when that took too long."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
