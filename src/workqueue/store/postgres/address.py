"""Where a store is: the URL of a database, and the schema in it that `?schema=` names."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

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
    misread = "@" not in parts.netloc and "@" in parts.query  # libpq takes all before it for a password
    if misread or "@" in parts.path or parts.fragment:
        raise _no_url()
    query = [part for part in parts.query.split("&") if part]
    given = [unquote(part.partition("=")[2]) for part in query if _is_ours(part)]
    schema = given[-1] if given else _DEFAULT
    rest = "&".join(part for part in query if not _is_ours(part))  # as it is: libpq reads no + as a space
    plain = f"postgresql://{parts.netloc}{parts.path}" + (f"?{rest}" if rest else "")
    user, at, host = parts.netloc.rpartition("@")
    shown = f"postgresql://{user.partition(':')[0]}{at}{host}{parts.path}"
    if schema != _DEFAULT:
        shown += f"?schema={schema}"
    if not _SCHEMA.fullmatch(schema):
        raise UnsuitableFile(
            f"expected ?schema= to be a name of up to 48 letters, digits and _, got: {schema!r}", path=shown
        )
    try:
        conninfo_to_dict(plain)
    except (ProgrammingError, UnicodeDecodeError):
        raise _no_url() from None
    return Address(plain, shown, schema)


def _is_ours(part: str) -> bool:
    return unquote(part.partition("=")[0]) == "schema"


def _no_url() -> UnsuitableFile:
    return UnsuitableFile(
        "expected a URL as postgresql://user:password@host:5432/database?schema=workqueue, got one that cannot be "
        "read; write what is special in a password (/ ? # @ : %) as %2F, %3F, %23, %40, %3A and %25, or leave it to "
        "PGPASSWORD or ~/.pgpass",
        path="postgresql://",
    )
