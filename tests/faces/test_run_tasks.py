"""`workqueue run` with several processes, from a user's side: isolated tasks and a schedule, while one is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from workqueue import Queue

from lines import PATIENCE, Lines

EVERY = timedelta(seconds=1)
PROGRAM = """
import os
from datetime import datetime, timedelta
from workqueue import Backoff, Context, Queue, injected

queue = Queue("jobs.db", concurrency=8, processes=2, poll_rate=0.1)
events = os.open("events", os.O_RDWR)


def tell(*words):
    os.write(events, f"{' '.join(map(str, words))}\\n".encode())


@queue.task(name="beat", every=timedelta(seconds=1), catch_up=1000)  # however slow the machine, none is left out
def beat(slot: datetime, *, ctx: Context = injected) -> None:
    tell("beat", ctx.job.id, slot.isoformat())


@queue.task(name="square", isolated=True, keep_results=3600, retry=Backoff(min=0, max=0))
def square(number: int, *, ctx: Context = injected) -> int:
    tell("square", number, os.getppid(), os.getpid())
    while not os.path.exists("gate"):
        ctx.wait(0.01)
    return number * number
"""


class Service:
    """A folder with the program, and `workqueue run` on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "app.py").write_text(PROGRAM)
        os.mkfifo(folder / "events")
        self._events = os.open(folder / "events", os.O_RDWR)
        self.events = Lines(self._events)
        self.parent = subprocess.Popen(
            [sys.executable, "-m", "workqueue", "run", "--processes", "2", "app:queue"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.parent.stderr is not None
        self.log = Lines(self.parent.stderr.fileno())

    def ask(self, code: str) -> object:
        """Run code beside the program, as another process of the user's would; give what it prints."""
        code = f"import json, app; print(json.dumps({code}))"
        return json.loads(subprocess.check_output([sys.executable, "-c", code], cwd=self.folder))

    def stop(self) -> list[str]:
        """Let it drain; give all that its jobs have told."""
        self.parent.send_signal(signal.SIGTERM)
        self.log.to_end()
        assert self.parent.wait(PATIENCE) == 0
        os.write(self._events, b"over\n")
        self.events.until("^over$")
        return self.events.seen

    def close(self) -> None:
        try:
            os.killpg(self.parent.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.parent.wait()
        assert self.parent.stderr is not None
        self.parent.stderr.close()
        os.close(self._events)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path)
    yield service
    service.close()


def test_a_killed_process_costs_neither_an_isolated_job_nor_a_slot(service: Service) -> None:
    service.events.until("^beat")
    ids = service.ask("app.square.push_many((number,) for number in range(6))")
    worker = int(service.events.until(r"^square \d+ (\d+)")[1])
    os.kill(worker, signal.SIGKILL)
    service.log.until(rf"pid {worker}\) was ended by SIGKILL; starting another")
    (service.folder / "gate").touch()
    assert service.ask(f"[app.square.handle(job).result(60) for job in {ids}]") == [n * n for n in range(6)]
    for _ in range(3):  # the schedule goes on
        service.events.until("^beat")
    told = service.stop()

    jobs: defaultdict[datetime, set[int]] = defaultdict(set)
    for line in told:
        if line.startswith("beat"):
            _, job, slot = line.split()
            jobs[datetime.fromisoformat(slot)].add(int(job))
    with Queue(service.folder / "jobs.db") as queue:
        assert queue.check() == []
        left = queue.jobs()
        [standing] = queue.schedules()
    for job in left:  # pushed for a slot that came as all were stopping
        assert job.name == "beat"
        jobs[datetime.fromisoformat(str(job.decode()["slot"]))].add(job.id)  # type: ignore[index,call-overload]
    assert [len(of_slot) for of_slot in jobs.values()] == [1] * len(jobs)
    slots = sorted(jobs)
    assert slots == [slots[0] + number * EVERY for number in range(len(slots))]
    assert (standing.last_at, {standing.last_job}) == (slots[-1], jobs[slots[-1]])
