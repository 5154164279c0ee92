"""What `workqueue run` tells a service manager, heard on a socket as systemd's."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue

import pytest
from workqueue.cli.notifying import Manager
from workqueue.errors import UsageError
from workqueue.probes import Answer

from faces.test_run import App
from lines import PATIENCE, Lines

STUCK = """
from datetime import timedelta

from workqueue import probes

probes.STUCK = timedelta(milliseconds=300)
from app import *
"""


class Heard:
    """The end of the service manager."""

    def __init__(self, place: str) -> None:
        self.place = place
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{place[1:]}" if place.startswith("@") else place)
        self.seen: list[str] = []

    def message(self) -> list[str]:
        """Give the lines of the next message."""
        assert select.select([self._socket], [], [], PATIENCE)[0], self.seen
        text = self._socket.recv(65536).decode()
        self.seen.append(text)
        return text.split("\n")

    def until(self, word: str) -> str:
        """Read up to the message with a line that begins so; give the line."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for line in self.message():
                if line.startswith(word):
                    return line
        raise AssertionError(f"expected {word!r}, got: {self.seen[-5:]}")

    def rest(self) -> list[str]:
        """Give what has come by now."""
        found: list[str] = []
        while select.select([self._socket], [], [], 0)[0]:
            found += self.message()
        return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def heard(request, tmp_path: Path, monkeypatch) -> Iterator[Heard]:
    kind = getattr(request, "param", "path")
    place = str(tmp_path / "notify") if kind == "path" else f"@workqueue-{os.getpid()}-{tmp_path.name}"
    with closing(Heard(place)) as heard:
        monkeypatch.setenv("NOTIFY_SOCKET", place)
        yield heard


@pytest.fixture
def app(tmp_path) -> Iterator[App]:
    app = App(tmp_path)
    try:
        yield app
    finally:
        app.close()


def pids(log: Lines, count: int) -> list[int]:
    return [int(log.until(r"process (\d+) runs 'default'")[1]) for _ in range(count)]


# one process


@pytest.mark.parametrize("heard", ["path", "abstract"], indirect=True)
def test_it_is_ready_when_it_works_and_not_while_it_imports(app, heard):
    (app.folder / "slow.py").write_text("import app\napp.tell('importing')\napp.wait()\nqueue = app.queue")
    child, _ = app.run("slow:queue")
    assert app.events.line() == "importing"
    assert heard.rest() == []
    app.open_gate()
    heard.until("READY=1")
    assert f"STATUS=runs 'default' of {app.folder}/jobs.db" in "\n".join(heard.seen)
    assert "WATCHDOG=1" not in "\n".join(heard.seen), "nobody asked for it"
    app.push(1)
    app.events.until("started")
    child.send_signal(signal.SIGTERM)
    assert heard.until("STOPPING=1")
    app.events.until("told")
    assert child.poll() is None, "it says so before the running jobs have ended"
    child.send_signal(signal.SIGTERM)
    heard.until("STATUS=handing back")
    assert child.wait(PATIENCE) == 0


def test_a_program_that_cannot_be_run_is_never_ready(app, heard):
    child, _ = app.run("app:only_pushes")
    assert child.wait(PATIENCE) == 2
    assert heard.rest() == []


def test_a_queue_that_its_program_stops_says_that_it_ends(app, heard):
    (app.folder / "stops.py").write_text(
        "import app\n\n\nclass Stops(app.Worker):\n    def do_work(self, ctx, job):\n"
        "        queue.stop(0)\n\n\nqueue = app.Queue('jobs.db', Stops(), auto_start=False)\n"
    )
    app.push(1)
    child, _ = app.run("stops:queue")
    heard.until("STOPPING=1")
    assert child.wait(PATIENCE) == 0


