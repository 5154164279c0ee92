"""PostgreSQL: a commit whose answer never comes, and a transaction that the server gave up, are not mistaken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest
from prove.postgres.protocol import Side
from prove.postgres.proxy import Deed, Fault, Proxy
from workqueue.errors import StoreUnavailable, UsageError
from workqueue.job import JobStatus, Terms
from workqueue.store.postgres import connection, database
from workqueue.store.postgres.connection import MOST, Connection
from workqueue.store.postgres.engine import PostgresStore

from postgres_fixtures import rows
from support import QUEUE, claim_one, new_job, push


@pytest.fixture
def proxy(postgres: str) -> Iterator[Proxy]:
    with Proxy(postgres) as proxy:
        yield proxy
        proxy.heal()


@pytest.fixture
def store(proxy: Proxy) -> Iterator[PostgresStore]:
    store = PostgresStore(proxy.url)
    yield store
    assert store.check() == []
    store.close()


def test_a_commit_whose_answer_is_lost_is_done_once(store, proxy, postgres):
    job = push(store, terms=Terms(key="k"))
    armed = proxy.arm(Fault(Side.BACKEND, Deed.RESET, kind="C", statement="commit"))
    assert store.cancel(job)
    assert armed.struck
    assert store.get(job).status is JobStatus.CANCELLED


def test_the_fate_of_a_commit_can_be_asked_for_while_all_connections_are_lent(store, proxy, monkeypatch):
    """Else those who lost the answer to theirs together would wait for one another."""
    monkeypatch.setattr(connection, "_PATIENCE", 0)
    job = push(store, terms=Terms(key="k"))
    armed = proxy.arm(Fault(Side.BACKEND, Deed.RESET, kind="C", statement="commit"))
    with ExitStack() as held:
        for _ in range(MOST - 1):
            held.enter_context(store._database.pool.lend())
        assert store.cancel(job)
    assert armed.struck


def test_the_id_of_a_transaction_that_a_crash_undid_is_no_proof(postgres_server, postgres, monkeypatch):
    """After a crash the server gives the ids of transactions that never reached its disk to others, who commit."""
    store = PostgresStore(postgres)
    ask = Connection.ask

    def crash_first(connection: Connection, statement: str, *row: object) -> object:
        if statement == "commit":
            monkeypatch.setattr(Connection, "ask", ask)
            postgres_server.kill()
            postgres_server.start()
            for _ in range(20):
                rows(postgres, "SELECT pg_current_xact_id()")
        return ask(connection, statement, *row)

    monkeypatch.setattr(Connection, "ask", crash_first)
    jobs = store.push([new_job(terms=Terms(key=str(key))) for key in range(2)])
    assert store.size(QUEUE).waiting == 2
    assert [store.get(job).status for job in jobs] == [JobStatus.PENDING] * 2
    store.close()


@pytest.mark.parametrize("late", [True, False], ids=["after we asked", "before"])
def test_a_commit_that_comes_after_its_fate_was_asked_changes_nothing(store, postgres, late):
    handle = store._database
    with psycopg.connect(postgres) as other:
        other.execute("CREATE TABLE public.effects (n int)")
        other.commit()
        mark = "INSERT INTO workqueue.pushes (token, at, ids) VALUES (5, 0, '{}')"
        other.execute("INSERT INTO public.effects VALUES (1)")
        if late:
            assert not handle.lasted(5)
            with pytest.raises(psycopg.errors.UniqueViolation):
                other.execute(mark)
            other.rollback()
        else:
            other.execute(mark)
            other.commit()
            assert handle.lasted(5)
            assert handle.lasted(5)
    assert rows(postgres, "SELECT count(*) FROM public.effects") == [(0 if late else 1,)]


def test_a_block_that_swallowed_an_error_of_the_server_does_not_end_as_if_it_had_committed(store):
    with pytest.raises(UsageError, match="SAVEPOINT"):
        with store.transaction() as transaction:
            push(store)
            with pytest.raises(psycopg.Error):
                transaction.execute("SELECT 1/0")
    assert store.size(QUEUE).waiting == 0


@pytest.mark.parametrize("side", Side)
def test_a_push_that_gives_up_has_stored_nothing(store, proxy, monkeypatch, side):
    push(store)
    monkeypatch.setattr(database, "PATIENCE", -1)
    armed = proxy.arm(Fault(side, Deed.CLOSE, statement='INTO "workqueue".pushes'))
    if side is Side.FRONTEND:
        with pytest.raises(StoreUnavailable):
            push(store)
        assert store.size(QUEUE).waiting == 1
    else:  # it was stored: then it says so
        assert store.get(push(store)).status is JobStatus.PENDING
        assert store.size(QUEUE).waiting == 2
    assert armed.struck


def test_a_handlers_commit_whose_answer_is_lost_completes_its_job(store, proxy, postgres):
    rows(postgres, "CREATE TABLE public.effects (n int)")
    push(store)
    claim = claim_one(store)
    armed = proxy.arm(Fault(Side.BACKEND, Deed.CLOSE, kind="C", statement="commit"))
    with store.transaction(claim) as transaction:
        transaction.execute("INSERT INTO public.effects VALUES (1)")
    assert armed.struck
    assert rows(postgres, "SELECT count(*) FROM public.effects") == [(1,)]
    assert store.size(QUEUE).waiting == 0
