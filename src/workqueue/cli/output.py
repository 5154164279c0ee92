"""What reaches the terminal. Data of jobs is shown, never obeyed: no control character of it comes through.

Every line goes out through `say`, `complain` or `table`, and they escape; so a command cannot forget to.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

import click
import msgspec

from workqueue.job import Job, JobStatus
from workqueue.words import is_json, json_escape, printable

_BEYOND_ASCII: Final = re.compile(r"[^\n -~]")
_LEAST_WIDTH: Final = 8  # of a column that is cut so that its table fits a terminal
_COLOURS: Final[Mapping[JobStatus, str]] = {
    JobStatus.RUNNING: "cyan",
    JobStatus.COMPLETED: "green",
    JobStatus.RETRYING: "yellow",
    JobStatus.FAILED: "red",
    JobStatus.CANCELLED: "bright_black",
}


def say(line: str = "") -> None:
    """Print one line."""
    click.echo(printable(line))


def complain(line: str) -> None:
    """Print one line, as from us, on stderr."""
    click.echo(printable(f"workqueue: {line}"), err=True)


def is_coloured() -> bool:
    """Say whether what is printed may have colours: on a terminal that knows them, unless NO_COLOR is set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def say_json(value: object) -> None:
    """Print `value` as one JSON document, in ASCII: any terminal can show it, and any program read it."""
    document = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    click.echo(_BEYOND_ASCII.sub(lambda found: json_escape(found[0]), document))


def job_record(job: Job) -> dict[str, object]:
    """Give a job for JSON: `data` as the value it is; where it is not JSON, null, and `data_base64` has the bytes."""
    record: dict[str, object] = msgspec.structs.asdict(job)
    record["status"] = str(job.status)
    if is_json(job.data):
        record["data"] = msgspec.Raw(job.data)
    else:
        record["data"] = None
        record["data_base64"] = job.data
    return record


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, paint: Mapping[str, str] | None = None) -> None:
    """Print rows under headers, aligned; numbers to the right. On a terminal it is cut to fit, and has colours.

    paint: the colours of columns, by header, where a row has something there. A JobStatus has its own.
    """
    cells = [[printable(str(cell)) for cell in row] for row in (headers, *rows)]
    widths = [max(_width(row[column]) for row in cells) for column in range(len(headers))]
    right = [bool(rows) and all(isinstance(row[column], int) for row in rows) for column in range(len(headers))]
    right = [is_right and not isinstance(rows[0][column], JobStatus) for column, is_right in enumerate(right)]
    if sys.stdout.isatty():
        widths = _fitted(widths, shutil.get_terminal_size().columns)
    colours = (paint or {}) if is_coloured() else None
    for number, row in enumerate(cells):
        padded = [_padded(cell, widths[column], right=right[column]) for column, cell in enumerate(row)]
        if colours is not None:
            values = rows[number - 1] if number else None
            padded = [
                _painted(text, None if values is None else values[column], colours.get(headers[column]))
                for column, text in enumerate(padded)
            ]
        click.echo("  ".join(padded).rstrip(), color=colours is not None)


def _padded(cell: str, width: int, *, right: bool) -> str:
    cell = cell if _width(cell) <= width else _cut(cell, width)
    room = " " * (width - _width(cell))
    return room + cell if right else cell + room


def _painted(text: str, value: object, colour: str | None) -> str:
    """Give the text of a cell in its colour. value: what it shows; None in the head of the table."""
    if value is None:
        return click.style(text, bold=True)
    if isinstance(value, JobStatus):
        colour = _COLOURS.get(value)
    return click.style(text, fg=colour) if colour is not None and value not in (0, "") else text


def _fitted(widths: list[int], most: int) -> list[int]:
    """Take from the widest columns until all fit into `most`, as far as that can be."""
    widths = widths.copy()
    while sum(widths) + 2 * (len(widths) - 1) > most and max(widths) > _LEAST_WIDTH:
        widths[widths.index(max(widths))] -= 1
    return widths


def _cut(text: str, most: int) -> str:
    """Give the beginning of `text`, in no more than `most` columns with the … at its end."""
    taken, kept = 0, ""
    for character in text:
        taken += _width(character)
        if taken >= most:
            break
        kept += character
    return kept + "…"


def facts(pairs: Sequence[tuple[str, object]]) -> None:
    """Print what is known of one thing: a name and a value a line; nothing of what is empty."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        if value != "":
            say(f"{name:<{width}}  {value}")


def _width(text: str) -> int:
    """Count the columns a terminal takes for `text`."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1 for c in text
    )
