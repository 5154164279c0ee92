"""push within a transaction on the queue's server: what is refused, what stays as it was, and keys that two take."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import asyncpg
import psycopg
import pytest
from django.db.transaction import atomic
from psycopg import IsolationLevel, pq
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from psycopg.types.string import TextLoader
from workqueue import DuplicateJob, Queue, QueueMoved, SchemaOutdated, StoreUnavailable, UsageError
from workqueue.store.postgres.statements import VERSION
from workqueue.store.relational.whole import Move

from lenders import TABLE, django_at, engine
from postgres_fixtures import VERSIONS, Servers

IDLE = pq.TransactionStatus.IDLE
OPEN = pq.TransactionStatus.INTRANS


@pytest.fixture(scope="module")
def place(postgres_servers: Servers) -> Iterator[str]:
    with postgres_servers.database(VERSIONS[-1]) as url, Queue(url) as queue:
        with queue.transaction() as rows:
            rows.execute(TABLE)
        yield url


@pytest.fixture
def queue(place: str, request: pytest.FixtureRequest) -> Iterator[Queue]:
    with Queue(place, id=request.node.name) as queue:
        yield queue
        assert queue.check() == []


@pytest.fixture
def connection(place: str, queue: Queue) -> Iterator[psycopg.Connection]:
    with psycopg.connect(place) as connection:
        yield connection
        connection.rollback()


def refused(queue: Queue, within: object, match: str, error: type[Exception] = UsageError) -> None:
    with pytest.raises(error, match=match):
        queue.push("task", within=within)
    assert queue.size().waiting == 0


def status(connection: psycopg.Connection) -> pq.TransactionStatus:
    return connection.info.transaction_status


# what is no connection to this database


def test_connections_of_other_kinds(queue, connection, place):
    async def ask() -> None:
        other = await psycopg.AsyncConnection.connect(place)
        refused(queue, other, "got: psycopg.AsyncConnection; .*not async")
        await other.close()
        refused(queue, other, "not async")
        known = conninfo_to_dict(place)
        other = await asyncpg.connect(
            host=known["host"], port=known["port"], user=known["user"], database=known["dbname"]
        )
        refused(queue, other, "got: asyncpg.*not async")
        await other.close()

    asyncio.run(ask())
    refused(queue, connection.cursor(), "give its connection")
    with engine(place) as made:
        refused(queue, made, "whose transaction is open")


def test_another_database_and_another_store(queue, place, postgres_servers):
    with postgres_servers.database(VERSIONS[-1]) as url, psycopg.connect(url) as other:
        refused(queue, other, "own database, .*psycopg.Connection is to database 'workqueue_test_")
        assert status(other) is IDLE
        with Queue(url):
            refused(queue, other, "has another store of this name")
        with psycopg.connect(place) as connection, Queue(place + "&schema=second", id=queue.id) as second:
            second.push("task", within=connection)  # the schema is the queue's own matter
            connection.commit()
            assert second.size().waiting == 1
    assert queue.size().waiting == 0


def test_a_copy_of_the_database_is_another_one(postgres_server):
    """As a template, or a backup: it has the store's id."""
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as session:
        session.execute("CREATE DATABASE original")
        original = postgres_server.dsn("original")
        Queue(original).close()
        session.execute("CREATE DATABASE copied TEMPLATE original")
        with Queue(original) as queue, psycopg.connect(postgres_server.dsn("copied")) as connection:
            refused(queue, connection, "is to database 'copied'")
        session.execute("DROP DATABASE original")
        session.execute("DROP DATABASE copied")


def test_a_connection_is_asked_once_where_it_leads(queue, connection, monkeypatch):
    queue.push("task", within=connection)
    monkeypatch.setattr(queue._store._database.loans, "_meet", None)
    queue.push("task", within=connection)


def test_a_server_that_was_started_again_is_the_same(queue, connection):
    queue.push("task", within=connection)
    loans = queue._store._database.loans
    loans._place = loans._place._replace(started=1)
    loans._known.clear()
    queue.push("task", within=connection)
    connection.commit()
    assert queue.size().waiting == 2


