"""Connections of an application, each kind behind the same few words, for pushes within their transactions."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any, Protocol

import django.db
import django.db.transaction
import psycopg
import sqlalchemy
from django.conf import settings
from django.db.utils import ConnectionHandler
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.orm import Session

TABLE = "CREATE TABLE IF NOT EXISTS orders (word TEXT)"

if not settings.configured:
    settings.configure(LOGGING_CONFIG=None)
    django.setup()


class Lending(Protocol):
    """connection: what is given as within=."""

    connection: Any

    def insert(self, word: str) -> None:
        """Do as an application does: a transaction begins where none is open."""

    def commit(self) -> None: ...
    def roll_back(self) -> None: ...
    def savepoint(self) -> AbstractContextManager[None]:
        """Set one, and go back to it at the block's end."""


class Driver:
    """A connection of sqlite3 or psycopg. begin: what the application says before its first statement."""

    def __init__(self, connection: Any, begin: str = "") -> None:
        self.connection = connection
        self._begin = begin
        self._mark = "?" if isinstance(connection, sqlite3.Connection) else "%s"
        self.commit()

    def insert(self, word: str) -> None:
        self.connection.execute(f"INSERT INTO orders VALUES ({self._mark})", (word,))

    def commit(self) -> None:
        self._end("COMMIT")

    def roll_back(self) -> None:
        self._end("ROLLBACK")

    def _end(self, how: str) -> None:
        if not self._begin:
            (self.connection.commit if how == "COMMIT" else self.connection.rollback)()
        else:
            if self.is_open():
                self.connection.execute(how)
            self.connection.execute(self._begin)

    def is_open(self) -> bool:
        if self._mark == "?":
            return self.connection.in_transaction
        return self.connection.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        if self._mark == "?" and not self.connection.in_transaction:
            self.connection.execute("BEGIN")
        self.connection.execute("SAVEPOINT here")
        yield
        self.connection.execute("ROLLBACK TO here")


class Alchemy:
    """A connection of SQLAlchemy, or a session."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.commit = connection.commit
        self.roll_back = connection.rollback

    def insert(self, word: str) -> None:
        self.connection.execute(sqlalchemy.text("INSERT INTO orders VALUES (:word)"), {"word": word})

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        nested = self.connection.begin_nested()
        yield
        nested.rollback()


class Django:
    """Django's connection, in a block of atomic()."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._open()

    def _open(self) -> None:
        self._atomic = django.db.transaction.atomic()
        self._atomic.__enter__()

    def insert(self, word: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute("INSERT INTO orders VALUES (%s)", [word])

    def commit(self) -> None:
        self._atomic.__exit__(None, None, None)
        self._open()

    def roll_back(self) -> None:
        self._atomic.__exit__(ValueError, ValueError(), None)
        self._open()

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        mark = django.db.transaction.savepoint()
        yield
        django.db.transaction.savepoint_rollback(mark)

    def end(self) -> None:
        self._atomic.__exit__(ValueError, ValueError(), None)


# on a file


def sqlite(path: str, **options: Any) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=0.1, **options)


@contextmanager
def by_sqlite3(path: str) -> Iterator[Lending]:
    with closing(sqlite(path)) as connection:
        yield Driver(connection)


@contextmanager
def by_sqlite3_immediate(path: str) -> Iterator[Lending]:
    with closing(sqlite(path, isolation_level="IMMEDIATE")) as connection:
        yield Driver(connection)


@contextmanager
def by_sqlite3_that_says_begin(path: str) -> Iterator[Lending]:
    with closing(sqlite(path, isolation_level=None)) as connection:
        yield Driver(connection, "BEGIN")


@contextmanager
def by_sqlite3_without_autocommit(path: str) -> Iterator[Lending]:
    with closing(sqlite(path, autocommit=False)) as connection:
        yield Driver(connection)


# on a server


@contextmanager
def by_psycopg(url: str) -> Iterator[Lending]:
    with psycopg.connect(url) as connection:
        yield Driver(connection)
        connection.rollback()


@contextmanager
def by_psycopg_through_a_pooler(url: str) -> Iterator[Lending]:
    with psycopg.connect(url, prepare_threshold=None) as connection:
        yield Driver(connection)
        connection.rollback()


@contextmanager
def by_psycopg_that_says_begin(url: str) -> Iterator[Lending]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield Driver(connection, "BEGIN")
        connection.rollback()


# on either


@contextmanager
def engine(place: str, **options: Any) -> Iterator[sqlalchemy.Engine]:
    url = place.replace("postgresql:", "postgresql+psycopg:") if "://" in place else f"sqlite:///{place}"
    engine = sqlalchemy.create_engine(url, **options)
    yield engine
    engine.dispose()


@contextmanager
def by_sqlalchemy(place: str) -> Iterator[Lending]:
    with engine(place) as made, made.connect() as connection:
        yield Alchemy(connection)


@contextmanager
def by_session(place: str) -> Iterator[Lending]:
    with engine(place) as made, Session(made) as session:
        yield Alchemy(session)


@contextmanager
def by_sqlalchemy_that_says_begin(path: str) -> Iterator[Lending]:
    """As its documentation has it for sqlite3, where savepoints are to work."""
    with engine(path) as made:

        @sqlalchemy.event.listens_for(made, "connect")
        def silence(connection: sqlite3.Connection, _record: object) -> None:
            connection.isolation_level = None

        @sqlalchemy.event.listens_for(made, "begin")
        def begin(connection: sqlalchemy.Connection) -> None:
            connection.exec_driver_sql("BEGIN")

        with made.connect() as connection:
            yield Alchemy(connection)


@contextmanager
def django_at(place: str) -> Iterator[Any]:
    """Give django.db.connection, to the database at this place."""
    if "://" in place:
        known = conninfo_to_dict(place)
        found = {"ENGINE": "django.db.backends.postgresql", "NAME": known["dbname"], "USER": known["user"]}
        found |= {"HOST": known["host"], "PORT": known["port"]}
    else:
        found = {"ENGINE": "django.db.backends.sqlite3", "NAME": place, "OPTIONS": {"timeout": 0.1}}
    connections = django.db.connections  # of this thread
    connections["default"] = ConnectionHandler({"default": found})["default"]
    try:
        yield django.db.connection
    finally:
        django.db.connection.close()
        del connections["default"]


@contextmanager
def by_django(place: str) -> Iterator[Lending]:
    with django_at(place) as connection:
        lending = Django(connection)
        try:
            yield lending
        finally:
            lending.end()


Lend = Callable[[str], AbstractContextManager[Lending]]
ON_A_FILE: dict[str, Lend] = {
    "sqlite3": by_sqlite3,
    "sqlite3, IMMEDIATE": by_sqlite3_immediate,
    "sqlite3, BEGIN": by_sqlite3_that_says_begin,
    "SQLAlchemy": by_sqlalchemy,
    "SQLAlchemy, BEGIN": by_sqlalchemy_that_says_begin,
    "SQLAlchemy's session": by_session,
    "Django": by_django,
}
THROUGH_A_POOLER: dict[str, Lend] = {"psycopg": by_psycopg_through_a_pooler, "Django": by_django}
if sys.version_info >= (3, 12):
    ON_A_FILE["sqlite3, autocommit=False"] = by_sqlite3_without_autocommit
ON_A_SERVER: dict[str, Lend] = {
    "psycopg": by_psycopg,
    "psycopg, BEGIN": by_psycopg_that_says_begin,
    "SQLAlchemy": by_sqlalchemy,
    "SQLAlchemy's session": by_session,
    "Django": by_django,
}
