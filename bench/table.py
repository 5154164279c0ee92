"""The table: its rows, how it is printed, and the page it is kept in."""

import os
import platform
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_HEAD = ("what", "reach", "stands at", "reached", "figures: median (lowest to highest)")
_PAGE = """\
# Performance

Made by `{command}`; do not edit. Each figure is measured beside what it is compared with, in turns, in the same run;
*R* is the loop that one would write by hand on stdlib `sqlite3` (`bench/raw_loop.py`): WAL, `synchronous=FULL`, one
transaction for each 500 jobs, and nothing else. A job does nothing and carries about 100 bytes. What falls short is
reported as it is.

{table}

{machine}
"""


@dataclass(frozen=True)
class Row:
    """One line. reach: what the design asks for; stands_at: the figure to hold against it; figures: its origin."""

    what: str
    reach: str
    stands_at: str
    figures: str
    reached: bool


def as_markdown(rows: Iterable[Row]) -> str:
    """Give the table as Markdown, its columns aligned."""
    lines: list[Sequence[str]] = [_HEAD]
    lines += [(row.what, row.reach, row.stands_at, "yes" if row.reached else "**no**", row.figures) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def write_page(page: Path, rows: Iterable[Row], machine: str) -> None:
    """Keep the table in `page`, with the machine it was measured on."""
    page.write_text(_PAGE.format(command=_as_typed(), table=as_markdown(rows), machine=machine), encoding="utf-8")


def describe_machine(folder: Path) -> str:
    """Say what it is measured on, before the run makes a load itself. folder: where the files of the run are."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = {
        "CPU": f"{_cpu_model()}, {cores} cores, load before the run {os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.release()}, {_file_system(folder)}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }
    return "\n".join(f"- {name}: {fact}" for name, fact in facts.items())


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
