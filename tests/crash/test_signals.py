"""A runner that is killed, frozen, forks, or runs a job that kills it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from workqueue import JobStatus, Queue

HANDLERS = Path(__file__).with_name("handlers.py")


class Program:
    """A worker process; `until` reads the events that it prints."""

    def __init__(self, kind: str, path: Path) -> None:
        self._log = path.with_name("stderr.log").open("a+")
        self.process = subprocess.Popen(
            [sys.executable, HANDLERS, kind, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.seen: list[str] = []

    def until(self, event: str) -> str:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            self.seen.append(line.strip())
            if line.startswith(event):
                return line.strip()
        self._log.seek(0)
        raise AssertionError(f"expected {event!r} before the end, got: {self.seen}\n{self._log.read()}")

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self._log):
            if file is not None:
                file.close()


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[[str], Program]]:
    with ExitStack() as stack:

        def start(kind: str) -> Program:
            program = Program(kind, tmp_path / "jobs.db")
            stack.callback(program.end)
            program.until("up")
            return program

        yield start


@pytest.fixture
def queue(tmp_path) -> Iterator[Queue]:
    with Queue(tmp_path / "jobs.db") as queue:
        yield queue
        assert queue.check() == []


def test_the_jobs_of_a_killed_process_run_again_in_another(start, queue, record_property):
    first, second = start("fast"), None
    job_id = queue.push("held")
    first.until(f"began {job_id} 1")
    second = start("fast")
    killed = time.monotonic()
    first.send(signal.SIGKILL)
    second.until(f"began {job_id} 2")
    record_property("figures", f"kill -9: its job ran again after {time.monotonic() - killed:.2f} s (poll_rate 0.1 s)")
    assert queue.wait_idle(30)
    assert tuple(queue.size()) == (0, 0)


def test_a_frozen_process_loses_its_job_and_its_late_effects(start, queue):
    with queue.transaction() as database:
        database.execute("CREATE TABLE effects (job INTEGER, attempt INTEGER)")
    frozen = start("stop")
    job_id = queue.push("frozen")
    frozen.until(f"began {job_id} 1")
    other = start("stop")
    other.until(f"ended {job_id} 2")  # after the lease of 1 s
    frozen.send(signal.SIGCONT)
    frozen.until(f"refused {job_id} 1")
    assert queue.wait_idle(30)
    with queue.transaction() as database:
        assert database.execute("SELECT job, attempt FROM effects").fetchall() == [(job_id, 2)]
    assert tuple(queue.size()) == (0, 0)
    queue.push("good")
    assert queue.wait_idle(30)  # the thawed one works on, or the other does


def skip_the_pause(queue: Queue, job: int) -> None:
    """Wait until the second loss is noted, and let its pause of 10 s be over."""
    deadline = time.monotonic() + 60
    while queue.get(job).lost < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with queue.transaction() as database:
        assert database.execute("UPDATE jobs SET run_at = 0 WHERE id = ? AND status = 2", [job]).rowcount == 1


@pytest.mark.parametrize("death", ["deadly", "segfault"])
def test_a_job_that_kills_its_process_ends_in_the_archive_and_blames_nobody(start, queue, death, tmp_path):
    good = queue.push_many("good", range(10))
    bad = queue.push(death)
    good += queue.push_many("good", range(10))
    for deaths in range(3):
        assert [attempt.outcome for attempt in queue.history(bad)] == ["lost"] * (deaths - 1)  # the last is not judged
        program = start("fast")
        if deaths == 2:
            skip_the_pause(queue, bad)
        program.process.wait()
    last = start("fast")
    assert queue.wait_idle(60), queue.jobs()
    job = queue.get(bad)
    assert (job.status, job.lost, job.retry_count) == (JobStatus.FAILED, 3, 0)
    assert [attempt.outcome for attempt in queue.history(bad)] == ["lost"] * 3
    assert "loss 3 of 3" in job.message
    assert [one.id for one in queue.jobs()] == [bad], "the neighbours completed"
    last.end()


def test_a_handler_that_forks_harms_neither_the_file_nor_the_owner_byte(start, queue, tmp_path):
    program = start("fast")
    queue.push("forks")
    assert program.until("child") == "child 0"
    assert program.until("child") == "child 0"
    program.until("ended")
    with (tmp_path / "jobs.db-owners").open("r+b") as owners, pytest.raises(OSError, match="temporarily|Permission"):
        fcntl.lockf(owners, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 1)  # runner 1 lives, and is seen to
    queue.push("good")
    assert queue.wait_idle(30)
    assert tuple(queue.size()) == (0, 0)


def test_a_forked_child_pushes_and_starts_a_worker_of_its_own(tmp_path):
    with Queue(tmp_path / "jobs.db") as queue:
        parents = queue._store._db()
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            code = 1
            try:
                queue.push("from the child")
                os.write(writing, b"pushed")
                code = 2 if queue._store._db() is parents else 0
            finally:
                os._exit(code)
        os.close(writing)
        assert os.read(reading, 10) == b"pushed"
        os.close(reading)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        queue.push("from the parent")
        assert [job.name for job in queue.jobs()] == ["from the child", "from the parent"]
        assert queue.check() == []


FORKED_INSIDE = """
import os, sqlite3, sys
from workqueue import Queue, UsageError

