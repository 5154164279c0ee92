"""Workers on machines of their own: network namespaces whose links are cut and healed, one with a clock hours ahead."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import psycopg
import pytest
from prove.postgres.proxy import Proxy
from workqueue import Queue

from lines import PATIENCE, Lines
from postgres_fixtures import NOT_TESTED, rows
from support import until

PROGRAM = """
import os, signal, sys, time

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
machine, url, ahead = sys.argv[1], sys.argv[2], int(sys.argv[3])
real = time.time_ns
time.time_ns = lambda: real() + ahead * 3600 * 10**9  # the only clock of the day that the package reads

from workqueue import Backoff, Context, Queue, injected

queue = Queue(url, concurrency=2, lease=2, poll_rate=0.2, batch_size=5)
events = os.open("events", os.O_RDWR)


@queue.task(name="note", retry=Backoff(min=0.1, max=0.1))
def note(number: int, *, ctx: Context = injected) -> None:
    ctx.wait(0.01)
    os.write(events, f"ran {machine} {number}\\n".encode())
    with ctx.transaction() as transaction:
        transaction.execute("INSERT INTO effects VALUES (%(number)s)", {"number": number})


queue.start()
os.write(events, f"up {machine}\\n".encode())
signal.sigwait({signal.SIGTERM})
queue.close()
"""

WHAT_IS_LEFT = (
    "SELECT id, status, ready, attempt, lost, runner, lease_until, run_at, message FROM workqueue.jobs",
    "SELECT id, session_pid, session_start FROM workqueue.runners",
    "SELECT pid, state, wait_event, now() - xact_start, now() - state_change, left(query, 200) FROM pg_stat_activity"
    " WHERE datname = current_database()",
)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def can_have_machines() -> bool:
    if os.geteuid() or shutil.which("ip") is None:
        return False
    name = f"wq{os.getpid()}try"
    tried = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
    return tried.returncode == 0


class Machine:
    """A network namespace with one link to ours, over which it reaches the server and nothing else."""

    def __init__(self, name: str, number: int, url: str, folder: Path) -> None:
        self.name = f"wq{os.getpid()}{name}"
        self._folder = folder
        self._ours = f"{self.name}0"
        net = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}.{number * 4}"
        first, _, last = net.rpartition(".")
        here, there = f"{first}.{int(last) + 1}", f"{first}.{int(last) + 2}"
        ip("netns", "add", self.name)
        try:
            ip("link", "add", self._ours, "type", "veth", "peer", "name", "eth0", "netns", self.name)
            ip("addr", "add", f"{here}/30", "dev", self._ours)
            ip("link", "set", self._ours, "up")
            ip("-n", self.name, "addr", "add", f"{there}/30", "dev", "eth0")
            ip("-n", self.name, "link", "set", "eth0", "up")
            self._line = Proxy(url, at=here)
        except BaseException:
            self._remove()
            raise
        self._worker: subprocess.Popen[bytes] | None = None

    def work(self, *, hours_ahead: int = 0) -> None:
        command = ["ip", "netns", "exec", self.name, sys.executable, "app.py", self.name, self._line.url]
        self._worker = subprocess.Popen([*command, str(hours_ahead)], cwd=self._folder)

    def cut(self) -> None:
        """Let nothing through any more; neither end is told."""
        ip("link", "set", self._ours, "down")

    def heal(self) -> None:
        ip("link", "set", self._ours, "up")

    def lose_power(self) -> None:
        assert self._worker is not None
        self.cut()
        self._worker.kill()
        self._worker.wait(PATIENCE)

    def stop(self) -> None:
        assert self._worker is not None
        self._worker.send_signal(signal.SIGTERM)
        assert self._worker.wait(PATIENCE) == 0

    def _remove(self) -> None:
        for words in (["link", "del", self._ours], ["netns", "del", self.name]):
            with suppress(subprocess.CalledProcessError):
                ip(*words)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._worker is not None and self._worker.poll() is None:
            self._worker.kill()
            self._worker.wait(PATIENCE)
        self._line.close()
        self._remove()


@pytest.fixture
def events(tmp_path: Path) -> Iterator[Lines]:
    (tmp_path / "app.py").write_text(PROGRAM)
    os.mkfifo(tmp_path / "events")
    pipe = os.open(tmp_path / "events", os.O_RDWR)
    yield Lines(pipe)
    os.close(pipe)


@pytest.mark.skipif(not can_have_machines(), reason=f"{NOT_TESTED}network namespaces: be root, with iproute2")
def test_links_that_are_cut_and_clocks_that_are_wrong_lose_and_double_nothing(postgres, tmp_path, events):
    with psycopg.connect(postgres) as connection:
        connection.execute("CREATE TABLE effects (number int NOT NULL)")
    with (
        Queue(postgres) as queue,
        Machine("a", 0, postgres, tmp_path) as a,
        Machine("b", 1, postgres, tmp_path) as b,
    ):
        a.work()
        b.work(hours_ahead=7)
        for _ in range(2):
            events.until("^up ")
        pushed = 0

        def push(count: int) -> None:
            nonlocal pushed
            queue.push_many("note", [{"number": number} for number in range(pushed, pushed + count)])
            pushed += count

        push(100)
        for away, there in [(a, b), (b, a), (a, b)]:
            events.until(f"^ran {away.name} ")
            away.cut()
            push(60)
            for _ in range(30):  # the other one goes on
                events.until(f"^ran {there.name} ")
            away.heal()
            push(60)
            events.until(f"^ran {away.name} ")  # by itself
        push(60)
        events.until(f"^ran {a.name} ")
        a.lose_power()  # with jobs in hand, and the server does not know
        try:
            until(lambda: tuple(queue.size()) == (0, 0))  # some that it said it ran, it did not get to write
        except AssertionError:
            pytest.fail("\n".join(str(row) for question in WHAT_IS_LEFT for row in rows(postgres, question)))
        b.stop()
        assert queue._store.check() == []
    with psycopg.connect(postgres) as connection:
        effects = Counter(number for (number,) in connection.execute("SELECT number FROM effects").fetchall())
    assert effects == dict.fromkeys(range(pushed), 1)
