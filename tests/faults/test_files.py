"""Files that cannot hold a queue, and the settings that the promises rest on."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from prove.clock import FakeClock
from workqueue import Queue, QueueClosed, SchemaOutdated, StoreError, StoreUnavailable, UnsuitableFile, UsageError
from workqueue.store.sqlite import connection as sqlite
from workqueue.store.sqlite import database as database_module
from workqueue.store.sqlite import engine as engine_module
from workqueue.store.sqlite import handles as handles_module
from workqueue.store.sqlite import location
from workqueue.store.sqlite.engine import SqliteStore
from workqueue.store.sqlite.handles import Handles
from workqueue.store.sqlite.owners import Owners
from workqueue.store.sqlite.schema import VERSION
from workqueue.upkeep import Upkeep

from support import new_job


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(UnsuitableFile, match="is a folder; add a file name"):
        Queue(tmp_path)


def test_the_folder_must_be_there(tmp_path):
    with pytest.raises(UnsuitableFile, match="create it"):
        Queue(tmp_path / "none" / "jobs.db")


@pytest.mark.parametrize("side", ["-owners", "-reserve", "-wake-1"])
def test_a_link_that_somebody_left_leads_no_file_of_ours_elsewhere(tmp_path, side):
    """Row 98 of the threats we know of; a link in place of the database itself is the user's word where it stands."""
    folder = tmp_path / "shared"
    folder.mkdir()
    elsewhere = tmp_path / "elsewhere"
    (folder / f"jobs.db{side}").symlink_to(elsewhere)
    if side == "-owners":
        with pytest.raises(StoreUnavailable, match=r"expected .*jobs\.db-owners'.* no link"):
            Queue(folder / "jobs.db")
    else:
        with Queue(folder / "jobs.db") as queue:
            runner = queue._store.enlist("default", "tests")
            queue.push("n")
            queue._store.retire(runner)
    assert not elsewhere.exists()


def test_what_is_no_database_stays_as_it_was(tmp_path):
    path = tmp_path / "letter.txt"
    path.write_bytes(b"Dear Ada, " * 1000)
    with pytest.raises(UnsuitableFile, match="sound database") as caught:
        Queue(path)
    assert caught.value.path == str(path)
    assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)
    assert path.read_bytes() == b"Dear Ada, " * 1000
    assert [entry.name for entry in tmp_path.iterdir()] == ["letter.txt"]


def test_a_file_that_another_process_makes_just_now_is_ours(tmp_path, monkeypatch):
    """As when all processes of a web server open a new file at once."""
    path = tmp_path / "jobs.db"
    connect_bare = sqlite.connect_bare

    class Late(sqlite3.Connection):
        """Lets the other process make its tables after the first question."""

        def execute(self, *asked: str) -> sqlite3.Cursor:
            answer = super().execute(*asked).fetchone()
            monkeypatch.setattr(sqlite, "connect_bare", connect_bare)
            SqliteStore(path, clock=FakeClock()).close()
            return super().execute("SELECT ?", answer)

    monkeypatch.setattr(sqlite, "connect_bare", lambda path: sqlite3.connect(path, factory=Late))
    owners = Owners(f"{path}-owners")
    Handles(str(path), "full", clock=FakeClock(), authorise=lambda *_: 0, owners=lambda: owners).refuse_foreign()
    owners.close()
    SqliteStore(path, clock=FakeClock()).close()


def test_another_programs_database_stays_as_it_was(tmp_path):
    path = tmp_path / "app.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE users (name)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(UnsuitableFile, match="another program's SQLite database"):
        Queue(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["app.db"]


def test_a_newer_schema_is_refused_before_anything_is_written(tmp_path):
    path = tmp_path / "jobs.db"
    Queue(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    with pytest.raises(SchemaOutdated, match="upgrade this program") as caught:
        Queue(path)
    assert (caught.value.found, caught.value.known) == (999, VERSION)


def test_a_schema_that_becomes_newer_stops_an_open_queue(tmp_path):
    with Queue(tmp_path / "jobs.db") as queue:
        connection = sqlite3.connect(tmp_path / "jobs.db")
        connection.execute("PRAGMA user_version = 999")
        connection.close()
        for verb in (lambda: queue.push("n"), queue.size):
            with pytest.raises(SchemaOutdated):
                verb()


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "virtiofs", "fuse.sshfs"])
def test_network_file_systems_are_refused_unless_told(tmp_path, monkeypatch, kind):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 0:1 / / rw - ext4 /dev/a rw\n2 1 0:2 / {tmp_path} rw shared:1 - {kind} server:/x rw\n")
    monkeypatch.setattr(location, "MOUNTS", mounts)
    with pytest.raises(UnsuitableFile, match=f"shared file system \\({kind}\\)"):
        Queue(tmp_path / "jobs.db")
    Queue(tmp_path / "jobs.db", allow_network=True).close()


