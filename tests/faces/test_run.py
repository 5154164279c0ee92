"""`workqueue run`, as real processes: what signals do, that children are kept alive, and that they never outlive us.

The jobs tell what they do through one named pipe and wait at another, so each test waits for events and never sleeps.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from workqueue import JobStatus, Queue

from lines import PATIENCE, Lines

APP = """
import os
import sys
from datetime import timedelta
from workqueue import Queue

def tell(text):
    events = os.open("events", os.O_WRONLY)
    os.write(events, f"{text}\\n".encode())
    os.close(events)

class Worker:
    def id(self):
        return "app"

    def do_work(self, ctx, job):
        if job.name == "quick":
            tell(f"ran {job.id} {os.getpid()}")
        elif job.name == "switch":
            tell(f"switches after {sys.getswitchinterval():g}")
        elif job.name == "fail":
            raise ValueError(job.decode())
        elif job.name == "lock":
            with queue.transaction():
                tell(f"started {job.id} {os.getpid()}")
                wait()
        else:
            tell(f"started {job.id} {os.getpid()}")
            ctx.wait(3600)
            tell(f"told {job.id}")
            wait()
            tell(f"ended {job.id}")

def wait():
    gate = os.open("gate", os.O_RDONLY)
    os.read(gate, 1)
    os.close(gate)

