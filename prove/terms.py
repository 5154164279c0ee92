"""Every condition of the store's SQL, dropped by itself: a term that no test misses should not be there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prove import uses
from prove.mutant import ROOT, Change, Mutant
from prove.postgres import versions

_SUITES: Final = (
    "tests/conformance",
    "tests/property/test_machine.py",
    "tests/api",
    "tests/worker",
    "tests/faces/test_report.py",
    "tests/faults",
    "tests/sql/test_answers.py",
    "tests/sql/test_sweeping.py",
)
_TOKEN: Final = re.compile(r"--[^\n]*|'[^']*'|\w+|\S")
_FIRST: Final = 60  # tests that are shown before the plans
_ENDS: Final = {"ORDER", "GROUP", "LIMIT", "OFFSET", "FOR", "UNION", "ON", "RETURNING", ";"}


@dataclass(frozen=True)
class Engine:
    """Whose statements are meant. name: what their terms are called by; loader: see `uses.note`.

    plans: the tests that ask for no statement but look at all. A plan that changes is a weaker sign than an answer that
    does, but one of hundreds of tests that ask for the statements of each claim would take longer.
    versions: gives those of the servers that its tests are run on.
    """

    name: str
    queries: str
    loader: Change
    suites: Sequence[str]
    plans: str
    versions: Callable[[], Sequence[str]] = tuple

    @property
    def title(self) -> str:
        """Whose SQL it is, for people."""
        return self.name.removesuffix(": ") or "SQLite"

    def uses(self) -> Mapping[str, Sequence[str]]:
        """Give the tests that ask for each statement, by a run of them all. Raises ValueError as `uses.note`."""
        return uses.note(self.loader, self.suites)


ENGINES: Final = (
    Engine(
        "",
        "store/sqlite/queries.sql",
        uses.FILE,
        (*_SUITES, "tests/sql/test_answers_of_files.py"),
        "tests/sql/test_plans.py",
    ),
    Engine(
        "PostgreSQL: ",
        "store/postgres/queries.sql",
        uses.POSTGRES,
        (*_SUITES, "tests/postgres", "tests/sql/test_postgres_answers.py"),
        "tests/sql/test_postgres_plans.py",
        versions,
    ),
)


@dataclass(frozen=True)
class _Token:
    text: str
    start: int
    end: int
    depth: int  # of the parentheses it stands in; one that closes stands where it opened


def mutants(engine: Engine, used: Mapping[str, Sequence[str]] | None = None) -> Iterator[Mutant]:
    """Give one for each term of each WHERE: what must hold becomes TRUE, what may hold (OR) becomes FALSE.

    used: the tests that ask for a statement, by its name; without them, each mutant is shown to all suites.
    """
    text = (ROOT / "src" / "workqueue" / engine.queries).read_text(encoding="utf-8")
    for block in re.split(r"(?m)^(?=-- name: )", text)[1:]:
        name = block.split("\n", 1)[0].removeprefix("-- name: ")
        for number, (start, end, instead) in enumerate(sorted(_terms(block)), 1):
            term = " ".join(block[start:end].split())
            changed = f"{block[:start]}{instead}{block[end:]}"
            suites = engine.suites if used is None else used.get(name, ())
            shown = [*suites[:_FIRST], engine.plans, *suites[_FIRST:]]
            yield Mutant(f"{engine.name}{name}, term {number}: {term}", shown, [Change(engine.queries, block, changed)])


def _terms(sql: str) -> Iterator[tuple[int, int, str]]:
    """Give where each term begins and ends, and what it becomes."""
    tokens = list(_tokens(sql))
    for index, token in enumerate(tokens):
        if token.text.upper() == "WHERE":
            yield from _split(list(_clause(tokens[index + 1 :], token.depth)))


def _tokens(sql: str) -> Iterator[_Token]:
    depth = 0
    for match in _TOKEN.finditer(sql):
        text = match.group()
        if text.startswith("--"):
            continue
        depth -= text == ")"
        yield _Token(text, match.start(), match.end(), depth)
        depth += text == "("


def _clause(tokens: list[_Token], depth: int) -> Iterator[_Token]:
    for token in tokens:
        if token.depth < depth or (token.depth == depth and token.text.upper() in _ENDS):
            return
        yield token


def _split(tokens: list[_Token]) -> Iterator[tuple[int, int, str]]:
    depth = tokens[0].depth
    for word, instead in (("OR", "FALSE"), ("AND", "TRUE")):
        parts: list[list[_Token]] = [[]]
        for token in tokens:
            if token.depth == depth and token.text.upper() == word:
                parts.append([])
            else:
                parts[-1].append(token)
        if len(parts) > 1 or word == "AND":
            for part in parts:
                if len(part) == 1 and part[0].text == instead:  # SQLite wants a WHERE before ON CONFLICT
                    continue
                yield part[0].start, part[-1].end, instead
                yield from _inside(part)
            return


def _inside(part: list[_Token]) -> Iterator[tuple[int, int, str]]:
    """Give the terms of a group in parentheses; a query in them has a WHERE of its own, found by that."""
    is_group = part[0].text == "(" and part[-1].text == ")" and all(token.depth > part[0].depth for token in part[1:-1])
    if is_group and len(part) > 2:
        words = {token.text.upper() for token in part[1:-1] if token.depth == part[0].depth + 1}
        if "SELECT" not in words and words & {"AND", "OR"}:
            yield from _split(part[1:-1])
