"""push within a transaction on the queue's file: what is refused, what stays as it was, and who waits for whom."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import django.db
import psycopg
import pytest
import sqlalchemy
from django.db.transaction import atomic
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker
from workqueue import (
    Queue,
    QueueClosed,
    QueueFull,
    QueueMoved,
    SchemaOutdated,
    StoreError,
    StoreUnavailable,
    UsageError,
)
from workqueue.errors import BatchNotFound
from workqueue.store.relational.whole import Move
from workqueue.store.sqlite import checkpoints, database, loan

from lenders import TABLE, django_at, engine, sqlite


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "jobs.db")


@pytest.fixture
def queue(path: str) -> Iterator[Queue]:
    with Queue(path) as queue:
        with queue.transaction() as rows:
            rows.execute(TABLE)
        yield queue
        with suppress(QueueClosed):
            assert queue.check() == []


@pytest.fixture
def connection(queue: Queue, path: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite(path)) as connection:
        yield connection


def test_a_push_changes_nothing_but_the_row_it_adds(queue, connection):
    queue.push("n")  # the first adds its retry rule, too
    connection.execute("BEGIN")
    before = connection.total_changes
    queue.push("n", within=connection)
    assert connection.total_changes == before + 1
    connection.execute("ROLLBACK")


def refused(queue: Queue, within: object, match: str, error: type[Exception] = UsageError) -> None:
    with pytest.raises(error, match=match):
        queue.push("task", within=within)
    assert queue.size().waiting == 0


# what is no connection to this file


class Foreign:
    """As a class of another library."""


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("psycopg2.extensions.connection", r"got: psycopg2\.extensions\.connection; use psycopg 3"),
        ("asyncpg.connection.Connection", "not async"),
        ("aiosqlite.core.Connection", "not async"),
        ("pysqlite3.dbapi2.Connection", r"sqlite3\.Connection to .*got: pysqlite3\.dbapi2\.Connection$"),
    ],
)
def test_connections_of_other_libraries(queue, kind, match):
    module, _, name = kind.rpartition(".")
    refused(queue, type(name, (Foreign,), {"__module__": module})(), match)


def test_what_is_near_to_a_connection(queue, connection):
    refused(queue, connection.cursor(), "got: sqlite3.Cursor; give its connection")
    refused(queue, "jobs.db", "got: str")
    refused(queue, AsyncSession(), "not async")
    with engine(queue.path) as made:
        refused(queue, made, "whose transaction is open")
        refused(queue, sessionmaker(made), "whose transaction is open")
    with closing(Queue(":memory:")) as other, other.transaction() as rows:
        refused(queue, rows, "without within=")


def test_a_connection_to_a_server(queue):
    class Connection(psycopg.Connection):
        def __init__(self) -> None:  # of which nothing is asked
            pass

        def __del__(self) -> None:
            pass

    refused(queue, Connection(), r"a sqlite3\.Connection to '.*jobs\.db'.*got: .*Connection")


def test_another_file(queue, tmp_path):
    with closing(sqlite(str(tmp_path / "other.db"))) as other, closing(sqlite(":memory:")) as nowhere:
        refused(queue, other, r"is to '.*other\.db'; put your tables into the queue's file")
        refused(queue, nowhere, "is to ':memory:'")
        other.execute(f"ATTACH '{queue.path}' AS jobs")
        refused(queue, other, r"is to '.*other\.db'")


def test_the_same_file_by_another_path(queue, tmp_path):
    (tmp_path / "link.db").symlink_to(queue.path)
    (tmp_path / "folder").symlink_to(tmp_path)
    for place in ("link.db", "folder/jobs.db"):
        with closing(sqlite(str(tmp_path / place))) as connection:
            queue.push("task", within=connection)
            connection.commit()
    assert queue.size().waiting == 2


def test_temporary_tables_that_hide_ours(queue, connection):
    connection.execute("CREATE TEMP TABLE mine (x)")
    queue.push("task", within=connection)
    connection.rollback()
    connection.execute("CREATE TEMP TABLE Jobs (x)")
    refused(queue, connection, "temporary ones of the same names: Jobs")


def test_a_queue_in_memory(connection):
    with Queue(":memory:") as queue:
        refused(queue, connection, "no within= for a queue in memory")
        with pytest.raises(UsageError, match="in memory"):
            queue.batch(within=connection)


def test_a_queue_that_was_closed(queue, connection):
    queue.close()
    with pytest.raises(QueueClosed):
        queue.push("task", within=connection)
    assert not connection.in_transaction


def test_apush(queue, connection):
    task = queue.task(name="task")(lambda: None).using(within=connection)
    with pytest.raises(UsageError, match=r"expected push\(\) within="):
        asyncio.run(task.apush())
    assert not connection.in_transaction


# in what no transaction can be written


def test_no_transaction_is_open_and_none_begins(queue, path):
    with closing(sqlite(path, isolation_level=None)) as connection:
        refused(queue, connection, "has none, and commits by itself; execute BEGIN IMMEDIATE")
        assert not connection.in_transaction


@pytest.mark.skipif(sys.version_info < (3, 12), reason="it has no such attribute")
def test_autocommit_as_newer_pythons_say_it(queue, path):
    with closing(sqlite(path, autocommit=True)) as connection:
        refused(queue, connection, "has none, and commits by itself")


def test_a_connection_that_was_closed_or_is_another_threads(queue, connection):
    with ThreadPoolExecutor(1) as other:
        other.submit(refused, queue, connection, "used by its own thread").result()
    connection.close()
    refused(queue, connection, "closed database")


def test_a_connection_that_may_not_write(queue, path):
    with closing(sqlite(f"file:{path}?mode=ro", uri=True)) as connection:
        refused(queue, connection, "may write")


def test_sqlalchemy_without_a_transaction(queue):
    with engine(queue.path, isolation_level="AUTOCOMMIT") as made, made.connect() as connection:
        refused(queue, connection, "commits by itself")
        connection.rollback()
    with engine(queue.path) as made:
        with made.connect() as connection:
            with connection.begin() as transaction:
                transaction.rollback()
                refused(queue, connection, "transaction")
        refused(queue, connection, "closed")
        with Session(made, autobegin=False) as session:
            refused(queue, session, "Autobegin is disabled")


class Base(DeclarativeBase):
    pass


class Word(Base):
    __tablename__ = "words"
    word: Mapped[str] = mapped_column(primary_key=True)


def test_a_session_whose_flush_has_failed(queue):
    with engine(queue.path) as made:
        Base.metadata.create_all(made)
        with Session(made) as session, session.begin():
            session.add(Word(word="a"))
        with Session(made) as session:
            session.add(Word(word="a"))
            with pytest.raises(sqlalchemy.exc.IntegrityError):
                session.flush()
            refused(queue, session, "says: .*rolled back due to a previous exception")


def test_a_session_that_is_bound_to_several_databases(queue):
    with Session() as session:
        refused(queue, session, "says: .*bind")


def test_a_scoped_session_and_a_row_of_the_orm(queue):
    with engine(queue.path) as made:
        Base.metadata.create_all(made)
        sessions = scoped_session(sessionmaker(made))
        sessions.add(Word(word="a"))
        queue.push("task", within=sessions)
        sessions.commit()
        assert queue.size().waiting == 1
        assert sessions.get(Word, "a") is not None
        sessions.remove()


def test_an_older_sqlalchemy(queue, monkeypatch):
    with engine(queue.path) as made, made.connect() as connection:
        monkeypatch.setattr(sqlalchemy, "__version__", "1.4.54")
        refused(queue, connection, "SQLAlchemy 2 or later")


def test_what_is_refused_is_not_begun(queue, tmp_path):
    with engine(str(tmp_path / "other.db")) as made, made.connect() as connection:
        refused(queue, connection, "is to '.*other.db'")
        with connection.begin():
            pass


def test_django_outside_of_atomic(queue):
    with django_at(queue.path) as connection:
        refused(queue, connection, r"Django's connection 'default' has none.*atomic\(\)")
        connection.set_autocommit(False)
        refused(queue, connection, r"atomic\(\)")
        connection.set_autocommit(True)


def test_django_after_an_error_and_closed(queue):
    with django_at(queue.path) as connection:
        with atomic():
            with suppress(ValueError), atomic(savepoint=False):
                raise ValueError
            refused(queue, connection, "has failed")
        with atomic():
            connection.close()
            refused(queue, connection, "has failed")


def test_django_by_its_alias_and_by_another_thread(queue):
    with django_at(queue.path):
        connection = django.db.connections["default"]
        with atomic():
            queue.push("task", within=connection)
            with ThreadPoolExecutor(1) as other, pytest.raises(UsageError, match="of this thread"):
                other.submit(queue.push, "task", within=connection).result()
    assert queue.size().waiting == 1


# what stays as it was


def test_the_settings_of_a_connection(queue, path, monkeypatch):
    for kind in ("INTEGER", "TEXT", "BLOB"):
        monkeypatch.setitem(sqlite3.converters, kind, lambda _value: "converted")
    with closing(sqlite(path, detect_types=sqlite3.PARSE_DECLTYPES)) as connection:
        connection.row_factory = lambda _cursor, _row: "a row"
        connection.text_factory = lambda _text: "a text"
        before = connection.row_factory, connection.text_factory, connection.isolation_level
        task = queue.task(name="task")(lambda x: None)
        inside = task.using(within=connection, key="k")
        first = inside.push("a" * 2000)
        assert inside.push("b").id == first.id
        inside.using(on_conflict="replace").push("c")
        with queue.batch(within=connection, then=task.s("d")) as batch:
            batch.add(task.s("e"))
        queue.push_many("task", range(3), within=connection)
        assert (connection.row_factory, connection.text_factory, connection.isolation_level) == before
        assert connection.execute("SELECT 'x'").fetchone() == "a row"
        connection.commit()
    assert queue.size().waiting == 6
    assert batch.standing().total == 1


def test_push_many_is_within_one_transaction_whatever_its_calls_say(queue, path, connection):
    task = queue.task(name="task")(lambda x: None)
    inside = task.using(within=connection)
    inside.push_many([inside.s("a"), task.s("b"), ("c",)])
    with (
        closing(sqlite(path)) as another,
        pytest.raises(UsageError, match="expected within= to be said of the task whos"),
    ):
        inside.push_many([inside.s("d"), task.using(within=another).s("e")])
    with pytest.raises(UsageError, match="expected within= to be said of the task whose push_many this is, not of one"):
        task.push_many([inside.s("f")])
    assert queue.jobs() == []
    connection.commit()
    assert [job.decode()["x"] for job in queue.jobs()] == ["a", "b", "c"]


def test_settings_come_back_after_an_error(queue, connection):
    connection.text_factory = bytes
    with pytest.raises(BatchNotFound):
        queue._store.batches.seal(10**9, within=connection)
    assert connection.text_factory is bytes


def test_a_connection_that_pushed_leaves_checkpoints_to_us(queue, connection):
    queue.push("task", within=connection)
    connection.commit()
    assert connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
    assert connection.execute("PRAGMA journal_size_limit").fetchone()[0] > 0


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when all of the log was copied into the file."""
    event = threading.Event()
    copy = checkpoints.Checkpoints.copy

    def noting(self: Any) -> tuple[int, int, int]:
        busy, pages, done = copy(self)
        if (busy, pages) == (0, done):
            event.set()
        return busy, pages, done

    monkeypatch.setattr(checkpoints.Checkpoints, "copy", noting)
    return event


