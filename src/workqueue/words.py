"""How instants and data of jobs are put for people, on a terminal or on a page. Pure.

Data of jobs are shown, never obeyed: whatever could steer a terminal, or hide on a page, is an escape here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from workqueue.duration import span
from workqueue.errors import InvalidPayload
from workqueue.payload import decode

# Control (C0, C1), format (bidi, zero width), surrogate, line and paragraph separator
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Those that are letters, marks or nothing yet, and show nothing: Default_Ignorable_Code_Point in Unicode 16.0
# (DerivedCoreProperties.txt), so far as they are in none of the categories above; and the empty Braille pattern.
_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff]"
)


def printable(text: str) -> str:
    r"""Give `text` with each character that could steer a terminal, or hide, as an escape.

    >>> printable("a\x1b[31mb\u202ec")
    'a\\x1b[31mb\\u202ec'
    """
    return text if _is_seen(text) else "".join(_escape(c) if _hides(c) else c for c in text)


def _is_seen(text: str) -> bool:
    return text.isprintable() and (text.isascii() or _UNSEEN.search(text) is None)


def _hides(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN or _UNSEEN.match(character) is not None


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def pretty(data: bytes) -> list[str]:
    """Give the data of a job as lines for people: indented if it is JSON, else as Python writes bytes."""
    if not is_json(data):
        return [repr(data)]
    lines = msgspec.json.format(data, indent=2).decode().split("\n")
    return [line if _is_seen(line) else "".join(json_escape(c) if _hides(c) else c for c in line) for line in lines]


def json_escape(character: str) -> str:
    """Give one character as JSON writes it in ASCII."""
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def is_json(data: bytes) -> bool:
    """Say whether these bytes are JSON, in UTF-8."""
    try:
        decode(data)
        data.decode()
    except (InvalidPayload, UnicodeDecodeError):
        return False
    return True


def moment(value: datetime | None) -> str:
    """Give an instant in UTC to the second, or nothing."""
    return "" if value is None else f"{value:%Y-%m-%d %H:%M:%SZ}"


def shortened(text: str, most: int = 60) -> str:
    """Give the beginning of `text`, with … where something is left out."""
    text = printable(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def clipped(line: str, most: int) -> str:
    """Give the beginning of a line that is too long, and how long it is."""
    return line if len(line) <= most else f"{line[:most]}… {len(line):,} characters"


def bounded(lines: Sequence[str], most: int) -> list[str]:
    """Give the first of too many lines, and say how many are left out."""
    return [*lines[:most], *([f"… {len(lines) - most:,} lines more"] if len(lines) > most else [])]


def count(value: float | None) -> str:
    """Give a number of jobs for people.

    >>> count(1234567), count(0.25), count(None)
    ('1,234,567', '0.25', '–')
    """
    if value is None:
        return "–"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.3g}"


def seconds(value: float | None) -> str:
    """Give a duration in seconds for people.

    >>> seconds(0.0123), seconds(3.2), seconds(90), seconds(None)
    ('12ms', '3.2s', '1m 30s', '–')
    """
    if value is None:
        return "–"
    if 1 <= value < 10:
        return f"{value:.1f}s"
    return span(timedelta(seconds=value))


def ago(value: datetime | None, now: datetime) -> str:
    """Say how long ago an instant was, or how soon it comes.

    >>> noon = datetime(2026, 1, 1, 12)
    >>> ago(datetime(2026, 1, 1, 11, 58), noon), ago(datetime(2026, 1, 1, 13), noon), ago(noon, noon)
    ('2m ago', 'in 1h', 'just now')
    """
    if value is None:
        return ""
    gone = now - value
    if abs(gone) < timedelta(seconds=1):
        return "just now"
    largest = span(abs(gone)).split(" ")[0]
    return f"{largest} ago" if gone > timedelta(0) else f"in {largest}"
