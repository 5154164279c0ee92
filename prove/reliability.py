"""RELIABILITY.json, what a run found with all that it depends on; and the table in docs/guarantees.md, made from it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import msgspec
from bench.table import facts_of_machine

from prove.verdict import Verdict

ROOT: Final = Path(__file__).parents[1]
RECORD: Final = ROOT / "RELIABILITY.json"
PAGE: Final = ROOT / "docs" / "guarantees.md"
_BEGIN: Final = "<!-- made by `python -m prove` from RELIABILITY.json: begin -->"
_END: Final = "<!-- made by `python -m prove` from RELIABILITY.json: end -->"
_PACKAGES: Final = ("durable-workqueue", "msgspec", "apsw", "hypothesis", "huey", "persist-queue", "litequeue")


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the planted bugs: the test that caught each; "" of a survivor.

    again: the commit at which those that had survived were tried once more, and new ones too. untried: how many terms
    there are beside these, by whose SQL they are of.
    """

    commit: str
    seconds: float
    bugs: dict[str, str]
    terms: dict[str, str]
    again: str = ""
    untried: dict[str, int] = {}

    def survivors(self) -> list[str]:
        return [name for found in (self.bugs, self.terms) for name, by in found.items() if not by]


class Reliability(msgspec.Struct, frozen=True, kw_only=True):
    """One run. commit: what was run, with "+changes" when the tree was not as committed."""

    commit: str
    command: str
    machine: dict[str, str]
    versions: dict[str, str]
    verdicts: list[Verdict]
    peers: list[Verdict] = []
    planted: Score | None = None


def of_this_tree(command: str, verdicts: list[Verdict], peers: list[Verdict]) -> Reliability:
    """Give the record of a run just made; the score of the planted bugs stays as it was."""
    before = load()
    return Reliability(
        commit=commit(),
        command=command,
        machine=facts_of_machine(ROOT),
        versions={name: found for name in _PACKAGES if (found := _version(name))},
        verdicts=verdicts,
        peers=peers or (before.peers if before else []),
        planted=before.planted if before else None,
    )


def with_score(record: Reliability, score: Score) -> Reliability:
    return msgspec.structs.replace(record, planted=score)


def load() -> Reliability | None:
    return msgspec.json.decode(RECORD.read_bytes(), type=Reliability) if RECORD.exists() else None


def save(record: Reliability) -> None:
    """Write the record, and its table into the page."""
    RECORD.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), record), encoding="utf-8")


def with_table(page: str, record: Reliability) -> str:
    """Give the page with the table between its marks. Raises ValueError when it has no marks."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"expected the lines {_BEGIN!r} and {_END!r} in the page, found: {bool(begin)}, {bool(end)}")
    table = "\n".join(_table(record))
    return f"{before}{_BEGIN}\n\n{table}\n\n{_END}{after}"


def commit() -> str:
    """Give the commit of the tree, marked when what it holds was changed since; "unknown" outside a repository."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+changes"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _table(record: Reliability) -> Iterator[str]:
    broken = sum(len(verdict.failures) for verdict in record.verdicts)
    yield f"Commit {record.commit}, by `{record.command}`; {'; '.join(record.machine.values())}."
    yield ""
    yield "| harness | seed | what it did and found | broken promises |"
    yield "|---|---|---|---|"
    for verdict in record.verdicts:
        for part, counts in _parts(verdict).items():
            failures = sum(part == verdict.harness or f" {part} " in failure for failure in verdict.failures)
            yield f"| {part} | {verdict.seed} | {_told(counts)} | {failures} |"
    yield f"| **together** | | | **{broken}** |"
    if record.planted is not None:
        yield ""
        yield from _score(record.planted)
    if record.peers:
        yield ""
        yield "The plain crash loop, the same for each queue: pushers and two workers, killed at random instants."
        yield ""
        yield "| queue, with its safest documented settings | what happened |"
        yield "|---|---|"
        for verdict in record.peers:
            found = _told(verdict.counts) or "; ".join(verdict.remarks)
            yield f"| {verdict.harness.removeprefix('crash: ')} | {found} |"
    yield ""
    yield "Said by the harnesses beside their figures:"
    yield ""
    for verdict in record.verdicts:
        yield from (f"- {verdict.harness}: {remark}" for remark in verdict.remarks)


def _parts(verdict: Verdict) -> dict[str, dict[str, int]]:
    """Give the counts by what stands before their colon: a harness of several tells of each."""
    parts: dict[str, dict[str, int]] = {}
    for words, number in verdict.counts.items():
        part, colon, rest = words.partition(": ")
        parts.setdefault(part if colon else verdict.harness, {})[rest if colon else words] = number
    return parts or {verdict.harness: {}}


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {words}" for words, number in counts.items())


def _score(score: Score) -> Iterator[str]:
    anew = f" (those that survived there, and new ones, were tried at {score.again})" if score.again else ""
    yield f"Planted bugs, at commit {score.commit}{anew}: **{_caught(score.bugs)} caught**."
    for words, is_meant in (("SQLite", False), ("PostgreSQL", True)):
        lost = {name: by for name, by in score.terms.items() if name.startswith("PostgreSQL: ") is is_meant}
        if lost:
            left = f"; {score.untried[words]} more were not tried yet" if score.untried.get(words) else ""
            told = f"**{_caught(lost)}**{left}"
            yield f"Of the terms of the SQL for {words}, dropped one at a time, the tests noticed {told}."
    if survivors := score.survivors():
        yield "Survivors: " + "; ".join(f"`{name}`" for name in survivors) + "."


def _caught(found: Mapping[str, str]) -> str:
    return f"{sum(map(bool, found.values()))} of {len(found)}"
