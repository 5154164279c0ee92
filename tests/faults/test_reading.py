"""Answers that are given again: only as long as nobody has written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from prove.clock import FakeClock
from workqueue import SchemaOutdated, StoreUnavailable
from workqueue.store.contract import Durability
from workqueue.store.sqlite.connection import Connection
from workqueue.store.sqlite.database import Database
from workqueue.store.sqlite.schema import VERSION

PAUSE = "INSERT INTO pauses (queue, name) VALUES (:queue, '')"


@pytest.fixture(params=["full", "process", "conservative"])
def database(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    durability: Durability = request.param
    database = Database(str(tmp_path / "q.db"), durability, clock=FakeClock(), allow_network=False)
    yield database
    database.close()


class Asked:
    """Counts pauses, and how often that was done."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, connection: Connection) -> int:
        self.times += 1
        pauses: int = connection.execute("SELECT count(*) FROM pauses").fetchone()[0]
        return pauses


def by_ourselves(database: Database, queue: str) -> None:
    database.write(lambda connection, _: connection.execute(PAUSE, {"queue": queue}), lambda *_: True)


def by_another(database: Database, queue: str) -> None:
    with closing(sqlite3.connect(database.path)) as other, other:
        other.execute(PAUSE, {"queue": queue})


def as_a_guest(database: Database, queue: str) -> None:
    with database.guest(last=lambda *_: None) as guest:
        guest.execute(PAUSE, {"queue": queue})


def the_disk_fails(connection: Connection, now: int) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    raise error


@pytest.mark.parametrize("write", [by_ourselves, by_another, as_a_guest])
def test_an_answer_is_given_again_until_somebody_writes(database: Database, write: Callable[[Database, str], None]):
    asked = Asked()
    assert [database.read_again("pauses", asked) for _ in range(3)] == [0, 0, 0]
    assert asked.times == 1
    for written in (1, 2):
        write(database, f"queue {written}")
        assert [database.read_again("pauses", asked) for _ in range(3)] == [written] * 3
        assert asked.times == 1 + written


def test_each_question_has_an_answer_of_its_own(database: Database):
    by_ourselves(database, "a")
    assert database.read_again("one", Asked()) == 1
    assert database.read_again("another", lambda _: "that") == "that"


def test_a_read_that_asks_anew_leaves_no_old_answer_behind(database: Database):
    asked = Asked()
    assert database.read_again("pauses", asked) == 0
    by_another(database, "a")
    assert database.read(asked) == 1
    assert database.read_again("pauses", asked) == 1


def test_a_connection_that_is_opened_anew_is_asked_anew(database: Database):
    asked = Asked()
    assert database.read_again("pauses", asked) == 0
    with pytest.raises(StoreUnavailable):  # after which nothing is trusted that was open
        database.write(the_disk_fails, lambda *_: True)
    by_another(database, "a")
    assert database.read_again("pauses", asked) == 1


def test_inside_a_transaction_of_ours_is_seen_what_it_wrote_and_nothing_of_it_is_kept(database: Database):
    asked = Asked()
    assert database.read_again("pauses", asked) == 0
    with pytest.raises(KeyboardInterrupt), database.guest(last=lambda *_: None) as guest:
        guest.execute(PAUSE, {"queue": "a"})
        assert database.read_again("pauses", asked) == 1
        raise KeyboardInterrupt
    assert database.read_again("pauses", asked) == 0


def test_an_answer_that_could_not_be_had_is_asked_for_again(database: Database):
    with pytest.raises(ZeroDivisionError):
        database.read_again("pauses", lambda _: 1 // 0)
    assert database.read_again("pauses", Asked()) == 0


def test_a_file_that_a_newer_program_has_migrated_is_refused_each_time(database: Database):
    asked = Asked()
    database.read_again("pauses", asked)
    with closing(sqlite3.connect(database.path)) as other:
        other.execute(f"PRAGMA user_version = {VERSION + 1}")
    for _ in range(2):
        for read in (database.read, lambda work: database.read_again("pauses", work)):
            with pytest.raises(SchemaOutdated):
                read(asked)
    assert asked.times == 1