def test_a_connection_that_reads_backslashes_as_escapes(queue, connection):
    connection.execute("SET standard_conforming_strings = off")
    refused(queue, connection, "standard_conforming_strings to be on for within=, but psycopg.Connection has turned")
    connection.rollback()
    queue.push("task", {"a": 1}, within=connection)
    connection.commit()
    [job] = queue.jobs()
    assert job.data == b'{"a":1}'


# in what no transaction can be written


def test_no_transaction_is_open_and_none_begins(queue, place):
    with psycopg.connect(place, autocommit=True) as connection:
        refused(queue, connection, r"has none, and commits by itself; push inside `with connection.transaction\(\)")
        with connection.transaction():
            queue.push("task", within=connection)
    assert queue.size().waiting == 1


def test_a_transaction_that_has_failed(queue, connection):
    with pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT * FROM nowhere")
    refused(queue, connection, "has failed")
    connection.rollback()
    queue.push("task", within=connection)
    connection.commit()
    assert queue.size().waiting == 1


def test_a_connection_that_was_closed_or_lost(queue, place):
    with psycopg.connect(place) as lost, psycopg.connect(place, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (lost.info.backend_pid,))
        refused(queue, lost, "expected an answer", StoreUnavailable)
        refused(queue, lost, "closed, or has lost its server")
        lost.close()
        refused(queue, lost, "closed, or has lost its server")


def test_a_connection_in_the_middle_of_something(queue, connection):
    with connection.cursor().copy("COPY (SELECT 1) TO STDOUT") as copy:
        refused(queue, connection, "in the middle of one")
        list(copy)
    connection.rollback()
    with connection.pipeline():
        refused(queue, connection, "outside of `with connection.pipeline")


def test_a_transaction_that_only_reads(queue, connection):
    connection.read_only = True
    refused(queue, connection, "may write")
    assert status(connection) is IDLE


def test_an_encoding_that_has_no_place_for_the_text(queue, connection):
    connection.execute("SET client_encoding TO latin1")
    with pytest.raises(UsageError, match="use utf8"):
        queue.push("\N{SNOWMAN}", within=connection)
    queue.push("task", "\N{SNOWMAN}", within=connection)
    connection.commit()
    assert queue.size().waiting == 1


def test_sqlalchemy_that_commits_by_itself(queue, place):
    with engine(place, isolation_level="AUTOCOMMIT") as made, made.connect() as connection:
        refused(queue, connection, "commits by itself")


def test_a_role_without_rights(queue, connection):
    connection.execute("CREATE ROLE nobody_here")
    connection.execute("SET ROLE nobody_here")
    refused(queue, connection, "rights", StoreUnavailable)
    assert connection.execute("SELECT current_user").fetchone() == ("nobody_here",)
    assert status(connection) is OPEN


# what stays as it was


def test_the_settings_of_a_connection(queue, place):
    class Loader(TextLoader):
        def load(self, data: Any) -> str:
            return "loaded"

    class BinaryLoader(Loader):
        format = pq.Format.BINARY

    with psycopg.connect(place, row_factory=dict_row, cursor_factory=psycopg.ClientCursor) as connection:
        for kind in ("int8", "int4", "text", "bytea", "bool"):
            connection.adapters.register_loader(kind, Loader)
            connection.adapters.register_loader(kind, BinaryLoader)
        task = queue.task(name="task")(lambda x: None)
        inside = task.using(within=connection, key="k")
        first = inside.push("a" * 2000)
        assert inside.push("b").id == first.id
        inside.using(on_conflict="replace").push("c")
        with queue.batch(within=connection, then=task.s("d")) as batch:
            batch.add(task.s("e"))
        pushed = queue.push_many("task", range(3), within=connection)
        assert connection.execute("SELECT 1 AS one").fetchone() == {"one": "loaded"}
        assert isinstance(connection.cursor(), psycopg.ClientCursor)
        connection.commit()
    assert [job.id for job in queue.jobs()][-3:] == pushed
    assert queue.size().waiting == 6
    assert batch.standing().total == 1


