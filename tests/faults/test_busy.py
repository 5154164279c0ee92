"""A file that others use at the same time: waiting for a lock is no error, and losing a wake-up is none either."""

from __future__ import annotations

import signal
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from prove.clock import FakeClock
from workqueue import Queue, StoreUnavailable, UsageError
from workqueue.job import NewJob
from workqueue.store.contract import Durability
from workqueue.store.guest import authorise
from workqueue.store.memory.engine import MemoryStore
from workqueue.store.sqlite import checkpoints as checkpoints_module
from workqueue.store.sqlite import connection as connection_module
from workqueue.store.sqlite import database as database_module
from workqueue.store.sqlite import handles as handles_module
from workqueue.store.sqlite import turnstile as turnstile_module
from workqueue.store.sqlite.engine import SqliteStore

from support import QUEUE, SECOND, interrupt_anywhere, new_job


@pytest.mark.parametrize("durability", ["full", "conservative"])
def test_looking_and_pushing_at_the_same_time_wait_for_each_other(tmp_path, durability):
    """Without a WAL, a reader shuts the writer out of its commit, and a writer the readers."""
    done = threading.Event()
    with Queue(tmp_path / "jobs.db", durability=durability) as queue:

        def look() -> None:
            bare = sqlite3.connect(tmp_path / "jobs.db", timeout=60)
            while not done.is_set():
                bare.execute("SELECT sum(length(name)) FROM jobs").fetchall()
            bare.close()

        watchers = [threading.Thread(target=look), threading.Thread(target=lambda: _until(done, queue.size))]
        for watcher in watchers:
            watcher.start()
        try:
            ids = [queue.push("n") for _ in range(150)]
        finally:
            done.set()
            for watcher in watchers:
                watcher.join()
        assert [job.id for job in queue.jobs(limit=1000)] == ids
        assert queue.check() == []


def _until(done: threading.Event, verb) -> None:
    while not done.is_set():
        verb()


def test_a_lock_that_is_never_given_back_is_an_error_that_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(database_module, "PATIENCE", 0.05)
    with Queue(tmp_path / "jobs.db") as queue:
        other = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="another program held it"):
            queue.push("n")
        other.execute("COMMIT")
        other.close()
        assert queue.push("n")
        assert queue.size().waiting == 1


@pytest.mark.parametrize(("first", "meets"), [(False, "BEGIN EXCLUSIVE"), (True, "BEGIN; SELECT * FROM sqlite_master")])
def test_opening_waits_for_who_is_committing_or_reading(tmp_path, monkeypatch, first, meets):
    """Without a WAL the file is busy for readers while somebody commits, and for the first, who makes the tables, while
    somebody reads.
    """
    waits = threading.Event()
    if not first:
        Queue(tmp_path / "jobs.db", durability="conservative").close()
    other = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None, check_same_thread=False)
    connect = handles_module.sqlite.connect

    def connect_and_meet(path: str, durability: Durability) -> sqlite3.Connection:
        connection = connect(path, durability)
        for statement in meets.split(";"):
            other.execute(statement).fetchall()
        return connection

    def is_busy(error: sqlite3.Error) -> bool:
        waits.set()
        return True

    monkeypatch.setattr(handles_module.sqlite, "connect", connect_and_meet)
    monkeypatch.setattr(connection_module, "is_busy", is_busy)
    opened: list[Queue] = []
    opener = threading.Thread(target=lambda: opened.append(Queue(tmp_path / "jobs.db", durability="conservative")))
    opener.start()
    assert waits.wait(10)
    monkeypatch.setattr(handles_module.sqlite, "connect", connect)
    other.execute("COMMIT")
    other.close()
    opener.join(30)
    assert opened[0].push("n")
    opened[0].close()


def test_the_time_of_a_write_is_that_at_which_it_had_its_turn(tmp_path, monkeypatch):
    """Else the order of commits would not be the order of times, and a claim could step over what came first."""
    waits = threading.Event()

    def is_busy(error: sqlite3.Error) -> bool:
        waits.set()
        return True

    clock = FakeClock()
    store = SqliteStore(tmp_path / "jobs.db", clock=clock)
    [first] = store.push([NewJob(queue="q", name="n", data=b"")])  # and the backoff is known
    other = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(connection_module, "is_busy", is_busy)
    pusher = threading.Thread(target=lambda: store.push([NewJob(queue="q", name="n", data=b"")]))
    pusher.start()
    assert waits.wait(30)
    clock.advance(SECOND)
    other.execute("COMMIT")
    pusher.join(30)
    other.close()
    assert store.get(first + 1).pushed_at == clock.now() == store.get(first).pushed_at + SECOND
    store.close()


