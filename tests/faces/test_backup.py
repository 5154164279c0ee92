"""`workqueue backup`: a file as of one moment, copied while others work on it; sound, and whole or not there at all."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from workqueue import JobStatus, Queue, UsageError
from workqueue.cli import group
from workqueue.store import back_up, copying, open_existing, open_store
from workqueue.store.contract import Want
from workqueue.store.paging import Find, walk
from workqueue.store.sqlite import backup

from lines import Lines
from support import everything

APP = """
from workqueue import Context, Queue, injected

queue = Queue("jobs.db", concurrency=2)

@queue.task(name="note", limit=2)
def note(n: int, text: str = "", *, ctx: Context = injected) -> None:
    ctx.wait(0.001)
    with ctx.transaction() as rows:
        rows.execute("INSERT INTO noted (n) VALUES (?)", [n])

@queue.task(name="hold")
def hold(*, ctx: Context = injected) -> None:
    ctx.wait(3600)
"""
JOBS = 3000


def run(*arguments):
    return CliRunner().invoke(group, [str(a) for a in arguments], prog_name="workqueue")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with a few jobs."""
    path = tmp_path / "jobs.db"
    with Queue(path) as queue:
        queue.push_many("n", range(3))
        queue.push("large", "x" * 100_000)
        queue.cancel(queue.push("n", 4))
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups" / "monday.db"