def test_the_log_is_kept_short_after_the_commit(queue, connection, copied, monkeypatch):
    monkeypatch.setattr(checkpoints, "PAGES", 1)
    queue.push("task", within=connection)
    assert not copied.is_set()
    connection.commit()
    assert copied.wait(20)


def test_a_runner_keeps_the_log_short_that_the_application_alone_writes(queue, connection, copied, monkeypatch):
    runner = queue._store.enlist(queue.id, "test")
    queue._store.beat(runner, timedelta(seconds=60))
    assert not copied.is_set()
    monkeypatch.setattr(checkpoints, "LOG_LIMIT", 4096)
    connection.execute("INSERT INTO orders VALUES ('a')")
    connection.commit()
    queue._store.beat(runner, timedelta(seconds=60))
    assert copied.is_set()


def test_closing_the_queue_waits_for_the_application_but_a_moment(queue, connection, monkeypatch):
    waited: list[float] = []
    monkeypatch.setattr(database, "patiently", lambda step, seconds: waited.append(seconds) or step())
    queue.push("task", within=connection)
    queue.close()
    connection.commit()
    assert waited == [1.0]


# who waits for whom


def test_the_lock_is_taken_before_anything_is_read(queue, connection, path):
    """Else a writer between our look and our write would make SQLite refuse the write at once."""
    connection.execute("BEGIN")
    lent_out: list[str] = []

    def tell(statement: str) -> None:
        if "user_version" in statement:
            with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
                try:
                    other.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError as error:
                    lent_out.append(str(error))

    connection.set_trace_callback(tell)
    queue.push("task", within=connection)
    connection.set_trace_callback(None)
    connection.commit()
    assert lent_out == ["database is locked"]