def test_after_an_error_of_the_server_the_transaction_goes_on(queue, connection, place):
    connection.execute("INSERT INTO orders VALUES ('a')")
    connection.execute("SET LOCAL lock_timeout = 10")
    task = queue.task(name="task", limit=1)(lambda: None)
    with psycopg.connect(place) as other:
        other.execute("LOCK TABLE workqueue.jobs")
        for push in (lambda: queue.push("task", within=connection), task.using(within=connection).push):
            with pytest.raises(StoreUnavailable):
                push()
            assert status(connection) is OPEN
        other.rollback()
    queue.push("task", within=connection)
    connection.commit()
    assert queue.size().waiting == 1


def test_an_error_ends_a_transaction_that_was_begun_for_it(queue, connection, place):
    connection.execute("SET lock_timeout = 10")
    connection.commit()
    with psycopg.connect(place) as other:
        other.execute("LOCK TABLE workqueue.jobs")
        with pytest.raises(StoreUnavailable):
            queue.push("task", within=connection)
        assert status(connection) is IDLE
        other.rollback()


def test_a_store_whose_jobs_were_moved(queue, connection):
    queue._store.whole.shut(Move("a move", "elsewhere", done=False))
    try:
        connection.execute("INSERT INTO orders VALUES ('a')")
        refused(queue, connection, "moved", QueueMoved)
        assert status(connection) is OPEN
    finally:
        queue._store.whole.reopen()


def test_a_store_that_a_newer_program_has_changed(queue, connection, place):
    with psycopg.connect(place) as other:
        other.execute("UPDATE workqueue.meta SET version = 99, oldest = 99")
        other.commit()
        try:
            with pytest.raises(SchemaOutdated):
                queue.push("task", within=connection)
        finally:
            other.execute("UPDATE workqueue.meta SET version = %s, oldest = 1", (VERSION,))
            other.commit()


# keys that two transactions take


@contextmanager
def by_the_queue(place: str, queue: Queue) -> Iterator[Callable[..., int]]:
    with queue.transaction():
        yield lambda task: task.push().id


@contextmanager
def by_the_application(place: str, queue: Queue) -> Iterator[Callable[..., int]]:
    with psycopg.connect(place) as connection:
        yield lambda task: task.using(within=connection).push().id


def wait_for_a_lock(place: str) -> None:
    """Until somebody waits for another's transaction."""
    with psycopg.connect(place, autocommit=True) as session:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
            if session.execute(waiting).fetchone() != (0,):
                return
    raise AssertionError("nobody waits")


@pytest.mark.parametrize("way", [by_the_queue, by_the_application])
@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize(("manner"), [{}, {"unique_for": 60}])
def test_who_waits_for_a_key_sees_what_became_of_it(queue, place, way, commits, manner):
    task = queue.task(name="once")(lambda: None).using(key="k", **manner)
    other = queue.task(name="other")(lambda: None)
    with ThreadPoolExecutor(1) as second, psycopg.connect(place) as first:
        taken = task.using(within=first).push().id

        def push() -> list[int]:
            with way(place, queue) as add:
                return [add(other), add(task), add(other)]  # its transaction can be used before and after

        pushed: Future[list[int]] = second.submit(push)
        wait_for_a_lock(place)
        (first.commit if commits else first.rollback)()
        before, found, after = pushed.result(timeout=20)
    assert (found == taken) is commits
    assert [job.id for job in queue.jobs()] == sorted({before, found, after})


@pytest.mark.parametrize("way", [by_the_queue, by_the_application])
def test_who_waits_for_a_key_and_wants_no_other_is_told(queue, place, way):
    task = queue.task(name="once")(lambda: None).using(key="k", on_conflict="error")
    other = queue.task(name="other")(lambda: None)
    with ThreadPoolExecutor(1) as second, psycopg.connect(place) as first:
        taken = task.using(within=first).push().id

        def push() -> int:
            with way(place, queue) as add:
                with pytest.raises(DuplicateJob) as raised:
                    add(task)
                assert raised.value.job_id == taken
                return add(other)

        pushed = second.submit(push)
        wait_for_a_lock(place)
        first.commit()
        after = pushed.result(timeout=20)
    assert [job.id for job in queue.jobs()] == [taken, after]


