"""What reaches the terminal. Data of jobs is shown, never obeyed: no control character of it comes through.

Every line goes out through `say` or `complain`, and they escape; so a command cannot forget to.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import click
import msgspec

from workqueue.errors import InvalidPayload
from workqueue.job import Job
from workqueue.payload import decode

# Control (C0, C1), format (bidi, zero width), surrogate, line and paragraph separator
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_BEYOND_ASCII: Final = re.compile(r"[^\n -~]")


def printable(text: str) -> str:
    r"""Give `text` with each character that could steer a terminal, or hide, as an escape.

    >>> printable("a\x1b[31mb\u202ec")
    'a\\x1b[31mb\\u202ec'
    """
    if text.isprintable():
        return text
    return "".join(_escape(c) if unicodedata.category(c) in _HIDDEN else c for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def say(line: str = "") -> None:
    """Print one line."""
    click.echo(printable(line))


def complain(line: str) -> None:
    """Print one line, as from us, on stderr."""
    click.echo(printable(f"workqueue: {line}"), err=True)


def say_json(value: object) -> None:
    """Print `value` as one JSON document, in ASCII: any terminal can show it, and any program read it."""
    document = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    click.echo(_BEYOND_ASCII.sub(_json_escape, document))


def pretty(data: bytes) -> list[str]:
    """Give the data of a job as lines for people: indented if it is JSON, else as Python writes bytes."""
    if not _is_json(data):
        return [repr(data)]
    lines = msgspec.json.format(data, indent=2).decode().split("\n")
    return ["".join(_json_escape(c) if unicodedata.category(c) in _HIDDEN else c for c in line) for line in lines]


def _json_escape(found: re.Match[str] | str) -> str:
    character = found if isinstance(found, str) else found[0]
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _is_json(data: bytes) -> bool:
    try:
        decode(data)
        data.decode()
    except (InvalidPayload, UnicodeDecodeError):
        return False
    return True


def job_record(job: Job) -> dict[str, object]:
    """Give a job for JSON: `data` as the value it is; where it is not JSON, null, and `data_base64` has the bytes."""
    record: dict[str, object] = msgspec.structs.asdict(job)
    record["status"] = str(job.status)
    if _is_json(job.data):
        record["data"] = msgspec.Raw(job.data)
    else:
        record["data"] = None
        record["data_base64"] = job.data
    return record


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under headers, aligned; numbers to the right."""
    cells = [[printable(str(cell)) for cell in row] for row in (headers, *rows)]
    widths = [max(_width(row[column]) for row in cells) for column in range(len(headers))]
    right = [bool(rows) and all(isinstance(row[column], int) for row in rows) for column in range(len(headers))]
    for row in cells:
        padded = [
            " " * (widths[column] - _width(cell)) + cell
            if right[column]
            else cell + " " * (widths[column] - _width(cell))
            for column, cell in enumerate(row)
        ]
        say("  ".join(padded).rstrip())


def facts(pairs: Sequence[tuple[str, object]]) -> None:
    """Print what is known of one thing: a name and a value a line; nothing of what is empty."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        if value != "":
            say(f"{name:<{width}}  {value}")


def moment(value: datetime | None) -> str:
    """Give an instant in UTC to the second, or nothing."""
    return "" if value is None else f"{value:%Y-%m-%d %H:%M:%SZ}"


def span(value: timedelta) -> str:
    """Give a duration in its two largest units.

    >>> span(timedelta(hours=26, minutes=3)), span(timedelta(milliseconds=120))
    ('1d 2h', '120ms')
    """
    left = max(0, value // timedelta(milliseconds=1))
    if left < 1000:
        return f"{left}ms"
    parts: list[str] = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}")
    return " ".join(part for part in parts[:2] if part[0] != "0")


def shortened(text: str, most: int = 60) -> str:
    """Give the beginning of `text`, with … where something is left out."""
    text = printable(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def _width(text: str) -> int:
    """Count the columns a terminal takes for `text`."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1 for c in text
    )