def test_a_transaction_that_has_read_and_was_overtaken(queue, connection):
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM orders").fetchone()
    with queue.transaction() as rows:
        rows.execute("INSERT INTO orders VALUES ('b')")
    refused(queue, connection, "another one has written since it first read.*BEGIN IMMEDIATE", StoreUnavailable)
    assert connection.in_transaction
    connection.rollback()
    queue.push("task", within=connection)
    connection.commit()
    assert queue.size().waiting == 1


def test_ctrl_c_right_after_the_push_began_the_transaction_ends_it(queue, connection, monkeypatch):
    begin = loan.Loan.begin

    def interrupted(lent: loan.Loan, said: str) -> None:
        begin(lent, said)
        raise KeyboardInterrupt

    monkeypatch.setattr(loan.Loan, "begin", interrupted)
    with pytest.raises(KeyboardInterrupt):
        queue.push("task", within=connection)
    assert not connection.in_transaction
    assert queue.push("task")


def test_another_program_has_the_lock(queue, connection, path):
    with closing(sqlite(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused(queue, connection, "another program held it", StoreUnavailable)
        assert not connection.in_transaction
        other.execute("ROLLBACK")


def test_a_full_disk_is_told_and_leaves_nothing_half(queue, connection):
    connection.execute("INSERT INTO orders VALUES ('a')")
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(QueueFull, match="disk is full"):
        queue.push("task", "x" * 500_000, within=connection)
    connection.commit()
    assert queue.size().waiting == 0


def test_an_error_that_ends_the_whole_transaction_says_so(queue, connection):
    """As one of the disk may; here it is a trigger."""
    connection.execute("CREATE TEMP TRIGGER no BEFORE INSERT ON main.jobs BEGIN SELECT RAISE(ROLLBACK, 'no'); END")
    connection.execute("INSERT INTO orders VALUES ('a')")
    with pytest.raises(StoreError) as raised:
        queue.push("task", within=connection)
    assert not connection.in_transaction
    assert "all of the transaction" in raised.value.__notes__[0]
    with pytest.raises(StoreError) as raised:  # which began for this alone
        queue.push("task", within=connection)
    assert not hasattr(raised.value, "__notes__")


def test_a_file_whose_jobs_were_moved(queue, connection, tmp_path):
    queue._store.whole.shut(Move("a move", "elsewhere", done=False))
    connection.execute("INSERT INTO orders VALUES ('a')")
    refused(queue, connection, "moved", QueueMoved)
    connection.commit()


def test_a_file_that_a_newer_program_has_opened(queue, connection):
    connection.execute("PRAGMA user_version = 99")
    with pytest.raises(SchemaOutdated):
        queue.push("task", within=connection)
    assert not connection.in_transaction
    connection.execute("PRAGMA user_version = 4")


def test_without_a_log(tmp_path):
    path = str(tmp_path / "jobs.db")
    with Queue(path, durability="conservative") as queue, closing(sqlite(path)) as connection:
        connection.execute(TABLE)
        connection.execute("INSERT INTO orders VALUES ('a')")
        queue.push("task", within=connection)
        assert queue.size().waiting == 0
        connection.commit()
        assert queue.size().waiting == 1


# waking


def test_django_tells_of_its_commit(path):
    with Queue(path, poll_rate=1000) as queue, django_at(path) as connection:
        ran: list[int] = []
        done = threading.Event()
        task = queue.task(name="task")(lambda n: ran.append(n) or done.set())
        queue.start()
        assert queue.wait_idle(20)
        with suppress(ValueError), atomic():
            task.using(within=connection).push(1)
            raise ValueError
        with atomic():
            task.using(within=connection).push(2)
        assert done.wait(20)
        assert ran == [2]


def test_a_commit_after_the_queue_was_closed_is_no_matter(path, monkeypatch):
    monkeypatch.setattr(database, "_APPLICATIONS_PATIENCE", 0.01)
    with django_at(path) as connection:
        with atomic():
            with Queue(path) as queue:
                queue.push("task", within=connection)
        assert queue._store._database._handles._reader is None, "it was opened again"
        with Queue(path) as queue:
            assert queue.size().waiting == 1


def test_nothing_is_imported_that_the_application_does_not_use(tmp_path):
    program = (
        "import sqlite3, sys\nfrom workqueue import Queue\nq = Queue('jobs.db')\nc = sqlite3.connect('jobs.db')\n"
        "q.push('task', within=c)\nc.commit()\n"
        "print(q.size().waiting, [m for m in ('sqlalchemy', 'django', 'psycopg') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "1 []", done.stderr