@pytest.mark.parametrize("level", [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE])
def test_a_transaction_that_sees_no_other_says_so(queue, connection, level):
    task = queue.task(name="once")(lambda: None).using(key="k")
    connection.isolation_level = level
    connection.execute("INSERT INTO orders VALUES ('a')")
    task.push()
    with pytest.raises(StoreUnavailable, match="roll back and do it again"):
        task.using(within=connection).push()
    assert status(connection) is OPEN
    connection.rollback()
    assert task.using(within=connection).push().id == queue.jobs()[0].id
    connection.commit()


def test_a_transaction_of_the_queues_own_sees_what_others_did_whatever_the_default_is(queue, place):
    task = queue.task(name="once")(lambda: None).using(key="k")
    with (
        Queue(place + "&options=" + quote("-c default_transaction_isolation=serializable"), id=queue.id) as strict,
        strict.transaction() as rows,
    ):
        rows.execute("INSERT INTO orders VALUES ('a')")
        taken = task.push()
        assert strict.task(name="once")(lambda: None).using(key="k").push().id == taken.id


@pytest.mark.parametrize("level", [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE])
def test_what_judges_others_is_refused_in_a_transaction_that_does_not_see_them(queue, connection, level):
    """A job that is kept back meanwhile, behind one that is replaced, would be let go by nobody."""
    task = queue.task(name="once", limit=1)(lambda: None)
    connection.isolation_level = level
    with pytest.raises(UsageError, match=f"in READ COMMITTED .* is in {level.name.replace('_', ' ')}"):
        task.using(within=connection, key="k", on_conflict="replace").push()
    with pytest.raises(UsageError, match="and for batches"), queue.batch(within=connection):
        pass
    assert status(connection) is IDLE
    task.using(within=connection, key="k").push()
    queue.push("task", within=connection)
    connection.commit()
    assert queue.size().waiting == 2
    connection.isolation_level = IsolationLevel.READ_UNCOMMITTED  # the server's name for the same
    task.using(within=connection, key="k", on_conflict="replace").push()
    connection.commit()
    assert queue.size().waiting == 2


# after a push that was refused


@pytest.mark.parametrize("times", range(8))
def test_the_next_push_on_the_same_connection_is_as_if_none_had_failed(queue, place, times):
    """The sixth time the driver takes a statement for prepared, though the server skipped it after an error."""
    with psycopg.connect(place, autocommit=True) as connection, psycopg.connect(place) as other:

        def push() -> None:
            with connection.transaction():
                queue.push("task", within=connection)

        def waits_too_long() -> None:
            other.execute("LOCK TABLE workqueue.jobs")
            with connection.transaction():
                connection.execute("SET LOCAL lock_timeout = 1")
                with pytest.raises(StoreUnavailable, match="let go"):
                    queue.push("task", within=connection)
            other.rollback()

        waits_too_long()
        for _ in range(times):
            push()
        waits_too_long()
        push()
    assert queue.size().waiting == times + 1


# waking


def test_django_tells_of_its_commit(place, request):
    with Queue(place, id=request.node.name, poll_rate=1000) as queue, django_at(place) as connection:
        ran: list[int] = []
        done = threading.Event()
        task = queue.task(name="task")(lambda n: ran.append(n) or done.set())
        queue.start()
        assert queue.wait_idle(20)
        with pytest.raises(ZeroDivisionError), atomic():
            task.using(within=connection, key="k").push(1)
            raise ZeroDivisionError
        with atomic():
            task.using(within=connection).push(2)
        assert done.wait(20)
        assert ran == [2]
        done.clear()
        with atomic():
            task.using(within=connection, key="k").push(3)
        assert done.wait(20)