def test_a_damaged_file_says_what_to_do(tmp_path):
    path = tmp_path / "jobs.db"
    with Queue(path) as queue:
        queue.push_many("n", ["x" * 500] * 2000)
    for log in ("-wal", "-shm"):  # all of it is in the file, and nobody has that open now
        (tmp_path / f"jobs.db{log}").unlink(missing_ok=True)
    with path.open("r+b") as file:
        for page in range(2, 150):
            file.seek(page * 4096)
            file.write(b"\xff" * 2048)
    with pytest.raises(StoreError), Queue(path) as queue:
        if queue.check():
            raise UnsuitableFile("check found it", path=str(path))


@pytest.mark.parametrize(
    ("durability", "journal", "synchronous"), [("full", "wal", 2), ("process", "wal", 1), ("conservative", "delete", 3)]
)
def test_every_connection_has_the_settings(tmp_path, monkeypatch, durability, journal, synchronous):
    opened = []
    connect = sqlite.connect
    monkeypatch.setattr(sqlite, "connect", lambda *args: opened.append(connect(*args)) or opened[-1])

    class Worker:
        def id(self):
            return "w"

        def do_work(self, ctx, job):
            with ctx.transaction() as database:
                database.execute("CREATE TABLE IF NOT EXISTS t (x)")

    with Queue(tmp_path / "jobs.db", Worker(), durability=durability) as queue:
        queue.push("n")
        assert queue.wait_idle(30)
        assert queue.get.__name__  # the reading connection was used by wait_idle
        if journal == "wal":
            queue._store._database.checkpoint()
        assert len(opened) >= (4 if journal == "wal" else 3)  # writer, reader, guest, checkpointer
        for connection in opened:
            values = {
                name: connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous", "wal_autocheckpoint", "mmap_size", "foreign_keys")
            }
            assert values == {
                "journal_mode": journal,
                "synchronous": synchronous,
                "wal_autocheckpoint": 0,
                "mmap_size": 0,
                "foreign_keys": 1,
            }


def test_those_who_share_a_file_agree_on_its_durability(tmp_path):
    with Queue(tmp_path / "jobs.db"), pytest.raises(UnsuitableFile, match="durability"):
        Queue(tmp_path / "jobs.db", durability="conservative")


OPENS = """
import sys
from workqueue import Queue
with Queue(sys.argv[1], durability=sys.argv[2]) as queue:
    print(queue.push("n"), flush=True)
    sys.stdin.read()
"""


def opened_elsewhere(path: Path, durability: str) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-c", OPENS, path, durability]
    return subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def journal(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA journal_mode").fetchone()[0]


@pytest.mark.parametrize(("theirs", "ours"), [("full", "conservative"), ("conservative", "full")])
def test_processes_that_share_a_file_agree_on_its_durability(tmp_path, monkeypatch, theirs, ours):
    """To change it, nobody else may have the file open."""
    monkeypatch.setattr(handles_module, "_AGREEING", 0.05)
    path = tmp_path / "jobs.db"
    with opened_elsewhere(path, theirs) as other:
        assert other.stdout.readline() == b"1\n"
        before = journal(path)
        with pytest.raises(UnsuitableFile, match="stop those first to change it"):
            Queue(path, durability=ours)
        assert journal(path) == before
        with Queue(path, durability=theirs) as queue:
            assert queue.push("n") == 2
        other.communicate()
    with Queue(path, durability=ours) as queue:
        assert queue.push("n") == 3
        assert journal(path) != before


def test_processes_that_change_the_durability_together_find_to_it(tmp_path):
    """As the workers of one program that is started anew after its options were changed."""
    path = tmp_path / "jobs.db"
    Queue(path, durability="conservative").close()
    others = [opened_elsewhere(path, "full") for _ in range(4)]
    assert sorted(int(other.stdout.readline()) for other in others) == [1, 2, 3, 4]
    assert [other.communicate()[1] for other in others] == [b""] * 4
    assert journal(path) == "wal"


def test_a_checkpoint_runs_only_while_we_hold_the_write_lock(tmp_path):
    """No writer can reset the log meanwhile: that race is SQLite's WAL-reset bug."""
    store = SqliteStore(tmp_path / "jobs.db")
    database = store._database
    database.checkpoint()
    real = database._handles._checkpointer
    locked = []

    class Watching:
        def execute(self, statement):
            program = (
                f"import sqlite3; c = sqlite3.connect({store.path!r}, timeout=0, isolation_level=None)\n"
                "try: c.execute('BEGIN IMMEDIATE')\nexcept sqlite3.OperationalError as error: print(error)"
            )
            locked.append(
                subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip()
            )
            return real.execute(statement)

        def close(self):
            real.close()

    database._handles._checkpointer = Watching()
    busy, pages, copied = database.checkpoint()
    assert locked == ["database is locked"]
    store.close()
    assert (busy, pages) == (0, copied)


def test_queues_of_one_file_in_one_process_share_it_and_part_from_it_singly(tmp_path):
    class Worker:
        def id(self):
            return "w"

        def do_work(self, ctx, job):
            pass

    one = Queue(tmp_path / "jobs.db", Worker(), id="one")
    with Queue(tmp_path / "jobs.db", Worker(), id="two") as two:
        assert one._store._database is two._store._database
        runner = two._runner._id
        one.close()
        program = (
            "import fcntl, sys\nwith open(sys.argv[1], 'r+b') as f:\n"
            "    try: fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, int(sys.argv[2])); print('free')\n"
            "    except OSError: print('held')"
        )
        owners = str(tmp_path / "jobs.db-owners")
        seen = subprocess.run([sys.executable, "-c", program, owners, str(runner)], capture_output=True, text=True)
        assert seen.stdout == "held\n"
        two.push("n")
        assert two.wait_idle(30)
    assert sorted(entry.name for entry in tmp_path.iterdir() if "wake" in entry.name) == []


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(days=3650), -timedelta(hours=1)], ids=str)
def test_a_clock_that_steps_rescues_nobody_who_lives(step):
    from prove.clock import FakeClock
    from workqueue.store.memory.engine import MemoryStore

    from support import claim_all

    clock = FakeClock()
    store = MemoryStore(clock)
    store.push([new_job() for _ in range(5)])
    claim_all(store)
    upkeep = Upkeep(store, 0, every=timedelta(seconds=0.5), lease=timedelta(seconds=60), archive=True)
    upkeep._quiet_until = 0.0  # it has been at work for long
    clock.advance(step)
    assert upkeep.step() == []
    assert upkeep.step() == []


