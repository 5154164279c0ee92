"""Every condition of the store's SQL, dropped by itself: a term that no test misses should not be there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prove.mutant import ROOT, Change, Mutant

QUERIES: Final = "store/sqlite/queries.sql"
SCHEMA: Final = "store/sqlite/schema.py"
SUITES: Final = (
    "tests/conformance",
    "tests/property/test_machine.py",
    "tests/api",
    "tests/worker",
    "tests/faces/test_report.py",
    "tests/faults",
    "tests/sql",  # last: a plan that changes is a weaker sign than an answer that does
)
_TOKEN: Final = re.compile(r"--[^\n]*|'[^']*'|\w+|\S")
_ENDS: Final = {"ORDER", "GROUP", "LIMIT", "UNION", "ON", "RETURNING", ";"}


@dataclass(frozen=True)
class _Token:
    text: str
    start: int
    end: int
    depth: int  # of the parentheses it stands in; one that closes stands where it opened


def mutants(uses: Mapping[str, Sequence[str]] | None = None) -> Iterator[Mutant]:
    """Give one for each term of each WHERE: what must hold becomes TRUE, what may hold (OR) becomes FALSE.

    uses: the tests that ask for a statement, by its name; without them, each mutant is shown to all of SUITES.
    """
    text = (ROOT / "src" / "workqueue" / QUERIES).read_text(encoding="utf-8")
    for block in re.split(r"(?m)^(?=-- name: )", text)[1:]:
        name = block.split("\n", 1)[0].removeprefix("-- name: ")
        for number, (start, end, instead) in enumerate(sorted(_terms(block)), 1):
            term = " ".join(block[start:end].split())
            changed = f"{block[:start]}{instead}{block[end:]}"
            suites = SUITES if uses is None else uses.get(name, ())
            yield Mutant(f"{name}, term {number}: {term}", suites, [Change(QUERIES, block, changed)])


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
