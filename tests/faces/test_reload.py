"""`workqueue run --watch`: changed code drains, and starts anew; wrong code is waited out. As real processes."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from workqueue import Queue
from workqueue.cli.reload import Sources

from lines import PATIENCE, Lines

APP = """
import os
from workqueue import Context, Queue, injected
from words import WORD

def tell(text):
    events = os.open("events", os.O_WRONLY)
    os.write(events, f"{text}\\n".encode())
    os.close(events)

queue = Queue("jobs.db", poll_rate=0.1)

@queue.task(name="say")
def say() -> None:
    tell(WORD)

@queue.task(name="later")
def later() -> None:
    import late
    tell(late.WORD)

@queue.task(name="hold")
def hold(ctx: Context = injected) -> None:
    tell("holds")
    ctx.wait(3600)
    tell("told to end")
    gate = os.open("gate", os.O_RDONLY)
    os.read(gate, 1)
    os.close(gate)
    tell("ended")
"""


class Project:
    """A folder with the program above, and one process that runs it and watches it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._saves = itertools.count(time.time_ns() // 10**9 * 10**9, 10**6)
        self.write("app", APP)
        self.write("words", "WORD = 'one'")
        self.write("late", "WORD = 'late one'")
        for name in ("events", "gate"):
            os.mkfifo(folder / name)
        self._events, self.gate = (os.open(folder / name, os.O_RDWR) for name in ("events", "gate"))
        self.events = Lines(self._events)
        self.child: subprocess.Popen[bytes] | None = None

    def write(self, module: str, text: str) -> None:
        """As editors do: a new file takes the place of the old one. All in one second, as far as the times tell."""
        path = self.folder / f"{module}.py"
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".new").write_text(text)
        saved_at = next(self._saves)
        os.utime(path.with_suffix(".new"), ns=(saved_at, saved_at))
        path.with_suffix(".new").replace(path)

    def watch(self, *arguments: str) -> Lines:
        self.child = subprocess.Popen(
            [sys.executable, "-m", "workqueue", "run", "--watch", *(arguments or ["app:queue"])],
            cwd=self.folder,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": ""},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        return Lines(self.child.stderr.fileno())

    def push(self, name: str) -> None:
        with Queue(self.folder / "jobs.db") as queue:
            queue.push(name, {})

    def close(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            self.child.stderr.close()
        os.close(self._events)
        os.close(self.gate)


@pytest.fixture
def project(tmp_path) -> Iterator[Project]:
    project = Project(tmp_path)
    try:
        yield project
    finally:
        project.close()


def test_changed_code_runs_after_what_runs_has_drained(project):
    log = project.watch()
    first = log.until(r"process (\d+) runs 'default'")[1]
    project.push("hold")
    project.events.until("holds")
    project.write("words", "WORD = 'two'")
    log.until(r"words\.py changed: draining, then starting anew")
    project.events.until("told to end")
    project.push("say")
    os.write(project.gate, b".")
    project.events.until("ended")
    assert log.until(r"process (\d+) runs 'default'")[1] == first, "it becomes itself anew"
    project.events.until("^two$")
    project.push("later")
    project.events.until("late one")
    project.write("late", "WORD = 'late two'")
    log.until(r"late\.py changed")
    log.until(r"process \d+ runs")
    project.push("later")
    project.events.until("late two")
    project.child.send_signal(signal.SIGTERM)
    log.to_end()
    assert project.child.wait(PATIENCE) == 0
    with Queue(project.folder / "jobs.db") as queue:
        assert queue.size().waiting == 0
        assert queue.check() == []


def test_code_that_is_wrong_is_waited_out(project):
    project.write("words", "WORD = ")
    log = project.watch()
    log.until("SyntaxError")
    log.until("workqueue: expected to import 'app' .*; waiting for a change")
    project.write("words", "WORD = 1 / 0")
    log.until("ZeroDivisionError: .*; waiting for a change")
    project.write("words", "WORD = 'well'")
    log.until(r"process \d+ runs")
    project.write("app", APP.replace("queue = ", "queues = "))
    log.until("changed: draining")
    log.until("NameError: name 'queue' is not defined.*; waiting for a change")
    project.child.send_signal(signal.SIGINT)
    log.to_end()
    assert project.child.wait(PATIENCE) == 0


def test_a_module_that_is_not_there_yet_is_waited_for(project):
    log = project.watch("package.tasks:queue")
    log.until("No module named 'package'.*; waiting for a change")
    project.write("package/tasks", "from app import queue")
    log.until(r"process \d+ runs")
    project.child.send_signal(signal.SIGTERM)
    assert project.child.wait(PATIENCE) == 0


def test_a_signal_while_it_drains_for_a_change_ends_it(project):
    log = project.watch()
    log.until("runs 'default'")
    project.push("hold")
    project.events.until("holds")
    project.write("words", "WORD = 'two'")
    log.until("changed: draining")
    project.events.until("told to end")
    project.child.send_signal(signal.SIGTERM)
    log.until("ending after that")
    os.write(project.gate, b".")
    log.to_end()
    assert project.child.wait(PATIENCE) == 0
    assert "ended" in project.events.line()


def test_several_processes_are_not_watched(project):
    log = project.watch("app:queue", "--processes", "2")
    assert "got both" in log.line()
    assert project.child.wait(PATIENCE) == 2


@pytest.fixture
def sources() -> Iterator[Sources]:
    sources = Sources()
    sys.meta_path.insert(0, sources)
    yield sources
    sys.meta_path.remove(sources)


def test_what_changed_between_the_import_and_the_first_look_is_seen(sources, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "reloaded_early.py").write_text("")
    import reloaded_early  # noqa: F401

    assert sources.changed() is None
    (tmp_path / "reloaded_early.py").write_text("changed = 1")
    assert sources.changed() == str(tmp_path / "reloaded_early.py")
    del sys.modules["reloaded_early"]


def test_a_file_that_is_gone_has_changed(sources, tmp_path):
    file = tmp_path / "gone.py"
    file.touch()
    sources.note(str(file))
    file.unlink()
    assert sources.changed() == str(file)


def test_installed_packages_are_not_watched(sources):
    import msgspec

    sources.note(os.path.realpath(msgspec.__file__))
    sources.note(os.path.realpath(os.__file__))
    assert sources.now() == {}


def test_around_a_module_that_is_not_there_a_new_file_is_a_change(sources, tmp_path):
    (tmp_path / "known.py").touch()
    sources.look_around(str(tmp_path), "package.module")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "package").mkdir()
    assert sources.changed(around=True) is None
    (tmp_path / "package" / "module.py").touch()
    assert sources.changed(around=True) == str(tmp_path / "package" / "module.py")
    assert sources.changed() is None, "nobody asked for it"
    sources.look_around(str(tmp_path), "package.module")
    assert sources.changed(around=True) is None
    (tmp_path / "known.py").unlink()
    assert sources.changed(around=True) == str(tmp_path / "known.py")
