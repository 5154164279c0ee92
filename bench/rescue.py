"""kill -9 of one of two worker processes: how soon the other runs its jobs. As a program: such a worker."""

import os
import signal
import sys
import time
from pathlib import Path

from workqueue import Context, Job, Queue

from bench.child import Child, ready, say
from bench.samples import Effort, spread
from bench.table import Row

JOBS = 40


def killed(effort: Effort, folder: Path) -> list[Row]:
    """One process holds jobs that do not end, the other has run all the rest; then the first is killed."""
    firsts: list[float] = []
    lasts: list[float] = []
    for number in range(effort.rounds(5)):
        first, last = _until_run_again(folder / f"{number}.db")
        firsts.append(first)
        lasts.append(last)
    return [
        Row(
            "kill -9 of one of two worker processes: its jobs run again",
            "within 1 s",
            f"all after {spread(lasts, ' s')}",
            f"the first after {spread(firsts, ' s')}",
            reached=max(lasts) <= 1,
        )
    ]


def _until_run_again(path: Path) -> tuple[float, float]:
    with (
        Queue(path) as queue,
        Child("bench.rescue", path, "hold") as victim,
        Child("bench.rescue", path, "run") as other,
    ):
        queue.push_many("work", range(JOBS))
        victim.read()
        victim.tell()
        victim.read()  # it has begun a job
        held = {job.id for job in queue.jobs(status="running")}
        other.read()
        other.tell()
        for _ in range(JOBS - len(held)):
            other.read()
        died = time.monotonic()
        os.kill(victim.pid, signal.SIGKILL)
        again = dict(other.read() for _ in held)
    assert set(again) == held
    return min(again.values()) - died, max(again.values()) - died


class Reporter:
    """Says which job it begins, and when."""

    def __init__(self, *, hold: bool) -> None:
        self._hold = hold

    def id(self) -> str:
        return "reporter"

    def do_work(self, ctx: Context, job: Job) -> None:
        say((job.id, time.monotonic()))
        if self._hold:
            ctx.wait(3600)


def main(path: Path, what: str) -> None:
    with Queue(path, Reporter(hold=what == "hold"), auto_start=False, concurrency=4) as queue:
        ready()
        queue.start()
        sys.stdin.readline()  # until the parent is gone


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
