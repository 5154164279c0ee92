"""The schema of a store: made where there is none, and brought up to date when somebody says so."""

from __future__ import annotations

from psycopg import errors

from workqueue.errors import SchemaOutdated, UnsuitableFile
from workqueue.store.postgres.connection import Connection
from workqueue.store.postgres.statements import VERSION, migrations

_OLDEST: int = 140000


def prepare(connection: Connection, schema: str, shown: str) -> None:
    """See that the schema is one for this program; make it where there is none.

    Raises SchemaOutdated where it is newer, UnsuitableFile where it is older, or cannot be made by this role.
    """
    if connection.info.server_version < _OLDEST:
        raise UnsuitableFile(
            f"expected PostgreSQL 14 or later at {shown}, got: {connection.info.server_version // 10000}", path=shown
        )
    found = version(connection, schema)
    if found > VERSION:
        raise SchemaOutdated(path=shown, found=found, known=VERSION)
    if found == 0:
        migrate(connection, schema, shown)
    elif found < VERSION:
        raise UnsuitableFile(
            f"expected the schema {schema!r} of {shown} to have version {VERSION}, got: {found}; "
            "say `workqueue migrate URL` with a role that owns it",
            path=shown,
        )


def version(connection: Connection, schema: str) -> int:
    """Give the version of the schema; 0 where there is none."""
    row = connection.ask("has_schema", {"meta": f'"{schema}".meta'}).fetchone()
    if row is None or not row[0]:
        return 0
    found = connection.ask("schema_version").fetchone()
    return 0 if found is None else int(found[0])


def migrate(connection: Connection, schema: str, shown: str) -> int:
    """Bring the schema to our version in one transaction, one migrator at a time; give the version there was."""
    try:
        connection.ask("begin")
        connection.ask("lock_schema", {"space": connection.space})
        found = version(connection, schema)
        if found == 0 and not connection.one("has_place", {"place": f'"{schema}"'})[0]:
            connection.ask("make_place")
        for script in migrations(schema, found):
            connection.execute(script)
        row = {"version": VERSION, "made_by": f"postgresql {connection.info.server_version}"}
        if found == 0:
            connection.ask("add_meta", row)
        elif found < VERSION:
            connection.ask("set_version", row)
        connection.ask("commit")
    except errors.InsufficientPrivilege as error:
        raise UnsuitableFile(
            f"expected a role that may make the schema {schema!r} in {shown}, got: {error.diag.message_primary}; say "
            "`workqueue migrate URL` with one that may, and grant this one its rights: docs/postgres.md says how",
            path=shown,
        ) from error
    finally:
        connection.roll_back()
    return found
