"""Which tests ask for which statement of the store: they can notice what becomes of it, and no others can.

A copy of the package takes notes of who looks a statement up. What is looked up in a fixture that tests share counts
for the first of them alone, so a mutant may be shown to too few tests, which makes a survivor of it, and hides none.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, ItemsView, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeVar

from prove.mutant import ROOT, Change, Mutant

_T = TypeVar("_T")
_PREPARED: Final = """
import sys

sys.path.append({root!r})  # for those processes, too, that are told of the package alone
from prove.uses import Notebook

NOTES = {folder!r}
{gives}
"""
FILE: Final = Change(
    "store/sqlite/schema.py",
    "SQL: Final = load_statements(_HERE)",
    "SQL: Final = Notebook(load_statements(_HERE), NOTES)",
)
POSTGRES: Final = Change(
    "store/postgres/statements.py",
    """
@lru_cache(maxsize=64)
def statements(schema: str) -> Mapping[str, bytes]:
""",
    """
@lru_cache(maxsize=64)
def statements(schema: str) -> Mapping[str, bytes]:
    return Notebook(plain_statements(schema), NOTES)


def plain_statements(schema: str) -> Mapping[str, bytes]:
""",
)


class Notebook(dict[str, _T]):
    """The statements of an engine, which write down which test asks for them: a file in `folder` for each process."""

    def __init__(self, statements: Mapping[str, _T], folder: str) -> None:
        super().__init__(statements)
        self._folder = Path(folder)
        self._noted: set[str] = set()

    def __getitem__(self, name: str) -> _T:
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]  # without its phase
        line = f"{name} {test}\n"
        if test and line not in self._noted:
            self._noted.add(line)
            with (self._folder / str(os.getpid())).open("a", encoding="utf-8") as file:
                file.write(line)
        return super().__getitem__(name)

    def items(self) -> ItemsView[str, _T]:
        """Give all, each of which is asked for."""
        for name in self:
            self[name]
        return super().items()


def note(engine: Change, suites: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Run `suites`; give the tests that ask for each statement of `engine`, which is FILE or POSTGRES.

    Those come first that ask for little else, and last those of another version of the same server, behind a pooler.
    Raises ValueError when a test fails: where the package itself is not well, no mutant can be judged.
    """
    with TemporaryDirectory(prefix="workqueue-uses-") as folder:
        gives = _PREPARED.format(root=str(ROOT), folder=folder, gives=engine.new)
        failed = Mutant("notes", suites, [Change(engine.path, engine.old, gives)]).caught_by()
        if failed:
            raise ValueError(f"expected the tests to pass before anything is planted, got: {failed} fails")
        lines = {line for file in Path(folder).iterdir() for line in file.read_text(encoding="utf-8").splitlines()}
    asked: dict[str, set[str]] = defaultdict(set)
    for name, test in (line.split(" ", 1) for line in lines):
        asked[test].add(name)
    return by_statement(asked)


def by_statement(asked: Mapping[str, Collection[str]]) -> Mapping[str, Sequence[str]]:
    """Turn what each test asks for round, in the order of `note`."""
    uses: dict[str, list[str]] = defaultdict(list)
    for test in sorted(asked, key=lambda test: ("pooled" in test, len(asked[test]), test)):
        for name in asked[test]:
            uses[name].append(test)
    return uses
