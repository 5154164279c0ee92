"""limit=2 over real processes that are killed: never exceeded, and no place is lost with them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from workqueue import Queue

from lines import PATIENCE, Lines

LIMIT = 2
JOBS = 12
KILLS = 4
WORKERS = 3  # so that one is there for what was lost, which runs alone, though the others hold a job each

PROGRAM = """
import os
from workqueue import Backoff, Context, Queue, injected

queue = Queue("jobs.db", concurrency=6, processes=2, poll_rate=0.1)
events = os.open("events", os.O_RDWR)


def hold(ctx, owner):
    # Each in one write: lines of several processes never mix.
    os.write(events, f"began {ctx.job.id} {ctx.job.attempt} {owner} {os.getpid()}\\n".encode())
    while not os.path.exists(f"gate-{ctx.job.id}"):
        ctx.wait(0.01)
    os.write(events, f"ended {ctx.job.id} {ctx.job.attempt} {owner} {os.getpid()}\\n".encode())


@queue.task(name="held", limit=2)
def held(*, ctx: Context = injected) -> None:
    hold(ctx, os.getpid())


@queue.task(name="apart", limit=2, isolated=True, retry=Backoff(min=0, max=0))
def apart(*, ctx: Context = injected) -> None:
    hold(ctx, os.getppid())
"""


class Lane:
    """Workers of one lane: who runs in it just now, by what they say and by whom we killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "app.py").write_text(PROGRAM)
        os.mkfifo(folder / "events")
        self._pipe = os.open(folder / "events", os.O_RDWR)
        self._events = Lines(self._pipe)
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self._log = (folder / "log").open("wb")
        self.ended = 0
        self.running: dict[int, tuple[int, int, int]] = {}  # job → its attempt, the worker, and the process it runs in
        for _ in range(WORKERS):
            self._start()

    def _start(self) -> None:
        command = [sys.executable, "-m", "workqueue", "run", "app:queue"]
        worker = subprocess.Popen(command, cwd=self._folder, stdin=subprocess.DEVNULL, stderr=self._log)
        self._workers[worker.pid] = worker

    def push(self, name: str, count: int) -> None:
        code = f"import app; app.{name}.push_many([()] * {count})"
        subprocess.run([sys.executable, "-c", code], cwd=self._folder, check=True)

    def step(self) -> None:
        """Hear of one beginning or end; no more than the limit may run then."""
        line = self._events.line()
        assert line is not None
        word, *numbers = line.split()
        job, attempt, worker, process = map(int, numbers)
        if word == "began":
            self.running[job] = attempt, worker, process
        else:
            del self.running[job]
            self.ended += 1
        assert len(self.running) <= LIMIT, self._events.seen

    def until_full(self) -> None:
        while len(self.running) < LIMIT:
            self.step()

    def fresh(self) -> int | None:
        """Give a worker that runs something, all of it for the first time: what is lost twice rests for a while."""
        workers = {worker for _, worker, _ in self.running.values()}
        old = {worker for attempt, worker, _ in self.running.values() if attempt > 1}
        return min(workers - old, default=None)

    def kill(self, worker: int) -> None:
        """Kill one, with what it runs, and start another."""
        self._workers[worker].kill()
        self._workers.pop(worker).wait()
        self.running = {job: run for job, run in self.running.items() if run[1] != worker}
        self._start()

    def kill_child(self, job: int) -> None:
        """Kill the child that runs a job, and nobody else."""
        _, _, process = self.running.pop(job)
        os.kill(process, 9)

    def let_end(self, job: int) -> None:
        (self._folder / f"gate-{job}").touch()
        while job in self.running:
            self.step()

    def close(self) -> None:
        for worker in self._workers.values():
            worker.kill()
            worker.wait()
        os.close(self._pipe)
        self._log.close()


@pytest.fixture
def lane(tmp_path: Path) -> Iterator[Lane]:
    lane = Lane(tmp_path)
    yield lane
    lane.close()


@pytest.mark.parametrize("name", ["held", "apart"])
def test_a_limit_is_neither_exceeded_nor_eaten_up_by_deaths(lane: Lane, name: str, tmp_path: Path) -> None:
    lane.push(name, JOBS)
    kills = 0
    with Queue(tmp_path / "jobs.db") as queue:
        while lane.ended < JOBS - LIMIT:
            lane.until_full()  # which it never would be again, had a death kept its place
            victim = lane.fresh()
            if kills < KILLS and victim is not None:
                kills += 1
                lane.kill(victim)
            elif name == "apart" and kills < 2 * KILLS:
                kills += 1
                lane.kill_child(min(lane.running, key=lane.running.__getitem__))  # of those that ran least often
            else:
                lane.let_end(min(lane.running))
        assert kills >= KILLS
        lane.until_full()
        for job in list(lane.running):
            lane.let_end(job)
        assert queue.wait_idle(PATIENCE)
        assert queue.jobs() == []
        assert queue.check() == []