@pytest.mark.parametrize("which", ["lock", "reading"])
def test_ctrl_c_right_after_a_lock_was_had_leaves_it_free(tmp_path, monkeypatch, which):
    """A signal is handled once the call is over that got the lock, before anybody could note that."""
    monkeypatch.setattr(turnstile_module, "PATIENCE", 0.2)
    monkeypatch.setattr(checkpoints_module, "_READERS_PATIENCE", 0.2)
    store = SqliteStore(tmp_path / "q.db")
    holder = store._database._turnstile if which == "lock" else store._database._handles
    lock = getattr(holder, which)

    class Interrupted:
        def acquire(self, **options: float) -> bool:
            setattr(holder, which, lock)
            lock.acquire(**options)
            raise KeyboardInterrupt

    store.push([new_job()])
    setattr(holder, which, Interrupted())
    with pytest.raises(KeyboardInterrupt):
        store._database.checkpoint()
    with ThreadPoolExecutor(1) as another:
        assert another.submit(store.push, [new_job()]).result(20)
        assert another.submit(store.size, QUEUE).result(20).waiting == 2
    store.close()


def test_a_signal_handler_that_pushes_while_its_thread_writes_is_told_so(tmp_path, monkeypatch):
    store = SqliteStore(tmp_path / "q.db")
    told: list[str] = []

    def handler(*_: object) -> None:
        try:
            store.push([new_job()])
        except UsageError as error:
            told.append(str(error))

    def begin(connection: connection_module.Connection) -> int:
        signal.raise_signal(signal.SIGUSR1)
        return real(connection)

    real = store._database._begin
    monkeypatch.setattr(store._database, "_begin", begin)
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        store.push([new_job()])
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ["no signal handler that writes" in said for said in told] == [True]
    assert store.size(QUEUE).waiting == 1
    store.close()


@pytest.mark.parametrize("act", ["transaction", "push", "checkpoint", "reopen"])
def test_ctrl_c_right_after_begin_leaves_the_file_free(tmp_path, monkeypatch, act):
    store = SqliteStore(tmp_path / "q.db", durability="conservative")
    database = store._database
    acts: dict[str, Callable[[], object]] = {
        "transaction": lambda: store.transaction().__enter__(),
        "push": lambda: store.push([new_job()]),
        "checkpoint": database.checkpoint,
        "reopen": database._handles.reopen,
    }

    def execute(self: connection_module.Connection, sql: str, *parameters: object) -> sqlite3.Cursor:
        answer = sqlite3.Connection.execute(self, sql, *parameters)
        if sql.startswith("BEGIN IMMEDIATE"):
            monkeypatch.undo()
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(connection_module.Connection, "execute", execute)
    with pytest.raises(KeyboardInterrupt):
        acts[act]()
    other = sqlite3.connect(store.path, timeout=0, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.close()
    for verb in acts.values():
        verb()
    store.close()


@pytest.mark.parametrize("kind", ["turnstile", "readers", "memory"])
def test_an_interrupt_keeps_no_lock_of_all_threads(tmp_path, kind):
    path = str(tmp_path / "q.db")
    turnstile, memory = turnstile_module.Turnstile(path), MemoryStore()
    handles = handles_module.Handles(path, "full", clock=FakeClock(), authorise=authorise, owners=pytest.fail)
    have, lock = {
        "turnstile": (turnstile.turn, turnstile.lock),
        "readers": (lambda: handles.no_readers(1), handles.reading),
        "memory": (memory._locked, memory._lock),
    }[kind]

    def have_it_once() -> None:
        with have():
            pass

    with ThreadPoolExecutor(1) as others:
        others.submit(threading.get_ident).result()  # one that is there before: a later one may have the same number
        interrupt_anywhere(have_it_once, "contextlib.py")
        assert others.submit(lock.acquire, timeout=0).result()