def test_beats_come_while_the_runner_turns_and_not_while_it_is_stuck(app, heard, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    (app.folder / "stuck.py").write_text(STUCK)
    child, _ = app.run("stuck:queue")
    heard.until("READY=1")
    heard.until("WATCHDOG=1")
    app.push(2, "lock")  # its handler keeps the turn to write, which the runner needs to hand the other one back
    app.events.until("started")
    assert "the runner has done nothing for" in heard.until("STATUS=stuck")
    assert "WATCHDOG=1" not in heard.message(), "the next look finds it stuck, too"
    app.open_gate(2)
    heard.until("STATUS=runs")
    heard.until("WATCHDOG=1")
    child.send_signal(signal.SIGTERM)
    heard.until("STOPPING=1")
    assert child.wait(PATIENCE) == 0


def test_programs_that_jobs_start_do_not_speak_for_it(app, heard, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    (app.folder / "asks.py").write_text(
        "import os\nimport app\n\n\nclass Asks(app.Worker):\n    def do_work(self, ctx, job):\n"
        "        app.tell(str(sorted(name for name in os.environ if name.startswith(('NOTIFY', 'WATCHDOG')))))\n\n\n"
        "queue = app.Queue('jobs.db', Asks(), auto_start=False)\n"
    )
    app.push(1)
    app.run("asks:queue")
    assert app.events.line() == "[]"


def test_with_watch_it_is_ready_again_and_did_not_say_that_it_ends(app, heard):
    child, log = app.run("app:queue", "--watch")
    heard.until("READY=1")
    log.until("runs 'default'")
    (app.folder / "app.py").write_text((app.folder / "app.py").read_text() + "\n# changed\n")
    log.until("changed: draining")
    heard.until("READY=1")
    assert "STOPPING=1" not in "\n".join(heard.seen)
    child.send_signal(signal.SIGTERM)
    heard.until("STOPPING=1")
    assert child.wait(PATIENCE) == 0


# several


def test_a_parent_tells_for_its_processes(app, heard, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    parent, log = app.run("app:queue", "--processes", "2")
    heard.until("READY=1")
    heard.until("WATCHDOG=1")
    first, second = pids(log, 2)
    assert "STATUS=runs 2 of 2 worker processes" in heard.seen
    os.kill(first, signal.SIGSTOP)
    assert "does not answer" in heard.until("STATUS=stuck")
    os.kill(first, signal.SIGCONT)
    heard.until("STATUS=runs 2 of 2")
    heard.until("WATCHDOG=1")
    os.kill(second, signal.SIGKILL)
    heard.until("STATUS=runs 1 of 2")
    heard.until("STATUS=runs 2 of 2")
    parent.send_signal(signal.SIGTERM)
    heard.until("STOPPING=1")
    assert parent.wait(PATIENCE) == 0
    assert [word for word in heard.rest() if word.startswith("READY")] == []
    assert sum(text.startswith("READY=1") for text in heard.seen) == 1, "the parent alone speaks"


def test_a_parent_that_is_stopped_beats_no_more(app, heard, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    parent, _ = app.run("app:queue", "--processes", "2")
    heard.until("WATCHDOG=1")
    parent.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, parent.pid, os.WSTOPPED)
    heard.rest()
    assert not select.select([heard._socket], [], [], 0.5)[0]
    parent.send_signal(signal.SIGCONT)
    heard.until("WATCHDOG=1")


# the manager itself


def manager(heard: Heard, **more: str) -> Manager:
    return Manager({"NOTIFY_SOCKET": heard.place, **more})


class Looks:
    """Answers to probes, given one by one; each look waits for its own."""

    def __init__(self) -> None:
        self.asked: SimpleQueue[str] = SimpleQueue()
        self.answers: SimpleQueue[Answer | None] = SimpleQueue()

    def __call__(self, path: str) -> Answer | None:
        self.asked.put(path)
        return self.answers.get()


def test_it_asks_until_it_is_ready_and_then_whether_it_lives(heard):
    looks, beats = Looks(), SimpleQueue[str]()
    manager(heard, WATCHDOG_USEC="1000", WATCHDOG_PID=str(os.getpid())).watch(looks, lambda: beats.put("beat"))
    for answer in (Answer(503, "no"), None):
        assert looks.asked.get(timeout=PATIENCE) == "/readyz"
        looks.answers.put(answer)
    assert looks.asked.get(timeout=PATIENCE) == "/readyz"
    assert heard.rest() == []
    looks.answers.put(Answer(200, "ok\n"))
    assert looks.asked.get(timeout=PATIENCE) == "/livez"
    assert heard.message() == ["READY=1"]
    assert beats.empty()
    looks.answers.put(Answer(200, "ok\n"))
    assert beats.get(timeout=PATIENCE) == "beat"
    assert looks.asked.get(timeout=PATIENCE) == "/livez"
    looks.answers.put(Answer(503, "worse\nREADY=1\n"))
    assert looks.asked.get(timeout=PATIENCE) == "/livez"
    assert heard.message() == [r"STATUS=stuck: worse\x0aREADY=1"]
    assert beats.empty(), "and the beat is the main thread's to send"
    assert heard.rest() == []


@pytest.mark.parametrize("environment", [{}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}])
def test_who_is_not_watched_does_not_beat(heard, environment):
    before = set(threading.enumerate())
    looks = Looks()
    manager(heard, **environment).watch(looks, lambda: None)
    [thread] = set(threading.enumerate()) - before
    looks.answers.put(Answer(200, "ok\n"))
    assert heard.message() == ["READY=1"]
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert looks.asked.qsize() == 1


def test_without_a_manager_nobody_is_told():
    nobody = Manager({"WATCHDOG_USEC": "nonsense"})
    assert not nobody.listens
    nobody.watch(lambda _path: pytest.fail("nobody wants to know"), lambda: None)
    nobody.tell("well")
    nobody.beat()


def test_what_it_said_can_be_handed_on(heard):
    environment = {"NOTIFY_SOCKET": heard.place, "WATCHDOG_USEC": "1000", "HOME": "/"}
    found = Manager(environment)
    assert environment == {"HOME": "/"}
    found.hand_on(environment)
    assert environment == {"NOTIFY_SOCKET": heard.place, "WATCHDOG_USEC": "1000", "HOME": "/"}


def test_a_manager_that_went_away_stops_nothing(heard, caplog):
    told = manager(heard)
    heard.close()
    told.tell("well")
    assert "could not tell the service manager STATUS=well" in caplog.text


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"NOTIFY_SOCKET": "vsock:2:1234"}, "expected NOTIFY_SOCKET to be an absolute path or @ and a name"),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "soon"}, "expected WATCHDOG_USEC to be a number of microseconds"),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "0"}, "expected WATCHDOG_USEC to be a number of microseconds"),
    ],
)
def test_what_no_manager_says_is_an_error(environment, said):
    with pytest.raises(UsageError, match=said):
        Manager(environment)


def test_a_manager_that_does_not_listen_holds_nobody_up(heard, monkeypatch, caplog):
    monkeypatch.setattr("workqueue.cli.notifying._PATIENCE", 0.01)
    told = manager(heard)
    for _ in range(10_000):
        told.tell("x" * 1000)
        if caplog.text:
            break
    assert "could not tell the service manager STATUS=x" in caplog.text
