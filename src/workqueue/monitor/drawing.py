"""How text gets its colours: those of the terminal itself, so that it is legible on dark and on light ones. Pure.

Everything is put together from plain pieces of text: no markup is ever read, so none can be in what jobs bring along.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.style import Style
from rich.text import Text
from textual.strip import Strip

from workqueue.monitor.panels import Cell, Column, Tone

STYLES: Final[dict[Tone, str]] = {
    "plain": "",
    "strong": "bold",
    "faint": "dim",
    "good": "green",
    "bad": "red",
    "busy": "cyan",
    "wait": "yellow",
}
_CONSOLE: Final = Console(file=StringIO())  # knows what "bold red" is
_GAP: Final = 2
_NARROW: Final = 100  # columns below which there is little room
_LEAST: Final = 8  # columns that are cut for want of room keep so much
_BARS: Final = " ▁▂▃▄▅▆▇█"


def strip(line: Text, width: int, base: Style) -> Strip:
    """Give a line as textual draws it, on its background, as wide as that is."""
    return Strip(list(line.render(_CONSOLE))).adjust_cell_length(width, base).apply_style(base)


def widths(columns: Sequence[Column], room: int) -> list[tuple[int, Column, int]]:
    """Say which columns are shown in so much room: their places, and how wide each is."""
    shown = [(place, column) for place, column in enumerate(columns) if room >= column.least]
    asked = {place: _asked(column, room) for place, column in shown}
    fixed = sum(width or 0 for width in asked.values()) + _GAP * (len(shown) - 1)
    left = max(_LEAST, room - fixed)
    excess = fixed + left - room
    found: list[tuple[int, Column, int]] = []
    for place, column in shown:
        width = asked[place]
        if width is None:
            found.append((place, column, left))
            continue
        given = max(0, min(excess, width - _LEAST))  # what is too wide is taken from the columns in their order
        excess -= given
        found.append((place, column, width - given))
    return found


def _asked(column: Column, room: int) -> int | None:
    return column.narrow if column.narrow is not None and room < _NARROW else column.width


def header(columns: Sequence[Column], room: int, title: str = "bold") -> Text:
    """Give the line of titles; the first one is that of the whole."""
    line = Text(no_wrap=True, end="")
    for number, (_, column, width) in enumerate(widths(columns, room)):
        line.append(" " * (_GAP if number else 0))
        line.append(_fitted(column.title, width, right=column.right), title if number == 0 else "dim")
    return line


def row(cells: Sequence[Cell], columns: Sequence[Column], room: int) -> Text:
    """Give one row."""
    line = Text(no_wrap=True, end="")
    for number, (place, column, width) in enumerate(widths(columns, room)):
        cell = cells[place]
        line.append(" " * (_GAP if number else 0))
        line.append(_fitted(cell.text, width, right=column.right), STYLES[cell.tone])
    return line


def _fitted(text: str, width: int, *, right: bool) -> str:
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…" if width > 1 else "…"[:width]
    room = " " * (width - length)
    return room + text if right else text + room


def spark(values: Sequence[float | None], width: int, height: int, tone: Tone) -> list[Text]:
    """Draw the last values as bars, the newest at the right, in lines from above. None: nothing is known.

    >>> [line.plain for line in spark([0, 4, 8, None, 8], 6, 1, "good")]
    [' ▁▄█ █']
    """
    shown = [None] * (width - len(values)) + list(values[len(values) - width :] if len(values) > width else values)
    top = max((value for value in shown if value), default=0.0)
    lines: list[Text] = []
    for level in reversed(range(height)):
        line = Text(no_wrap=True, end="")
        for bar, is_there in _bars(shown, top, level, height):
            line.append(bar, STYLES[tone] if is_there else "dim")
        lines.append(line)
    return lines


def _bars(values: Sequence[float | None], top: float, level: int, height: int) -> Iterator[tuple[str, bool]]:
    for value in values:
        if value is None:
            yield " ", False
        elif value <= 0:
            yield (_BARS[1] if level == 0 else " "), False
        else:
            eighths = max(1, round(value / top * 8 * height)) - 8 * level
            yield _BARS[max(0, min(8, eighths))], True
