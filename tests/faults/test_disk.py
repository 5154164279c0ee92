"""A disk that is full, a file that goes away, rights that are missing."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from workqueue import Backoff, Queue, QueueFull, StoreUnavailable
from workqueue.figures import Counted
from workqueue.store.sqlite import connection as sqlite
from workqueue.store.sqlite import location
from workqueue.store.sqlite.engine import SqliteStore
from workqueue.store.sqlite.reserve import Reserve

from support import QUEUE, claim_all, new_job

MIB = 1024 * 1024
A_RULE = Backoff(min=timedelta(seconds=1))
ANOTHER_RULE = Backoff(min=timedelta(seconds=2))


class Done:
    def id(self) -> str:
        return "done"

    def do_work(self, ctx, job) -> None:
        pass


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here, so the full disk was not tested: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(folder: Path) -> Path:
    """Take the last byte."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 65536)
        except OSError:
            pass
        try:
            while True:
                file.write(b"x")
        except OSError:
            pass
    return ballast


def test_on_a_full_disk_pushes_are_refused_and_settling_and_cleaning_go_on(tmp_path):
    with small_disk(tmp_path / "disk", "24m") as disk, Queue(disk / "jobs.db", Done(), auto_start=False) as queue:
        acknowledged: list[int] = []
        with pytest.raises(QueueFull, match="expected room on the disk"):
            while True:
                acknowledged.append(queue.push("n", "x" * 20_000))
        ballast = fill(disk)
        with pytest.raises(QueueFull):
            queue.push("n")
        assert len(queue.jobs(limit=100_000)) == len(acknowledged), "what was acknowledged is there"
        assert queue.cancel(acknowledged[0])
        assert queue.clean_cancelled_jobs() == 1
        queue.start()
        assert queue.wait_idle(60), "settling goes on, by the reserve"
        assert tuple(queue.size()) == (0, 0)
        assert queue.check() == []
        queue.push("n")  # into the room that the completed ones left in the file
        assert queue.wait_idle(60)
        ballast.unlink()
        assert len(queue.push_many("n", range(1000))) == 1000
        assert queue.wait_idle(60)


def test_a_runner_outlives_a_disk_without_any_room(tmp_path):
    """No reserve either: the outcome stays in hand until there is room."""
    began, go_on = threading.Event(), threading.Event()

    class Waiting(Done):
        def do_work(self, ctx, job) -> None:
            began.set()
            go_on.wait(30)

    with small_disk(tmp_path / "disk", "24m") as disk, Queue(disk / "jobs.db", Waiting()) as queue:
        queue.push_many("n", range(500))
        assert began.wait(30)
        (disk / "jobs.db-reserve").unlink()
        ballast = fill(disk)
        go_on.set()
        queue.wait_idle(1)
        ballast.unlink()
        assert queue.wait_idle(60)
        assert tuple(queue.size()) == (0, 0)
        assert queue.check() == []


def test_every_verb_but_push_goes_on_with_a_file_that_may_not_grow(tmp_path, monkeypatch):
    """SQLITE_FULL without a disk of one's own: SQLite's own limit on pages, for where none can be mounted."""
    connect = sqlite.connect

    def bounded(path, durability):
        connection = connect(path, durability)
        connection.execute("PRAGMA max_page_count = 300")
        return connection

    monkeypatch.setattr(sqlite, "connect", bounded)
    with Queue(tmp_path / "jobs.db", Done(), auto_start=False) as queue:
        acknowledged: list[int] = []
        with pytest.raises(QueueFull):
            while True:
                acknowledged.append(queue.push("n", "x" * 5_000))
        assert [job.id for job in queue.jobs(limit=1000)] == acknowledged
        assert not (tmp_path / "jobs.db-reserve").exists(), "it was given up"
        assert queue.cancel(acknowledged[0])
        assert queue.clean_cancelled_jobs() == 1
        queue.start()
        assert queue.wait_idle(60)
        assert tuple(queue.size()) == (0, 0)
        queue.push("n")
        assert queue.wait_idle(30)
        assert queue.check() == []