path, durability, ends = sys.argv[1:]
queue = Queue(path, durability=durability)
reading, writing = os.pipe()
try:
    with queue.transaction() as transaction:
        transaction.execute("CREATE TABLE notes (word)")
        child = os.fork()
        if child == 0:
            if ends == "exits":
                sys.exit()
            os.read(reading, 1)
        elif ends == "exits":
            os.waitpid(child, 0)
            print(os.path.exists(path + "-journal"))
except UsageError as error:
    if child == 0:
        os._exit(0)
    raise
pushed = [queue.push("n") for _ in range(50)]
if ends == "leaves":
    os.write(writing, b".")
    print(os.waitpid(child, 0)[1])
other = sqlite3.connect(path)
print(pushed == [job for (job,) in other.execute("SELECT id FROM jobs")], queue.check())
queue.close()
"""


@pytest.mark.parametrize("durability", ["full", "conservative"])
@pytest.mark.parametrize("ends", ["leaves", "exits"])
def test_a_child_forked_inside_a_transaction_takes_no_job_away(tmp_path, durability, ends):
    """Whether it leaves the block, when the parent has pushed more; or its interpreter ends, while that is inside."""
    program = [sys.executable, "-W", "ignore", "-c", FORKED_INSIDE, tmp_path / "jobs.db", durability, ends]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120)
    there = str(durability == "conservative") if ends == "exits" else "0"
    assert done.stdout == f"{there}\nTrue []\n", done.stderr


FORKING = """
import os, select, sys, threading
from workqueue import Queue

queue = Queue(sys.argv[1], durability="process")
done = threading.Event()
for verb in [lambda: queue.push("parent"), lambda: queue.push("parent"), queue.size]:
    threading.Thread(target=lambda verb=verb: [verb() for _ in iter(done.is_set, True)], daemon=True).start()
for _ in range(25):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        queue.push("child")
        os.write(writing, b".")
        os._exit(0)
    if not select.select([reading], [], [], 60)[0]:
        os.kill(child, 9)
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)
done.set()
print(len(queue.jobs(name="child")), queue.check(), flush=True)
os._exit(0)
"""


def test_a_child_forked_while_others_push_and_look_is_not_locked_out(tmp_path):
    """A fork copies the mutexes of SQLite as they are: none may be held then."""
    program = [sys.executable, "-W", "ignore", "-c", FORKING, tmp_path / "jobs.db"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=240)
    assert done.stdout == "25 []\n", done.stderr
