"""Where a store is: the URL of a database, and the schema in it that `?schema=` names."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from workqueue.errors import UnsuitableFile

SCHEMES: Final = ("postgresql://", "postgres://")
_DEFAULT: Final = "workqueue"
_SCHEMA: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,47}")


class Address(NamedTuple):
    """url: as libpq takes it; shown: the same for messages, without its password; schema: where our tables stand."""

    url: str
    shown: str
    schema: str

    def __repr__(self) -> str:
        return f"<{self.shown}, schema {self.schema!r}>"  # tracebacks and logs show what they like


def parse(url: str) -> Address:
    """Take `?schema=` out of the URL. Raises UnsuitableFile for a name that is none, and for what is no URL.

    What is wrong with a URL is told without its text: where it cannot be read, any part of it may be the password.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _no_url() from None
    if "@" in parts.path or "@" in parts.fragment or parts.fragment:
        raise _no_url()
    query = parse_qsl(parts.query, keep_blank_values=True)
    schema = dict(query).get("schema", _DEFAULT)
    rest = urlencode([(name, value) for name, value in query if name != "schema"], quote_via=quote)
    plain = urlunsplit(("postgresql", parts.netloc, parts.path, rest, ""))
    user, at, host = parts.netloc.rpartition("@")
    shown = urlunsplit(("postgresql", user.partition(":")[0] + at + host, parts.path, "", ""))
    if schema != _DEFAULT:
        shown += f"?schema={schema}"
    if not _SCHEMA.fullmatch(schema):
        raise UnsuitableFile(
            f"expected ?schema= to be a name of up to 48 letters, digits and _, got: {schema!r}", path=shown
        )
    if plain.startswith("postgresql:/") and not plain.startswith("postgresql://"):
        plain = plain.replace("postgresql:", "postgresql://", 1)  # where host and user are left to libpq
    try:
        conninfo_to_dict(plain)
    except ProgrammingError:
        raise _no_url() from None
    return Address(plain, shown, schema)


def _no_url() -> UnsuitableFile:
    return UnsuitableFile(
        "expected a URL as postgresql://user:password@host:5432/database?schema=workqueue, got one that cannot be "
        "read; write what is special in a password (/ ? # @ : %) as %2F, %3F, %23, %40, %3A and %25, or leave it to "
        "PGPASSWORD or ~/.pgpass",
        path="postgresql://",
    )