queue = Queue("jobs.db", Worker(), auto_start=False, poll_rate=0.1)
started = Queue("jobs.db", Worker(), id="started")
only_pushes = Queue("jobs.db")
nothing = None
"""


class App:
    """A folder with the program above, and the processes started on it."""

    def __init__(self, folder) -> None:
        self.folder = folder
        (folder / "app.py").write_text(APP)
        for name in ("events", "gate"):
            os.mkfifo(folder / name)
        self._events = os.open(folder / "events", os.O_RDWR)
        self._gate = os.open(folder / "gate", os.O_RDWR)
        self.events = Lines(self._events)
        self._started: list[subprocess.Popen[bytes]] = []

    def run(self, *arguments: str, python: tuple[str, ...] = ()) -> tuple[subprocess.Popen[bytes], Lines]:
        child = subprocess.Popen(
            [sys.executable, *python, "-m", "workqueue", "run", *arguments],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._started.append(child)
        return child, Lines(child.stderr.fileno())

    def push(self, count: int, name: str = "wait", data: object = None) -> list[int]:
        with Queue(self.folder / "jobs.db") as queue:
            return queue.push_many(name, [data] * count)

    def open_gate(self, times: int = 1) -> None:
        os.write(self._gate, b"." * times)

    def end_told(self, times: int) -> None:
        """Wait until so many jobs were told to finish; then let them."""
        for _ in range(times):
            self.events.until("told")
        self.open_gate(times)
        for _ in range(times):
            self.events.until("ended")

    def jobs(self):
        with Queue(self.folder / "jobs.db") as queue:
            assert queue.check() == []
            return queue.jobs()

    def close(self) -> None:
        for child in self._started:
            try:
                os.killpg(child.pid, signal.SIGKILL)  # its own session: its children are of the group
            except ProcessLookupError:
                pass
            child.wait()
            child.stderr.close()
        os.close(self._events)
        os.close(self._gate)


@pytest.fixture
def app(tmp_path) -> Iterator[App]:
    app = App(tmp_path)
    try:
        yield app
    finally:
        app.close()


def counts_nowhere(jobs):
    """Say whether each of these was handed back: it waits, and nothing is held against it."""
    return all((j.status, j.retry_count, j.lost, j.message) == (JobStatus.PENDING, 0, 0, "") for j in jobs)


# one process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_drains(app, number):
    app.push(5)
    child, log = app.run("app:queue")
    assert app.events.line().startswith("started 1 ")
    child.send_signal(number)
    assert app.events.line() == "told 1"
    app.open_gate()
    assert app.events.line() == "ended 1"
    log.to_end()
    assert child.wait(PATIENCE) == 0
    left = app.jobs()
    assert [job.id for job in left] == [2, 3, 4, 5]
    assert left[0].attempt == 1, "it was claimed ahead, and handed back"
    assert counts_nowhere(left)


def test_the_second_signal_hands_back_at_once(app):
    app.push(3)
    child, log = app.run("app:queue")
    assert app.events.line().startswith("started 1 ")
    child.send_signal(signal.SIGTERM)
    assert app.events.line() == "told 1"
    child.send_signal(signal.SIGTERM)
    log.until("handing back")
    log.to_end()
    assert child.wait(PATIENCE) == 0
    left = app.jobs()
    assert [job.id for job in left] == [1, 2, 3]
    assert counts_nowhere(left)


def test_the_third_signal_ends_the_process(app):
    app.push(1, "lock")
    child, log = app.run("app:queue")
    assert app.events.line().startswith("started 1 ")
    for _ in range(2):
        child.send_signal(signal.SIGTERM)
        log.until("draining|handing back")
    child.send_signal(signal.SIGINT)
    assert child.wait(PATIENCE) == 130
    assert len(app.jobs()) == 1


def test_the_grace_bounds_the_drain(app):
    app.push(1)
    child, log = app.run("app:queue", "--grace", "50ms")
    assert app.events.line().startswith("started 1 ")
    child.send_signal(signal.SIGTERM)
    log.until("still runs after the grace")
    assert child.wait(PATIENCE) == 0
    assert counts_nowhere(app.jobs())


def test_an_idle_process_ends_at_once(app):
    child, log = app.run("app:queue")
    log.until(r"process \d+ runs 'default' of .*jobs\.db")
    child.send_signal(signal.SIGTERM)
    assert child.wait(PATIENCE) == 0


def test_a_queue_that_the_import_started_is_run_too(app):
    with Queue(app.folder / "jobs.db", id="started") as queue:
        queue.push("quick")
    child, log = app.run("app:started")
    app.events.until("ran 1 ")
    log.until("runs 'started'")
    child.send_signal(signal.SIGTERM)
    assert child.wait(PATIENCE) == 0


def test_what_a_job_raises_does_not_steer_the_terminal(app):
    app.push(1, "fail", "\x1b[31mred\nnext \x9b")
    child, log = app.run("app:queue")
    assert r"\x1b[31mred" in log.until("job 1 .*").string
    child.send_signal(signal.SIGTERM)
    log.to_end()
    assert all(line.isprintable() for line in log.seen)
    child.wait(PATIENCE)


def test_a_signal_during_the_import_drains_after_it(app):
    app.push(1)
    (app.folder / "slow.py").write_text("import app\napp.tell('importing')\napp.wait()\nqueue = app.queue")
    child, log = app.run("slow:queue")
    assert app.events.line() == "importing"
    child.send_signal(signal.SIGTERM)
    app.open_gate()
    log.until("draining")
    app.open_gate()  # for the job, if it got as far
    assert child.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    ("target", "code", "said"),
    [
        ("app", 2, "expected module:queue"),
        (":queue", 2, "expected module:queue"),
        ("no_such_module:queue", 2, "expected to import 'no_such_module'"),
        ("app:nothing", 2, "nothing of that name"),
        ("app:missing.deeper", 2, "nothing of that name"),
        ("app:Worker", 2, "to be a workqueue.Queue, got: type"),
        ("app:only_pushes", 2, "to have tasks"),
        ("raises:queue", 2, "ZeroDivisionError"),
        ("imports:queue", 2, "No module named 'of_somebody'"),
        ("away:queue", 3, "expected a folder"),
    ],
)
def test_what_cannot_be_run(app, target, code, said):
    (app.folder / "raises.py").write_text("1 / 0")
    (app.folder / "imports.py").write_text("import of_somebody")
    (app.folder / "away.py").write_text("from workqueue import Queue\nqueue = Queue('no/folder/jobs.db')")
    child, log = app.run(target)
    log.to_end()
    assert child.wait(PATIENCE) == code
    assert said in log.seen[-1]
    assert ("Traceback (most recent call last):" in log.seen) == (target in ("raises:queue", "imports:queue"))
    if code == 3 or "such" in target:
        assert len(log.seen) == 1
        assert log.seen[0].startswith("workqueue: ")


# several processes


def started_by(app, how_many):
    """Wait until so many jobs have started; give the processes that run them."""
    return {int(app.events.until(r"started \d+ (\d+)")[1]) for _ in range(how_many)}


@pytest.mark.parametrize(("own", "expected"), [("", "0.0005"), ("sys.setswitchinterval(0.003)\n", "0.003")])
def test_threads_that_compute_give_way_sooner_unless_the_program_has_said_how_soon(app, own, expected):
    (app.folder / "app.py").write_text(APP + own)
    app.push(1, "switch")
    app.run("app:queue")
    assert app.events.until("switches").string == f"switches after {expected}"


def test_several_processes_work_and_a_killed_one_is_replaced(app):
    app.push(4)
    parent, log = app.run("app:queue", "--processes", "2")
    first, second = started_by(app, 2)
    assert parent.pid not in (first, second)
    os.kill(first, signal.SIGKILL)
    log.until(rf"pid {first}\) was ended by SIGKILL; starting another in 0\.1 s")
    [third] = started_by(app, 1)
    assert third not in (first, second, parent.pid)
    parent.send_signal(signal.SIGTERM)
    app.end_told(2)
    log.to_end()
    assert parent.wait(PATIENCE) == 0
    assert [job.status for job in app.jobs() if job.status not in (JobStatus.PENDING, JobStatus.RETRYING)] == []
    assert len(app.jobs()) == 2


def test_a_second_signal_reaches_the_children(app):
    app.push(4)
    parent, log = app.run("app:queue", "--processes", "2", "--grace", "10m")
    started_by(app, 2)
    for message in ("draining", "handing back"):
        parent.send_signal(signal.SIGTERM)
        for _ in range(2):
            log.until(message)
    log.to_end()
    assert parent.wait(PATIENCE) == 0
    assert len(app.jobs()) == 4
    assert counts_nowhere(app.jobs())


def test_ctrl_c_reaches_parent_and_children_and_is_one_signal(app):
    app.push(4)
    parent, log = app.run("app:queue", "--processes", "2")
    started_by(app, 2)
    os.killpg(parent.pid, signal.SIGINT)  # as the terminal does
    app.end_told(2)
    log.to_end()
    assert parent.wait(PATIENCE) == 0
    assert "handing back" not in " ".join(log.seen)
    assert len(app.jobs()) == 2


def test_the_third_signal_ends_the_children_too(app):
    app.push(1, "lock")
    parent, log = app.run("app:queue", "--processes", "2")
    started_by(app, 1)
    for message in ("draining", "handing back"):
        parent.send_signal(signal.SIGTERM)
        log.until(message)
    parent.send_signal(signal.SIGTERM)
    log.to_end()
    assert parent.wait(PATIENCE) == 130
    assert len(app.jobs()) == 1


def test_children_drain_when_their_parent_is_killed(app):
    app.push(4)
    parent, log = app.run("app:queue", "--processes", "2")
    started_by(app, 2)
    parent.kill()
    app.end_told(2)
    log.to_end()  # the children hold the same pipe: its end is theirs
    left = app.jobs()
    assert len(left) == 2
    assert counts_nowhere(left)


def test_giving_up_on_children_that_keep_dying(app):
    (app.folder / "dies.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    parent, log = app.run("dies:queue", "--processes", "6")
    log.to_end()
    assert parent.wait(PATIENCE) == 4
    assert any("died 11 times within 60 s: giving up" in line for line in log.seen)
    pauses = {line[line.index("another in") :] for line in log.seen if "another in" in line}
    doubling = [f"another in {0.1 * 2**death:.1f} s" for death in range(11)]
    assert pauses == set(doubling[: len(pauses)])
    assert len(pauses) > 1


def test_modules_beside_the_program_stand_in_for_none_of_pythons_own(app):
    (app.folder / "platform.py").write_text("raise RuntimeError('imported')")
    app.push(2)
    parent, log = app.run("app:queue", "--processes", "2", python=("-P",))  # as the installed command does
    assert "imported" not in log.until(r"process \d+ runs|imported").string
    started_by(app, 2)
    parent.send_signal(signal.SIGTERM)
    app.end_told(2)
    log.to_end()
    assert parent.wait(PATIENCE) == 0


def test_children_that_cannot_work_end_the_parent(app):
    parent, log = app.run("app:only_pushes", "--processes", "2")
    log.to_end()
    assert parent.wait(PATIENCE) == 2
    assert any("to have tasks" in line for line in log.seen)


def test_a_child_that_is_told_to_end_is_replaced(app):
    app.push(1)
    parent, log = app.run("app:queue", "--processes", "2")
    [child] = started_by(app, 1)
    os.kill(child, signal.SIGTERM)
    app.end_told(1)
    log.until(rf"pid {child}\) ended with code 0; starting another")
    log.until(r"process \d+ runs")
    parent.send_signal(signal.SIGTERM)
    log.to_end()
    assert parent.wait(PATIENCE) == 0