def test_while_a_worker_works(tmp_path, target):
    """What is done and what is not, in each backup, is all that was pushed: each job is one or the other, and once."""
    (tmp_path / "app.py").write_text(APP)
    source = tmp_path / "jobs.db"
    with Queue(source) as queue:
        with queue.transaction() as rows:
            rows.execute("CREATE TABLE noted (n INTEGER PRIMARY KEY)")
        queue.push_many("note", ({"n": n, "text": "x" * (5000 if n % 50 == 0 else 10)} for n in range(JOBS)))
        queue.push("hold", {}, priority=1)
    with subprocess.Popen(
        [sys.executable, "-m", "workqueue", "run", "app:queue", "--grace", "0s"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as worker:
        try:
            Lines(worker.stderr.fileno()).until("runs 'default'")
            with Queue(source) as queue:
                while not queue.jobs(status="running"):
                    queue.wait_idle(0.01)
            told = []
            for _ in range(4):
                result = run("backup", source, target, "--json", "--force")
                assert result.exit_code == 0, result.output
                told.append(json.loads(result.stdout))
                with closing(open_existing(target)) as store:
                    assert store.check() == []
                    jobs = list(walk(store.find, Find(limit=JOBS * 2)))
                assert {job.status for job in jobs} <= {JobStatus.PENDING, JobStatus.RETRYING}
                assert {(job.retry_count, job.lost, job.message) for job in jobs} == {(0, 0, "")}
                waiting = [job.decode()["n"] for job in jobs if job.name == "note"]
                with closing(sqlite3.connect(target)) as connection:
                    done = [n for (n,) in connection.execute("SELECT n FROM noted")]
                assert sorted(waiting + done) == list(range(JOBS))
                assert [job.name for job in jobs].count("hold") == 1
        finally:
            worker.terminate()
    assert all(one["handed_back"] > 0 for one in told), told
    assert told[0]["jobs"] > 1, "it had not done them all by then"


def test_it_is_of_the_moment_it_begins_whatever_is_pushed_meanwhile(path, target, monkeypatch):
    monkeypatch.setattr(backup, "_PAGES", 2)
    with closing(open_existing(path)) as store, Queue(path) as queue:
        before = everything(store)

        def tell(what: str, done: int, total: int) -> None:
            if what == "copying pages":
                assert len(seen) < 500, "it begins anew at each change"
                seen.append((done, total))
                queue.push("meanwhile", len(seen))

        seen: list[tuple[int, int]] = []
        made = back_up(store, str(target), tell=tell)
        assert len(seen) > 5 and seen == sorted(seen) and len({total for _, total in seen}) == 1
        assert len(store.find(Find(name="meanwhile", limit=1000)).jobs) == len(seen)
    assert (made.path, made.jobs, made.handed_back, made.size) == (str(target), 5, 0, target.stat().st_size)
    with closing(open_existing(target)) as store:
        assert everything(store) == before


def test_it_is_one_file_for_its_owner_alone_and_nothing_is_left_beside_it(path, target):
    assert run("backup", path, target).exit_code == 0
    assert [found.name for found in target.parent.iterdir()] == ["monday.db"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    copied = target.parent / "again.db"
    copied.write_bytes(target.read_bytes())  # as `cp` does, when it is needed
    with Queue(copied) as queue:
        assert queue.check() == []
        assert queue.size().waiting == 4
        assert queue.push("next") == 6, "ids that were given out are not given out again"


def test_what_ran_waits_again_and_that_counts_nowhere(path, target):
    with closing(open_store(path)) as store:
        runner = store.enlist("default", "worker")
        store.turn([], Want("default", runner, timedelta(minutes=1), 2))
        result = run("backup", path, target)
        assert "backed up 5 jobs of" in result.stdout and "2 jobs that ran wait again there" in result.stdout
        assert len(store.find(Find(status=JobStatus.RUNNING)).jobs) == 2, "here they go on"
    with closing(open_store(target)) as store:
        assert [(j.status, j.attempt, j.retry_count, j.lost) for j in store.find(Find(limit=2)).jobs] == [
            (JobStatus.PENDING, 1, 0, 0)
        ] * 2
        assert store.check() == []


def test_a_file_without_a_log(tmp_path, target):
    path = tmp_path / "conservative.db"
    with Queue(path, durability="conservative") as queue:
        queue.push("n", 1)
    assert run("backup", path, target).exit_code == 0
    with closing(open_existing(target)) as store:
        assert len(store.find(Find()).jobs) == 1
        assert store.overview().engine.settings["journal_mode"] == "delete"


def test_a_file_whose_jobs_were_moved_is_backed_up_as_it_is(path, target, tmp_path):
    with closing(open_store(path)) as store, closing(open_store(tmp_path / "other.db")) as other:
        copying.copy(store, other)
    assert run("backup", path, target).exit_code == 0
    with closing(open_existing(target)) as store:
        assert len(store.overview().moves) == 1
        assert store.check() == []


def test_what_is_there_is_replaced_only_when_told(path, target):
    target.write_bytes(b"what was there")
    refused = run("backup", path, target)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "say --force to replace it" in refused.stderr
    assert target.read_bytes() == b"what was there"
    with target.open("rb") as before:
        assert run("backup", path, target, "--force").exit_code == 0
        assert before.read() == b"what was there", "another file takes its place, and none is written over"
    with closing(open_existing(target)) as store:
        assert len(store.find(Find()).jobs) == 5


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_places_where_no_backup_can_be(path, target, tmp_path, force):
    (tmp_path / "link.db").symlink_to(path)
    (tmp_path / "in-use.db-wal").write_bytes(b"frames")
    (tmp_path / "old.db-journal").write_bytes(b"pages")
    for place, said in {
        path: "another file than the queue's own",
        tmp_path / "link.db": "another file than the queue's own",
        f"{path}-wal": "another file than the queue's own",
        target.parent: "is a folder or a device",
        "/dev/null": "is a folder or a device",
        tmp_path / "no" / "such.db": "create it",
        tmp_path / "in-use.db": "belongs to another one",
        tmp_path / "old.db": "belongs to another one",
        "postgresql://host/jobs": "workqueue copy",
    }.items():
        result = run("backup", path, place, *force)
        assert (result.exit_code, result.stdout) == (2, ""), place
        assert said in result.stderr
    with closing(open_existing(path)) as store:
        assert store.check() == []


def test_a_damaged_file_gives_no_backup_and_leaves_the_last_one(path, target):
    assert run("backup", path, target).exit_code == 0
    before = target.read_bytes()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = 1")
        connection.execute("UPDATE jobs SET runner = 5 WHERE id = 2")
        connection.commit()
    result = run("backup", path, target, "--force")
    assert result.exit_code == 3
    assert "1 jobs have columns that do not fit their status; no backup was made" in result.stderr
    assert target.read_bytes() == before
    assert [found.name for found in target.parent.iterdir()] == ["monday.db"]


def test_an_end_in_the_middle_leaves_nothing(path, target, monkeypatch):
    monkeypatch.setattr(backup, "_PAGES", 2)

    def tell(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with closing(open_existing(path)) as store:
        with pytest.raises(KeyboardInterrupt):
            back_up(store, str(target), tell=tell)
        assert list(target.parent.iterdir()) == []
        assert store.check() == []


def test_a_folder_that_may_not_be_written_to(path, target):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    target.parent.chmod(0o500)
    result = run("backup", path, target)
    assert result.exit_code == 3 and "allowed to write" in result.stderr


def test_a_queue_in_memory_and_a_database_have_none(postgres, tmp_path, target):
    with closing(open_store(":memory:")) as store, pytest.raises(UsageError, match="in memory"):
        back_up(store, str(target))
    open_store(f"{postgres}&schema=mine").close()
    for url, schema in ((postgres, "workqueue"), (f"{postgres}&schema=mine", "mine")):
        open_store(url).close()
        result = run("backup", url, target)
        assert result.exit_code == 2
        assert f"pg_dump --format=custom --schema={schema} --file={target} postgresql://" in result.stderr
        assert "pg_restore --dbname=postgresql://" in result.stderr and "?schema" not in result.stderr
