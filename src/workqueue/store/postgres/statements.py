"""The statements of one schema, in the words of the driver."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from workqueue.store.sql import load_migrations, load_statements

_HERE: Final = "workqueue.store.postgres"
_PARAMETER: Final = re.compile(r"(?<![:\w]):([a-z_]+)")
_SCHEMA: Final = re.compile(r"\bworkqueue(?=\.|\s*$)")  # before a table, or at the very end
VERSION: Final = len(load_migrations(_HERE))


@lru_cache(maxsize=64)
def statements(schema: str) -> Mapping[str, bytes]:
    """Give the statements by name. schema: a plain name; see `address.parse`."""
    return {
        name: _PARAMETER.sub(r"%(\1)s", _in(schema, text.replace("%", "%%"))).encode()
        for name, text in load_statements(_HERE).items()
    }


def migrations(schema: str, found: int) -> list[bytes]:
    """Give the scripts that bring a schema from version `found` to ours."""
    return [_in(schema, text).encode() for text in load_migrations(_HERE)[found:]]


def _in(schema: str, text: str) -> str:
    return _SCHEMA.sub(f'"{schema}"', text)
