"""What a handler's connection does on PostgreSQL alone; what it does on each engine is in tests/conformance."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from workqueue import Queue
from workqueue.context import Context, injected
from workqueue.errors import StoreUnavailable, UsageError
from workqueue.store.postgres import connection
from workqueue.store.postgres.connection import MOST
from workqueue.store.postgres.engine import PostgresStore

from postgres_fixtures import VERSIONS
from support import LEASE, QUEUE, push

pytestmark = pytest.mark.parametrize("postgres_version", VERSIONS)

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)
written = text.flatmap(
    lambda value: st.tuples(
        st.sampled_from(
            [
                "'" + value.replace("'", "''") + "'",
                "E'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'",
                "e'' -- ?\n '" + value.replace("\\", "\\\\").replace("'", "''") + "'",
                f"/* ' ? :a */ $_x${value}$_x$ -- :a ' ?\n",
            ]
        ),
        st.just(value),
    )
)


@pytest.fixture
def store(postgres):
    store = PostgresStore(postgres)
    yield store
    assert store.check() == []
    store.close()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(values=st.lists(written | text, min_size=1, max_size=6))
def test_the_server_reads_a_statement_as_its_translation_did(store, values):
    expected = tuple(value if isinstance(value, str) else value[1] for value in values)
    given = {f"p{number}": value for number, value in enumerate(values) if isinstance(value, str)}
    columns = ["?" if isinstance(value, str) else value[0] for value in values]
    named = [f":p{number}" if isinstance(value, str) else value[0] for number, value in enumerate(values)]
    with store.transaction() as transaction:
        if given:
            assert transaction.execute(f"SELECT {','.join(columns)}", list(given.values())).fetchone() == expected
            assert transaction.execute(f"SELECT {','.join(named)}", given).fetchone() == expected
        else:
            assert transaction.execute(f"SELECT {','.join(columns)}").fetchone() == expected


def test_the_drivers_own_placeholders_work(store):
    with store.transaction() as transaction:
        assert transaction.execute("SELECT %s::int, '%%'", (1,)).fetchone() == (1, "%")
        assert transaction.execute("SELECT %(a)s::int", {"a": 1}).fetchone() == (1,)
        transaction.execute("CREATE TABLE notes (word TEXT)")
        transaction.executemany("INSERT INTO notes VALUES (%s)", [("a",), ("b",)])
        assert transaction.execute("SELECT count(*), '%s' FROM notes").fetchone() == (2, "%s")


def test_operators_that_look_like_parameters(store):
    with store.transaction() as transaction:
        assert transaction.execute("""SELECT '{"a": 1}'::jsonb ? 'a'""").fetchone() == (True,)
        assert transaction.execute("""SELECT '{"a": 1}'::jsonb ?? ?""", ("b",)).fetchone() == (False,)
        assert transaction.execute("""SELECT '{"a": 1}'::jsonb ? :key""", {"key": "a"}).fetchone() == (True,)
        assert transaction.execute("SELECT (ARRAY[1,2,3])[2:?]", (3,)).fetchone() == ([2, 3],)


def test_a_block_that_went_on_after_a_lost_connection_says_so(store):
    with pytest.raises(StoreUnavailable), store.transaction() as transaction:
        push(store)
        transaction.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert store.size(QUEUE).waiting == 0
    with store.transaction():
        push(store)
    assert store.size(QUEUE).waiting == 1


def test_a_block_begins_though_the_idle_connections_are_gone(store, postgres):
    push(store)
    with psycopg.connect(postgres, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    with store.transaction():
        push(store)
    assert store.size(QUEUE).waiting == 2


def test_handlers_leave_connections_for_the_beat(store, monkeypatch):
    """However long their transactions take: else others would take a healthy worker's jobs."""
    runner = store.enlist(QUEUE, "tests")
    begun = threading.Barrier(MOST - 4 + 1)
    over = threading.Event()

    def handle() -> None:
        with store.transaction():
            begun.wait(30)
            over.wait(30)

    with ThreadPoolExecutor(MOST) as threads:
        handlers = [threads.submit(handle) for _ in range(MOST - 4)]
        begun.wait(30)
        monkeypatch.setattr(connection, "_PATIENCE", 0)
        with pytest.raises(StoreUnavailable, match="transactions hold all 16"), store.transaction():
            pass
        assert store.beat(runner, LEASE).held == {}
        over.set()
        for handler in handlers:
            handler.result(30)


def test_an_error_of_another_database_comes_through(store, postgres):
    with pytest.raises(psycopg.errors.UndefinedTable), store.transaction(), psycopg.connect(postgres) as other:
        other.execute("SELECT * FROM nowhere")


