"""The line that breaks as told: whole when nothing is told, and broken at exactly the byte that was named."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest
from prove.postgres.protocol import Message, Side
from prove.postgres.proxy import Deed, Fault, Proxy

from support import until

FRONTEND, BACKEND = Side.FRONTEND, Side.BACKEND
BREAKS = [Deed.CLOSE, Deed.RESET]


@pytest.fixture
def proxy(postgres: str) -> Iterator[Proxy]:
    with psycopg.connect(postgres) as session:
        session.execute("CREATE TABLE kept (a int)")
    with Proxy(postgres) as proxy:
        yield proxy
        proxy.heal()


def connect(url: str, **options: object) -> psycopg.Connection:
    return psycopg.connect(url, autocommit=True, **options)


def count(url: str) -> int:
    with connect(url) as session:
        [n] = session.execute("SELECT count(*) FROM kept").fetchone()
    return n


def others(url: str) -> int:
    """Count the sessions of the database beside the one that asks."""
    with connect(url) as session:
        [n] = session.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchone()
    return n


def insert_and_commit(url: str) -> None:
    """Insert a row, and be told that the line broke at the commit."""
    with closing(psycopg.connect(url)) as session:
        session.execute("INSERT INTO kept VALUES (1)")
        with pytest.raises(psycopg.OperationalError):
            session.commit()


def by_statement(heard: list[Message], side: Side) -> list[tuple[str, str]]:
    """Say of which statement which kinds of message were heard from a side, in their order.

    Which side is heard first is chance.
    """
    told = [message for message in heard if message.side is side and message.statement]
    groups = itertools.groupby(told, lambda message: message.statement)
    return [(statement, " ".join(message.kind for message in said)) for statement, said in groups]


def test_all_of_the_protocol_passes(proxy):
    with connect(proxy.url, prepare_threshold=1) as session:
        for n in range(3):
            assert session.execute("SELECT %s::int, %s::text", [n, "é" * 100_000]).fetchone() == (n, "é" * 100_000)
        with session.cursor().copy("COPY kept FROM STDIN") as copy:
            for n in range(1000):
                copy.write_row([n])
        with session.pipeline(), session.cursor() as cursor:
            cursor.executemany("INSERT INTO kept VALUES (%s)", [[n] for n in range(1000)])
        with pytest.raises(psycopg.errors.DivisionByZero):
            session.execute("SELECT 1/%s", [0])
        session.execute("LISTEN bell")
        session.execute("NOTIFY bell, 'rings'")
        assert [notify.payload for notify in session.notifies(timeout=30, stop_after=1)] == ["rings"]
        assert session.execute("SELECT count(*) FROM kept").fetchone() == (2000,)
        session.cancel_safe()
    until(lambda: proxy.sessions == 0)


def test_each_message_is_known_with_its_statement(proxy):
    with connect(proxy.url, prepare_threshold=1) as session:
        proxy.heard()
        session.execute("SELECT 1; SELECT 2")
        session.execute("SELECT %s::int", [1])
        with pytest.raises(psycopg.errors.DivisionByZero):
            session.execute("SELECT 1/%s", [0])
        session.execute("BEGIN")
        session.execute("SELECT %s::int", [2])
        session.execute("COMMIT")
        heard = proxy.heard()
    assert by_statement(heard, FRONTEND) == [
        ("SELECT 1; SELECT 2", "Q"),
        ("SELECT $1::int", "P B E"),
        ("SELECT 1/$1", "P B E"),
        ("BEGIN", "Q"),
        ("SELECT $1::int", "P B E"),
        ("COMMIT", "Q"),
    ]
    assert by_statement(heard, BACKEND) == [
        ("SELECT 1; SELECT 2", "T D C T D C Z"),
        ("SELECT $1::int", "1 2 T D C Z"),
        ("SELECT 1/$1", "1 E Z"),
        ("BEGIN", "C Z 1 Z"),  # a preparation asks for no answer of a statement
        ("SELECT $1::int", "2 T D C Z"),
        ("COMMIT", "C Z"),
    ]


def test_answers_in_a_pipeline_are_told_apart(proxy):
    with connect(proxy.url, prepare_threshold=None) as session:
        proxy.heard()
        with session.pipeline():
            session.execute("SELECT %s::int", [1])
            session.execute("SELECT %s::text", ["a"])
        heard = proxy.heard()
    assert by_statement(heard, BACKEND) == [("SELECT $1::int", "1 2 T D C"), ("SELECT $1::text", "1 2 T D C Z")]


@pytest.mark.parametrize(
    ("statement", "meant"), [("COMMIT", True), ("-- x\ncommit;", True), ("BEGIN ISOLATION LEVEL READ COMMITTED", False)]
)
def test_a_statement_is_meant_by_whole_words(statement, meant):
    message = Message(FRONTEND, "Q", b"", statement)
    assert Fault(FRONTEND, Deed.CLOSE, statement="commit").describes(message) is meant


def test_what_was_armed_before_the_line_was_healed_does_not_strike(proxy):
    fault = proxy.arm(Fault(BACKEND, Deed.CLOSE, kind="C"))
    proxy.heal()
    with connect(proxy.url) as session:
        session.execute("SELECT 1")
    assert not fault.struck


@pytest.mark.parametrize("encryption", ["sslmode=prefer", "sslmode=prefer&gssencmode=prefer"])
def test_a_client_may_ask_for_encryption_and_go_on_without(proxy, encryption):
    with connect(proxy.url.replace("sslmode=disable&gssencmode=disable", encryption)) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
    assert "answer" in [message.kind for message in proxy.heard()]


@pytest.mark.parametrize("deed", BREAKS)
def test_a_commit_that_was_not_heard_whole_is_none(proxy, postgres, deed):
    asked = len(b"Q\0\0\0\0COMMIT\0")
    for byte in range(asked):
        fault = proxy.arm(Fault(FRONTEND, deed, byte, kind="Q", statement="commit"))
        insert_and_commit(proxy.url)
        assert fault.struck
    assert count(postgres) == 0


@pytest.mark.parametrize("deed", BREAKS)
def test_a_commit_whose_answer_is_cut_is_one_all_the_same(proxy, postgres, deed):
    cuts = 0
    for kind, size in (("C", len(b"C\0\0\0\0COMMIT\0")), ("Z", len(b"Z\0\0\0\0I"))):
        for byte in range(size):
            fault = proxy.arm(Fault(BACKEND, deed, byte, kind=kind, statement="commit"))
            insert_and_commit(proxy.url)
            assert fault.struck
            cuts += 1
    assert count(postgres) == cuts


def test_a_statement_of_its_own_commits_when_its_sync_was_heard(proxy, postgres):
    def insert() -> None:
        with connect(proxy.url) as session:
            proxy.heard()
            session.execute("INSERT INTO kept VALUES (%s)", [1])

    insert()
    messages = [m for m in proxy.heard() if m.kind != "X" and (m.side is BACKEND or m.kind in "PBDES")]
    assert {m.kind for m in messages if m.side is FRONTEND} == set("PBDES")
    committed = 1
    for message in messages:
        about = message.statement or None
        for byte in (0, 1, len(message.data) - 1):
            fault = proxy.arm(Fault(message.side, Deed.CLOSE, byte, message.kind, about))
            with pytest.raises(psycopg.OperationalError):
                insert()
            assert fault.struck
            committed += message.side is BACKEND
            until(lambda: others(postgres) == 0)
            assert count(postgres) == committed, f"{message.kind} at {byte}"


@pytest.mark.parametrize("side", Side)
def test_bytes_of_a_side_are_counted_from_its_first(proxy, side):
    with connect(proxy.url):
        said = sum(len(message.data) for message in proxy.heard() if message.side is side)
    for byte in range(0, said, 7):
        fault = proxy.arm(Fault(side, Deed.CLOSE, byte))
        with pytest.raises(psycopg.OperationalError):
            connect(proxy.url)
        assert fault.struck


def test_skipped_messages_pass(proxy, postgres):
    fault = proxy.arm(Fault(BACKEND, Deed.CLOSE, kind="C", statement="insert", skip=2))
    with pytest.raises(psycopg.OperationalError), connect(proxy.url) as session:
        for n in range(3):
            assert not fault.struck
            session.execute("INSERT INTO kept VALUES (%s)", [n])
    assert count(postgres) == 3


@pytest.mark.parametrize(("deed", "end"), [(Deed.CLOSE, b""), (Deed.RESET, ConnectionResetError)])
def test_what_the_client_is_told(proxy, deed, end):
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.settimeout(30)
        until(lambda: proxy.sessions == 1)
        proxy.strike(deed)
        if end == b"":
            assert client.recv(1) == end
        else:
            with pytest.raises(end):
                client.recv(1)
    until(lambda: proxy.sessions == 0)


def test_what_is_held_arrives_when_all_is_well_again(proxy, postgres):
    with connect(proxy.url) as session, ThreadPoolExecutor(1) as pool:
        fault = proxy.arm(Fault(BACKEND, Deed.HOLD, 3, kind="C", statement="insert"))
        answer = pool.submit(session.execute, "INSERT INTO kept VALUES (1)")
        fault.wait()
        assert count(postgres) == 1
        assert not answer.done()
        proxy.heal()
        assert answer.result(30).rowcount == 1


def test_what_is_swallowed_is_gone_and_the_server_does_not_know(proxy, postgres):
    with connect(proxy.url) as session, ThreadPoolExecutor(1) as pool:
        fault = proxy.arm(Fault(FRONTEND, Deed.SWALLOW, 0, statement="insert"))
        answer = pool.submit(session.execute, "INSERT INTO kept VALUES (1)")
        fault.wait()
        assert others(postgres) == 1
        proxy.heal()
        with pytest.raises(psycopg.OperationalError):
            answer.result(30)
    until(lambda: others(postgres) == 0)
    assert count(postgres) == 0


def test_a_client_that_goes_leaves_its_swallowed_session_behind(proxy, postgres):
    session = connect(proxy.url)
    proxy.strike(Deed.SWALLOW)
    session.close()
    assert others(postgres) == 1
    with pytest.raises(psycopg.errors.ConnectionTimeout):
        connect(proxy.url, connect_timeout=2)
    proxy.heal()
    until(lambda: others(postgres) == 0)
    with connect(proxy.url) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)


def test_a_line_that_refuses_is_there_again_when_healed(proxy):
    with connect(proxy.url) as session:
        proxy.refuse()
        assert session.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match="refused"):
            connect(proxy.url)
        proxy.heal()
        with connect(proxy.url) as another:
            assert another.execute("SELECT 1").fetchone() == (1,)


def test_a_delay_comes_before_each_message(proxy):
    with connect(proxy.url) as session:
        fault = proxy.arm(Fault(BACKEND, Deed.DELAY, 1, kind="D", seconds=0.01))
        proxy.delay = 0.001
        assert session.execute("SELECT 1").fetchone() == (1,)
        assert fault.struck


def test_a_server_that_is_down_or_dies_is_seen_through_the_line(proxy, postgres_server):
    with connect(proxy.url) as session:
        postgres_server.kill()
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError):
            connect(proxy.url)
        postgres_server.start()
    with connect(proxy.url) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)


def test_a_fault_that_nothing_meets_is_named(proxy):
    with pytest.raises(TimeoutError, match="statement='never'"):
        proxy.arm(Fault(BACKEND, Deed.CLOSE, statement="never")).wait(0)
