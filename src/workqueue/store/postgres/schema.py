"""The schema of a store: made where there is none, and brought up to date when somebody says so."""

from __future__ import annotations

import secrets
import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from typing import Final

from psycopg import errors

from workqueue.errors import SchemaOutdated, UnsuitableFile, UsageError
from workqueue.store.postgres.address import Address, parse
from workqueue.store.postgres.connection import Connection, connect, jitter, translated
from workqueue.store.postgres.statements import VERSION, migrations

_OLDEST: Final = 140000
_PATIENCE: Final = 60.0  # seconds that a migration tries to get its locks


def prepare(connection: Connection, schema: str, shown: str) -> None:
    """See that the schema is one for this program; make it where there is none.

    Raises SchemaOutdated where it is newer, UnsuitableFile where it is older, or cannot be made by this role.
    """
    refuse_unfit(connection, shown)
    found = refuse_newer(connection, schema, shown)
    if found == 0:
        migrate(connection, schema, shown)
    elif found < VERSION:
        raise UnsuitableFile(
            f"expected the schema {schema!r} of {shown} to have version {VERSION}, got: {found}; "
            "say `workqueue migrate URL` with a role that owns it",
            path=shown,
        )


def refuse_missing(url: str) -> None:
    """Raise UnsuitableFile where there is no schema of ours: whoever only looks shall not make one."""
    address = parse(url)
    with translated(address.shown), closing(connect(address)) as connection:
        if not version(connection, address.schema):
            raise UnsuitableFile(
                f"expected the tables of workqueue in the schema {address.schema!r} of {address.shown}, but there are "
                "none; check the URL, or say `workqueue migrate URL`",
                path=address.shown,
            )


def refuse_unfit(connection: Connection, shown: str) -> None:
    """Raise UnsuitableFile where the server lacks what our statements need, or the database cannot keep all text."""
    if connection.info.server_version < _OLDEST:
        raise UnsuitableFile(
            f"expected PostgreSQL 14 or later at {shown}, got: {connection.info.server_version // 10000}", path=shown
        )
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise UnsuitableFile(
            f"expected a database with the encoding UTF8 at {shown}, got: {encoding}; make one, as by "
            "`createdb --encoding=UTF8 --template=template0 NAME`",
            path=shown,
        )


def refuse_newer(connection: Connection, schema: str, shown: str) -> int:
    """Give the version of the schema. Raises SchemaOutdated for a newer one that says it is not for us.

    Most migrations only add something: programs of the version before go on beside those of the new one.
    """
    found = version(connection, schema)
    if found > VERSION and connection.one("oldest")[0] > VERSION:
        raise SchemaOutdated(path=shown, found=found, known=VERSION)
    return found


def version(connection: Connection, schema: str) -> int:
    """Give the version of the schema; 0 where there is none."""
    row = connection.ask("has_schema", {"schema": schema}).fetchone()
    if row is None or not row[0]:
        return 0
    found = connection.ask("schema_version").fetchone()
    return 0 if found is None else int(found[0])


def migrate(connection: Connection, schema: str, shown: str) -> int:
    """Bring the schema to our version in one transaction, one migrator at a time; give the version there was.

    It waits for no lock longer than a moment, so that those who work do not queue up behind it; and tries again.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return _migrate(connection, schema)
        except errors.InsufficientPrivilege as error:
            raise UnsuitableFile(
                f"expected a role that may make or change the schema {schema!r} in {shown}, got: "
                f"{error.diag.message_primary}; say `workqueue migrate URL` with one that may, and --grant this one "
                "its rights",
                path=shown,
            ) from error
        except errors.LockNotAvailable:
            if time.monotonic() > until:
                raise
        finally:
            connection.roll_back()
        time.sleep(jitter(5))


def _migrate(connection: Connection, schema: str) -> int:
    connection.ask("begin")
    connection.ask("lock_schema", {"space": connection.space})
    connection.ask("be_brief")
    found = version(connection, schema)
    if found == 0 and not connection.one("has_place", {"schema": schema})[0]:
        connection.ask("make_place")
    for script in migrations(schema, found):
        connection.execute(script)
    row = {"version": VERSION, "made_by": f"postgresql {connection.info.server_version}"}
    if found == 0:
        connection.ask("add_meta", row)
    elif found < VERSION:
        connection.ask("set_version", row)
    connection.ask("commit")
    return found


def upgrade(url: str, grant: Sequence[str]) -> list[str]:
    """Make the schema or bring it up to date, then give each role of `grant` what its programs need. Say what was done.

    The rights hold for tables that later migrations make as well, where the same role makes them.
    """
    address = parse(url)
    with translated(address.shown), closing(connect(address)) as connection:
        refuse_unfit(connection, address.shown)
        found = refuse_newer(connection, address.schema, address.shown)
        done = [f"schema {address.schema!r} of {address.shown}: "]
        if found >= VERSION:
            done[0] += f"has version {found} already"
        else:
            migrate(connection, address.schema, address.shown)
            done[0] += f"made, with version {VERSION}" if found == 0 else f"from version {found} to {VERSION}"
        for role in grant:
            done += _grant(connection, address, role)
    return done


@contextmanager
def scratch(url: str) -> Generator[str]:
    """Give the URL of a schema beside the one of `url`, which is removed at the end with all that is in it."""
    name = f"workqueue_scratch_{secrets.token_hex(4)}"
    plain = parse(url).url
    beside = f"{plain}{'&' if '?' in plain else '?'}schema={name}"
    address = parse(beside)
    with translated(address.shown), closing(connect(address)):
        pass  # before anything is to be removed
    try:
        yield beside
    finally:
        with translated(address.shown), closing(connect(address)) as connection:
            connection.execute(connection.one("removal", {"schema": name})[0].encode())


def _grant(connection: Connection, address: Address, role: str) -> list[str]:
    try:
        connection.ask("begin")
        given = connection.ask("grants", {"schema": address.schema, "role": role}).fetchall()
        for (statement,) in given:
            connection.execute(statement.encode())
        connection.ask("commit")
    except errors.UndefinedObject as error:
        raise UsageError(
            f"expected --grant to name a role of {address.shown}, got: {role!r}; create it first"
        ) from error
    except errors.InsufficientPrivilege as error:
        raise UnsuitableFile(
            f"expected the role that owns the schema {address.schema!r} of {address.shown}, got: "
            f"{error.diag.message_primary}",
            path=address.shown,
        ) from error
    finally:
        connection.roll_back()
    return [statement for (statement,) in given]