def test_a_constraint_that_is_judged_at_the_commit_rolls_back(store):
    with store.transaction() as transaction:
        transaction.execute("CREATE TABLE once (a INT UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(psycopg.errors.UniqueViolation), store.transaction() as transaction:
        push(store)
        transaction.executemany("INSERT INTO once VALUES (?)", [(1,), (1,)])
    assert store.size(QUEUE).waiting == 0


@pytest.mark.parametrize(
    "statement",
    [
        "SET search_path = pg_catalog",
        "CREATE TEMP TABLE mine (a INT)",
        "/* x */ set session statement_timeout = 9999",
        "WITH x AS (SELECT set_config('statement_timeout', '9s', false)) SELECT * FROM x",
        "SELECT pg_try_advisory_lock(42)",
        "SELECT Pg_Advisory_Lock_Shared(42)",
        "SELECT 1 AS a INTO TEMPORARY mine",
        "CREATE TABLE pg_temp.mine (a INT)",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    ],
)
def test_what_is_set_for_the_session_ends_with_the_block(store, statement):
    with store.transaction() as transaction:
        transaction.execute(statement)
        before = transaction.execute("SELECT pg_backend_pid()").fetchone()
    with store.transaction() as transaction:
        assert transaction.execute("SELECT pg_backend_pid()").fetchone() != before
        assert transaction.execute("SELECT to_regclass('mine')").fetchone() == (None,)
        transaction.execute("SET LOCAL search_path = pg_catalog")
        before = transaction.execute("SELECT pg_backend_pid()").fetchone()
    with store.transaction() as transaction:
        assert transaction.execute("SELECT pg_backend_pid()").fetchone() == before


@pytest.mark.parametrize("statement", ["PREPARE TRANSACTION 'x'", "START TRANSACTION", "ABORT", "COMMIT AND CHAIN"])
def test_the_other_endings_are_refused(store, statement):
    with pytest.raises(UsageError, match="leave that to the block"), store.transaction() as transaction:
        push(store)
        transaction.execute(statement)
    assert store.size(QUEUE).waiting == 0


def test_a_procedure_cannot_commit(store):
    with pytest.raises(psycopg.errors.InvalidTransactionTermination), store.transaction() as transaction:
        push(store)
        transaction.execute("DO $$ BEGIN COMMIT; END $$")
    assert store.size(QUEUE).waiting == 0


def test_a_function_whose_body_has_statements_can_be_made(store):
    with store.transaction() as transaction:
        transaction.execute("CREATE FUNCTION two() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END")
        assert transaction.execute("SELECT two()").fetchone() == (2,)


@pytest.mark.parametrize("statement", ["COPY notes FROM STDIN", "/* x */ copy (SELECT 1) to stdout"])
def test_copy_through_the_client_is_refused_and_the_store_goes_on(store, statement):
    with pytest.raises(UsageError, match="say INSERT by executemany"), store.transaction() as transaction:
        push(store)
        transaction.execute("CREATE TABLE notes (word TEXT)")
        transaction.execute(statement)
    assert store.size(QUEUE).waiting == 0
    push(store)


def test_what_a_handler_pushes_in_its_transaction_comes_with_it(postgres):
    """Plain, with terms, many and scheduled jobs, from tasks on a loop that take turns."""
    ran: list[str] = []
    with Queue(postgres) as queue:

        @queue.task
        async def child(name: str) -> None:
            ran.append(name)

        @queue.task
        async def parent(number: int, fails: bool, *, ctx: Context = injected) -> None:
            await asyncio.sleep(0)
            with ctx.transaction() as rows:
                rows.execute("INSERT INTO effects VALUES (:number)", {"number": number})
                child.push(f"plain {number}")
                child.using(key=f"key {number}").push(f"key {number}")
                child.push_many([(f"many {number}",), (f"more {number}",)])
                child.using(after=timedelta(microseconds=1)).push(f"later {number}")
                if fails:
                    raise ValueError("rolled back")
            await asyncio.sleep(0)

        with queue.transaction() as rows:
            rows.execute("CREATE TABLE effects (number INT)")
        handles = [parent.push(number, fails=number % 2 == 1) for number in range(6)]
        queue.start()
        for handle in handles:
            assert handle.wait(30)
        assert queue.wait_idle(30)
        with queue.transaction() as rows:
            effects = rows.execute("SELECT number FROM effects ORDER BY number").fetchall()
    assert effects == [(0,), (2,), (4,)]
    assert sorted(ran) == sorted(f"{kind} {n}" for kind in ("plain", "key", "many", "more", "later") for n in (0, 2, 4))
