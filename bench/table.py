"""The tables: their rows, how they are printed, and the page they are kept in."""

import os
import platform
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from bench import peers

_HEAD = ("what", "reach", "stands at", "reached", "figures: median (lowest to highest)")
_PAGE = """\
# Performance

Made by `{command}`; do not edit. Each figure is measured beside what it is compared with, in short slices in turn, in
the same run; a ratio is the median of the rounds' own ratios. *R* is the loop that one would write by hand on stdlib
`sqlite3` (`bench/peers/raw_loop.py`): WAL, `synchronous=FULL`, one transaction for each 500 jobs, and nothing else. A
job does nothing and carries about 100 bytes. *Flushed* means that what was pushed survives a power cut. CPU is that of
all threads, user and system. What falls short is reported as it is.

{body}
"""


@dataclass(frozen=True)
class Row:
    """One line. reach: what the design asks for, if anything; stands_at: the figure to hold against it.

    figures: its origin. reached: None where nothing is asked for.
    """

    what: str
    reach: str
    stands_at: str
    figures: str
    reached: bool | None


@dataclass(frozen=True)
class Section:
    """A table of its own, and what to know before reading it."""

    title: str
    text: str
    head: Sequence[str]
    lines: Sequence[Sequence[str]]


Finding: TypeAlias = Row | Section
_REACHED = {True: "yes", False: "**no**", None: "–"}


def report(found: Iterable[Finding], machine: str) -> str:
    """Give all that was found as Markdown: the rows as one table, then the machine, then the sections."""
    parts = [*found]
    rows = [part for part in parts if isinstance(part, Row)]
    said = []
    if rows:
        lines = [(row.what, row.reach, row.stands_at, _REACHED[row.reached], row.figures) for row in rows]
        said.append(as_markdown(_HEAD, lines))
    said.append(machine)
    for part in parts:
        if isinstance(part, Section):
            said.append(f"## {part.title}\n\n{part.text}\n\n{as_markdown(part.head, part.lines)}")
    return "\n\n".join(said)


def as_markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Give a table as Markdown, its columns aligned."""
    whole = [head, *lines]
    widths = [max(len(line[column]) for line in whole) for column in range(len(head))]
    whole.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in whole
    )


def write_page(page: Path, found: Iterable[Finding], machine: str) -> None:
    """Keep what was found in `page`, with the machine it was measured on."""
    page.write_text(_PAGE.format(command=_as_typed(), body=report(found, machine)), encoding="utf-8")


def describe_machine(folder: Path) -> str:
    """Say what it is measured on, before the run makes a load itself. folder: where the files of the run are."""
    facts = facts_of_machine(folder) | {"peers": ", ".join(peers.versions()) or "none"}
    missing = [
        f"- **not measured, because it is missing here**: {peer}"
        for peer in [*peers.missing(), *peers.missing_served()]
    ]
    return "\n".join([*(f"- {name}: {fact}" for name, fact in facts.items()), *missing])


def facts_of_machine(folder: Path) -> dict[str, str]:
    """Give what the figures depend on, by name. folder: where the files of the run are."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "CPU": f"{_cpu_model()}, {cores} cores, load before the run {os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.release()}, {_file_system(folder)}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _file_system(folder: Path) -> str:
    """Give the type of the file system that holds `folder`."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return "file system unknown"
    found = [line.split()[1:3] for line in mounts.read_text().splitlines()]
    holding = [(point, kind) for point, kind in found if folder.resolve().is_relative_to(point.replace("\\040", " "))]
    return max(holding, key=lambda mount: len(mount[0]))[1]


def _as_typed() -> str:
    """Give the command of this run."""
    return " ".join(["python -m bench", *sys.argv[1:]])