def test_figures_take_no_room_from_settling_where_there_is_little(tmp_path, monkeypatch):
    with closing(SqliteStore(tmp_path / "jobs.db")) as store:
        monkeypatch.setattr(Reserve, "is_low", lambda reserve: True)
        for step in (
            lambda: store.ledger.add("default", {"task": Counted(completed=1)}),
            lambda: store.ledger.note_backlog("default"),
        ):
            with pytest.raises(QueueFull, match="expected room on the disk"):
                step()
        assert store.ledger.totals() == {}


def test_a_file_that_was_removed_is_a_clear_error_and_the_next_use_says_so_too(tmp_path):
    with Queue(tmp_path / "jobs.db") as queue:
        queue.push("n")
        for part in tmp_path.glob("jobs.db*"):
            part.unlink()
        with pytest.raises(StoreUnavailable, match="removed or replaced|gone"):
            queue.push("n")
        with pytest.raises(StoreUnavailable, match="gone"):
            queue.push("n")


@pytest.mark.parametrize("what", ["nothing", "a file"])
def test_a_folder_that_went_away_is_a_clear_error(tmp_path, what):
    """As when its disk was unmounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    store = SqliteStore(folder / "jobs.db")
    store.push([new_job()])
    runner = store.enlist(QUEUE, "runs")
    shutil.rmtree(folder)
    if what == "a file":
        folder.touch()
    for verb in [
        lambda: store.push([new_job()]),
        lambda: store.beat(runner, timedelta(seconds=60)),
        lambda: store.enlist(QUEUE, "another"),
        lambda: store.cancel(1),
    ] * 2:
        with pytest.raises(StoreUnavailable, match="expected"):
            verb()
    assert not Reserve(str(folder / "jobs.db-reserve")).release()
    store.close()


@pytest.mark.parametrize("error", [PermissionError, OSError])
def test_a_file_that_cannot_be_seen_is_not_taken_for_gone(tmp_path, monkeypatch, error):
    def stat(path: str) -> os.stat_result:
        raise error(errno.EIO, "Input/output error", path)

    store = SqliteStore(tmp_path / "jobs.db")
    with monkeypatch.context() as patched:
        patched.setattr(location.os, "stat", stat)
        with pytest.raises(StoreUnavailable, match="expected to see the file"):
            store.push([new_job()])
        store.close()
    with closing(SqliteStore(tmp_path / "jobs.db")) as store:
        assert store.size(QUEUE).waiting == 1


def replace(path: Path, other: Path) -> None:
    """Put another file in the place of one, as docs/cli.md says how: without the log of the old one."""
    for log in ("-wal", "-shm"):
        Path(f"{path}{log}").unlink()
    other.replace(path)


def test_a_file_that_was_replaced_is_noticed(tmp_path):
    with Queue(tmp_path / "other.db", backoff=ANOTHER_RULE) as other:
        other.push("n")
    with Queue(tmp_path / "jobs.db", backoff=A_RULE) as queue:
        queue.push("n")
        assert [claim.job.backoff for claim in claim_all(queue._store)] == [A_RULE]
        replace(tmp_path / "jobs.db", tmp_path / "other.db")
        with pytest.raises(StoreUnavailable, match="removed or replaced"):
            queue.push("n")
        first, second = queue.get(1), queue.get(queue.push("n"))  # from now on in the new file
        assert [first.backoff, second.backoff] == [ANOTHER_RULE, A_RULE], "not by the ids of the old one"
        claims = claim_all(queue._store)
        assert [claim.job.backoff for claim in claims] == [ANOTHER_RULE, A_RULE]
        assert queue.check() == []


def test_a_push_within_a_transaction_goes_by_the_file_of_that(tmp_path):
    """Which was put in place of ours, who have not noticed yet."""
    with closing(SqliteStore(tmp_path / "other.db")) as other:
        other.push([new_job(backoff=ANOTHER_RULE)])
    with closing(SqliteStore(tmp_path / "jobs.db")) as store:
        store.push([new_job(backoff=A_RULE)])
        replace(tmp_path / "jobs.db", tmp_path / "other.db")
        with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            [job_id] = store.push([new_job(backoff=A_RULE)], within=connection)
            connection.execute("COMMIT")
    with closing(SqliteStore(tmp_path / "jobs.db")) as store:
        assert store.get(job_id).backoff == A_RULE


def test_our_files_are_their_owners_only(tmp_path):
    previous = os.umask(0)
    try:
        with Queue(tmp_path / "jobs.db", Done()) as queue:
            queue.push("n")
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir() if path.is_file()}
    finally:
        os.umask(previous)
    assert {"jobs.db", "jobs.db-wal", "jobs.db-shm", "jobs.db-owners", "jobs.db-reserve"} <= set(modes)
    assert set(modes.values()) == {0o600}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without rights")
@pytest.mark.parametrize(("what", "mode"), [("folder", 0o555), ("file", 0o777)])
def test_missing_rights_are_named(what, mode):
    with tempfile.TemporaryDirectory() as folder:  # whose parents anybody may pass, unlike those of tmp_path
        path = Path(folder, "jobs.db")
        if what == "file":
            Queue(path).close()
        Path(folder).chmod(mode)
        program = "import os, sys; from workqueue import Queue; os.setuid(65534); Queue(sys.argv[1])"
        done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True)
    assert "expected to be allowed to" in done.stderr.splitlines()[-1], done.stderr
    assert str(path) in done.stderr.splitlines()[-1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without rights")
def test_a_folder_that_nobody_may_enter_is_not_taken_for_an_empty_one():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "jobs.db")
        Queue(path).close()
        Path(folder).chmod(0)
        program = (
            "import os, sys; from workqueue.store import open_existing; os.setuid(65534); open_existing(sys.argv[1])"
        )
        done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert f"expected to be allowed to look for {str(path)!r} as user 65534" in last, done.stderr


def test_the_write_ahead_log_stays_short_under_load(tmp_path):
    """Though somebody is looking at every moment: a reader keeps the log from starting anew."""
    done = threading.Event()
    with Queue(tmp_path / "jobs.db", Done(), batch_size=1000) as queue:
        watcher = threading.Thread(target=lambda: [queue.size() for _ in iter(done.is_set, True)])
        watcher.start()
        longest = 0
        for _ in range(60):
            queue.push_many("n", ["x" * 500] * 1000)
            longest = max(longest, (tmp_path / "jobs.db-wal").stat().st_size)
        done.set()
        watcher.join()
        assert queue.wait_idle(60)
        longest = max(longest, (tmp_path / "jobs.db-wal").stat().st_size)
    assert longest < 24 * MIB


def test_acknowledged_jobs_outlive_a_log_that_was_removed_under_us(tmp_path):
    """This process opens the file itself, which drops its locks; another one then removes the WAL that is in use."""
    path = tmp_path / "jobs.db"
    with Queue(path) as queue:
        before = queue.push("before")
        path.read_bytes()
        look = (
            "import sys, sqlite3; c = sqlite3.connect(sys.argv[1]); print(c.execute('SELECT id FROM jobs').fetchall())"
        )
        subprocess.run([sys.executable, "-c", f"{look}; c.close()", path], capture_output=True, check=True)
        assert not (tmp_path / "jobs.db-wal").exists(), "the hazard is real"
        after = [queue.push("after"), *queue.push_many("after", range(3))]
        seen = subprocess.run([sys.executable, "-c", look, path], capture_output=True, text=True, check=True)
        assert seen.stdout.strip() == str([(job_id,) for job_id in [before, *after]])
        assert queue.check() == []


def test_closing_a_store_whose_file_was_moved_away_makes_no_other(tmp_path):
    path = tmp_path / "jobs.db"
    store = SqliteStore(path)
    store.push([new_job()])
    for file in list(tmp_path.iterdir()):
        file.rename(tmp_path / f"old-{file.name}")
    store.close()
    assert [file.name for file in tmp_path.iterdir() if not file.name.startswith("old-")] == []
    with closing(SqliteStore(tmp_path / "old-jobs.db")) as moved:
        assert moved.size(QUEUE).waiting == 1
