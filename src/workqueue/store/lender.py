"""Lender: what the application brings for a push within its own transaction, taken apart to the driver's connection.

SQLAlchemy and Django are not imported here: whoever brings a connection of theirs has loaded them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, Protocol, cast

from workqueue.errors import UsageError

_DRIVERS: Final = ("sqlite3", "psycopg")
_OLDEST_SQLALCHEMY: Final = 2
_ADVICE: Final = (
    ("Async", "such a push blocks: do the whole transaction in a thread, on a connection that is not async"),
    ("psycopg2.", "use psycopg 3: postgresql+psycopg:// in SQLAlchemy, psycopg in place of psycopg2 for Django"),
    ("Cursor", "give its connection"),
    ("sqlalchemy.", "give the connection or session whose transaction is open"),
    ("workqueue.", "what is pushed inside that block commits with it, without within="),
)  # fmt: skip
_ASYNC: Final = ("asyncpg.", "aiosqlite.", "psycopg._async", "sqlalchemy.ext.asyncio.")


class Lender(NamedTuple):
    """connection: the driver's own. said: what it was brought as, for messages.

    begin: begins a transaction where its framework would at a statement of the application's, and must know of it.
    tell: calls what it is given when the transaction has committed; None: nobody does.
    """

    connection: object
    said: str
    begin: Callable[[], object] = lambda: None
    tell: Callable[[Callable[[], object]], object] | None = None


def lender(given: object) -> Lender:
    """Take apart what was given as `within=`. What is no connection of a framework is taken for the driver's own.

    Raises UsageError where the framework has no transaction that can be written in.
    """
    is_drivers = type(given).__module__ in _DRIVERS
    found = None if is_drivers else _of_sqlalchemy(given) or _of_django(given)
    return found or Lender(given, _name(given))


def no_lender(lent: Lender, wanted: str) -> UsageError:
    """Give the error for a connection that is none of the queue's driver."""
    name = _name(lent.connection)
    got = name if name == lent.said else f"{name} under {lent.said}"
    looked = f"Async {name}" if name.startswith(_ASYNC) else name
    advice = next((f"; {words}" for mark, words in _ADVICE if mark in looked), "")
    return UsageError(
        f"expected within= to be {wanted}, or a connection of SQLAlchemy or Django over one, got: {got}{advice}"
    )


def in_ours_already() -> UsageError:
    """Give the error for a push within two transactions at once."""
    return UsageError(
        "expected within= outside of the queue's own transaction, but this code is inside its block; leave it out: "
        "what is pushed here commits with that"
    )


def refuse_in_memory(within: object) -> None:
    """Raise UsageError for any, where jobs are in no database."""
    if within is not None:
        raise UsageError(
            f"expected no within= for a queue in memory, which no other connection can write, got: {_name(within)}; "
            "open the queue on the file or database that your own tables are in"
        )


def not_open(said: str, how: str) -> UsageError:
    """Give the error for a connection in which no transaction is open, and none begins by itself."""
    return UsageError(f"expected within= to have a transaction open, but {said} has none, and commits by itself; {how}")


def failed(said: str, why: str) -> UsageError:
    """Give the error for a transaction that nothing can be written in any more."""
    return UsageError(
        f"expected within= to have a transaction that can be committed, but that of {said} has failed ({why}); roll it "
        "back, or to a savepoint"
    )


# SQLAlchemy


class _Alchemy(Protocol):
    """SQLAlchemy's Connection."""

    @property
    def connection(self) -> Any: ...
    def in_transaction(self) -> bool: ...
    def begin(self) -> object: ...


def _of_sqlalchemy(given: object) -> Lender | None:
    is_session = _is_one_of(given, "sqlalchemy.orm", "Session", "scoped_session")
    if not is_session and not _is_one_of(given, "sqlalchemy.engine", "Connection"):
        return None
    version = str(sys.modules["sqlalchemy"].__version__)
    if int(version.partition(".")[0]) < _OLDEST_SQLALCHEMY:
        raise UsageError(f"expected SQLAlchemy 2 or later for within=, got: {version}; upgrade it")
    said = _name(given)
    with _alchemy_in_our_words(said):
        connection = cast("_Alchemy", cast("Any", given).connection() if is_session else given)
        return Lender(connection.connection.driver_connection, said, lambda: _begin(connection, said))


def _begin(connection: _Alchemy, said: str) -> None:
    """Do as its own execute() does: what it does not know to be open it does not commit."""
    if not connection.in_transaction():
        with _alchemy_in_our_words(said):
            connection.begin()


@contextmanager
def _alchemy_in_our_words(said: str) -> Generator[None]:
    try:
        yield
    except sys.modules["sqlalchemy.exc"].SQLAlchemyError as error:
        raise UsageError(
            f"expected within= to have a transaction that can be written in, but {said} says: {error}"
        ) from error


# Django


class _Django(Protocol):
    """Django's connection to a database, or what stands for that of this thread."""

    alias: str
    connection: object | None
    in_atomic_block: bool
    needs_rollback: bool

    def validate_thread_sharing(self) -> None: ...
    def on_commit(self, func: Callable[[], object], robust: bool = ...) -> None: ...


def _of_django(given: object) -> Lender | None:
    is_proxy = _is_one_of(given, "django.utils.connection", "ConnectionProxy") and hasattr(given, "in_atomic_block")
    if not is_proxy and not _is_one_of(given, "django.db.backends.base.base", "BaseDatabaseWrapper"):
        return None
    connection = cast("_Django", given)
    said = f"Django's connection {connection.alias!r}"
    try:
        connection.validate_thread_sharing()
    except sys.modules["django.db.utils"].DatabaseError as error:
        raise UsageError(f"expected within= to be a connection of this thread, but Django says: {error}") from error
    if not connection.in_atomic_block:
        raise not_open(said, "push inside `with transaction.atomic():`")
    if connection.needs_rollback:
        raise failed(said, "an error inside atomic()")
    if connection.connection is None:
        raise failed(said, "it was closed")

    def tell(call: Callable[[], object]) -> None:
        connection.on_commit(call, robust=True)

    return Lender(connection.connection, said, tell=tell)


# either


def _is_one_of(given: object, module: str, *names: str) -> bool:
    """Say whether it is of such a class, of a module that need not be loaded."""
    loaded = sys.modules.get(module)
    classes = (getattr(loaded, name, None) for name in names)
    return isinstance(given, tuple(kind for kind in classes if isinstance(kind, type)))


def _name(given: object) -> str:
    kind = type(given)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
