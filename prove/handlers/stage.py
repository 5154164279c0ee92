"""A stage: one folder with a queue's file, and the worker processes that are started on it one after another."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import workqueue
from workqueue import Job, JobNotFound, JobStatus, Queue

from prove.handlers.table import Row
from prove.journal import Journal, Pushed, Vanished, read

ROOT: Final = Path(__file__).resolve().parents[2]
PATIENCE: Final = 30.0  # seconds after which something that should come about is said not to


def until(condition: Callable[[], bool], patience: float = PATIENCE) -> bool:
    """Wait until it is so, in another process; False when that took too long."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


class Lines:
    """What comes out of a pipe, read by a thread so that whoever writes is never held up."""

    def __init__(self, source: int) -> None:
        self._seen: list[str] = []
        self._more = threading.Condition()
        threading.Thread(target=self._read, args=(source,), daemon=True).start()

    def _read(self, source: int) -> None:
        with os.fdopen(source, encoding="utf-8", errors="replace") as file, suppress(ValueError, OSError):
            for line in file:
                with self._more:
                    self._seen.append(line.rstrip("\n"))
                    self._more.notify_all()

    def wait(self, text: str, times: int = 1, patience: float = PATIENCE) -> bool:
        """Wait until so many lines have the text; False when that took too long."""
        with self._more:
            return self._more.wait_for(lambda: sum(text in line for line in self._seen) >= times, patience)

    def tail(self) -> list[str]:
        with self._more:
            return self._seen[-6:]


class Worker:
    """One `workqueue run`, in a session of its own so that whatever it leaves behind is seen and ended with it."""

    def __init__(self, folder: Path, executor: str, *, gated: bool, tame: bool, options: dict[str, object]) -> None:
        told, tells = os.pipe()
        gate, self._open = os.pipe()
        log, logs = os.pipe()
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(Path(workqueue.__file__).parents[1]), str(ROOT)]),
            "PYTHONWARNINGS": "ignore",
            "PYTHONUNBUFFERED": "1",
            "PROVE_FILE": str(folder / "jobs.db"),
            "PROVE_JOURNAL": str(folder / "journal"),
            "PROVE_EXECUTOR": executor,
            "PROVE_EVENTS": str(tells),
            "PROVE_GATE": str(gate if gated else -1),
            "PROVE_TAME": "1" if tame else "",
            **{f"PROVE_{name.upper()}": str(value) for name, value in options.items()},
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workqueue", "run", "prove.handlers.program:queue"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=logs,
            pass_fds=[tells, gate],
            start_new_session=True,
        )
        for end in (tells, gate, logs):
            os.close(end)
        self.events, self.log = Lines(told), Lines(log)
        self.vanished = False

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def freeze(self) -> None:
        """Stop it, and let it go on once it surely stood still."""
        self.send(signal.SIGSTOP)
        until(lambda: self._state() in "TZX")
        self.send(signal.SIGCONT)

    def _state(self) -> str:
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return "X"

    def open_gate(self, times: int) -> None:
        with suppress(BrokenPipeError):
            os.write(self._open, b"." * times)

    def code(self, patience: float = PATIENCE) -> int | None:
        """Wait for its end; give its exit code, or None when it does not end."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            return None

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def left_behind(self) -> bool:
        """Say whether processes of its session outlive it, and end them."""
        alive = any(map(self._is_left_behind, Path("/proc").glob("[0-9]*/stat")))
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return alive

    def _is_left_behind(self, stat: Path) -> bool:
        try:
            state, _, group, *_ = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return False
        return int(group) == self.pid and state not in "ZX"  # the dead wait for init to bury them

    def end(self) -> None:
        self.left_behind()
        self.process.kill()
        self.process.wait()
        with suppress(OSError):
            os.close(self._open)


class Stage:
    """See the module. The journal has what was pushed, begun and ended, and who vanished with jobs in hand."""

    def __init__(self, executor: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="prove-handlers-"))
        self.executor = executor
        self.queue = Queue(self.folder / "jobs.db", poll_rate=0.02)
        self.journal = Journal(self.folder / "journal")
        self.workers: list[Worker] = []

    def start(self, *, gated: bool = False, tame: bool = False, concurrency: int, lease: float, grace: float) -> Worker:
        options: dict[str, object] = {"concurrency": concurrency, "lease": lease, "grace": grace}
        self.workers.append(Worker(self.folder, self.executor, gated=gated, tame=tame, options=options))
        return self.workers[-1]

    def push(self, *rows: Row | None) -> list[int]:
        """Push a job for each row, and a plain one for each None, all at once."""
        with self.queue.transaction():
            ids = [
                self.queue.push_bytes("plain" if row is None else row.name, row.data if row else b"") for row in rows
            ]
        self.journal.note(*(Pushed(at=time.monotonic_ns() // 1000, job=job_id) for job_id in ids))
        return ids

    def job(self, job_id: int) -> Job | None:
        try:
            return self.queue.get(job_id)
        except JobNotFound:
            return None

    def is_settled(self, job_id: int) -> bool:
        job = self.job(job_id)
        return job is None or job.status in (JobStatus.FAILED, JobStatus.CANCELLED)

    def running(self) -> list[Job]:
        return self.queue.jobs(status=JobStatus.RUNNING)

    def blame(self, worker: Worker, why: str) -> None:
        """Note that it went with jobs in hand, so that others may take over."""
        if not worker.vanished:
            worker.vanished = True
            self.journal.note(Vanished(at=time.monotonic_ns() // 1000, by=str(worker.pid), why=why))

    def events(self) -> list[object]:
        return list(read(self.folder / "journal"))

    def close(self) -> None:
        for worker in self.workers:
            worker.end()
        self.queue.close()
        self.journal.close()
        shutil.rmtree(self.folder, ignore_errors=True)
