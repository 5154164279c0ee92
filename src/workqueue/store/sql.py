"""Reads `.sql` files: the named statements of an engine, and its numbered migrations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load_statements(package: str) -> Mapping[str, str]:
    """Give the statements of `package`/queries.sql by the name in their `-- name:` line."""
    text = resources.files(package).joinpath("queries.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    names, bodies = parts[::2], parts[1::2]
    if len(set(names)) != len(names):
        raise ValueError(f"expected each statement of {package} to have a name of its own, got: {names}")
    return {name: body.strip().removesuffix(";") for name, body in zip(names, bodies, strict=True)}


def load_migrations(package: str) -> list[str]:
    """Give the texts of `package`/migrations/0001_….sql upwards; the first makes schema version 1."""
    folder = resources.files(package).joinpath("migrations")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    for number, file in enumerate(files, start=1):
        if not file.name.startswith(f"{number:04}_"):
            raise ValueError(f"expected migration {number:04} of {package}, got: {file.name}")
    return [file.read_text(encoding="utf-8") for file in files]