def test_a_runner_that_dies_while_it_leaves_leaves_no_bell_that_nobody_knows_of(tmp_path, monkeypatch):
    def dies(*_):
        raise KeyboardInterrupt

    store = SqliteStore(tmp_path / "jobs.db")
    runner = store.enlist("q", "first")
    bell = tmp_path / f"jobs.db-wake-{runner}"
    assert bell.exists()
    monkeypatch.setattr(store, "_strike_off", dies)
    with pytest.raises(KeyboardInterrupt):
        store.retire(runner)
    assert not bell.exists()
    bell.touch()  # as one that was killed leaves it
    with pytest.raises(KeyboardInterrupt):
        store.enlist("q", "second")
    assert not bell.exists()
    assert runner in [runner.id for runner in store.overview().runners]
    store.close()


HOLDS = """
import fcntl, sys
with open(sys.argv[1], "r+b") as owners:
    fcntl.lockf(owners, fcntl.LOCK_EX, 2, 1)
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_runner_passes_by_the_ids_of_those_who_work_on_an_older_file(tmp_path, monkeypatch):
    """A backup was put back under a worker: that holds the byte of an id which the new file has not given out."""
    store = SqliteStore(tmp_path / "jobs.db")
    program = [sys.executable, "-c", HOLDS, tmp_path / "jobs.db-owners"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        assert [store.enlist("q", "first"), store.enlist("q", "second")] == [3, 4]
        assert [runner.id for runner in store.overview().runners] == [3, 4]
        monkeypatch.setattr(engine_module, "_MOST_TAKEN", 1)
        store._database.owners.hold(5)  # as this process does for a runner of its own on the older file
        with pytest.raises(StoreUnavailable, match="expected a free byte"):
            store.enlist("q", "third")
        assert store.push([new_job()]) == [1]
        other.communicate()
    store.close()


def test_a_runner_that_could_not_be_enlisted_holds_nothing(tmp_path, monkeypatch):
    """Its id is given out again, to another process."""
    store = SqliteStore(tmp_path / "jobs.db", durability="conservative")
    monkeypatch.setattr(database_module, "PATIENCE", 0.05)
    reader = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM jobs").fetchone()
    with pytest.raises(StoreUnavailable, match="write lock"):
        store.enlist("q", "first")
    reader.close()
    assert store._database.owners.is_dead(1)
    assert store.enlist("q", "second") == 1
    store.close()


def test_a_runner_does_not_start_inside_a_transaction(tmp_path):
    store = SqliteStore(tmp_path / "jobs.db")
    with store.transaction():
        with pytest.raises(UsageError, match="start it after the block"):
            store.enlist("q", "inside")
    assert store.overview().runners == []
    store.close()


def test_a_thread_that_waited_for_its_turn_while_the_file_was_closed_does_not_open_it_anew(tmp_path):
    """As a handler that runs on past the grace: it asked when the store was open."""
    store = SqliteStore(tmp_path / "jobs.db")
    database = store._database
    store.close()
    for late in (
        lambda: database.write(lambda _connection, now: now, lambda *_: True),
        lambda: database.read(lambda _connection: None),
        lambda: database.guest(last=lambda *_: None).__enter__(),
        database.checkpoint,
    ):
        with pytest.raises(QueueClosed):
            late()
    assert [name for name in os.listdir("/proc/self/fd") if is_at(name, tmp_path)] == []


def is_at(descriptor: str, folder: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(folder))
    except FileNotFoundError:  # that of the listing itself
        return False


def test_a_new_files_name_is_flushed_before_there_is_a_job_in_it(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(location.os, "fsync", lambda file: flushed.append(os.fstat(file).st_ino))
    SqliteStore(tmp_path / "jobs.db").close()
    assert flushed == [tmp_path.stat().st_ino]
    SqliteStore(tmp_path / "jobs.db").close()
    assert len(flushed) == 1
