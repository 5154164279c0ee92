"""A file that others use at the same time: waiting for a lock is no error, and losing a wake-up is none either."""

from __future__ import annotations

import sqlite3
import threading

import pytest
from workqueue import Queue, StoreUnavailable
from workqueue.store.sqlite import database as database_module


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
