"""Table: rows under titles, one of them chosen. It shows what fits, and goes along with the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from workqueue.monitor import drawing
from workqueue.monitor.panels import Column, Row, Subject


class Table(Widget, can_focus=True):
    """See the module. empty: what stands there when there are no rows."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home,g", "jump(0)", show=False),
        Binding("end,G", "jump(-1)", show=False),
    ]

    class Chosen(Message):
        """Somebody wants to look into a row."""

        def __init__(self, subject: Subject) -> None:
            self.subject = subject
            super().__init__()

    def __init__(self, columns: Sequence[Column], *, empty: str, id: str) -> None:
        super().__init__(id=id)
        self._columns = columns
        self._empty = self._nothing = empty
        self._rows: list[Row] = []
        self._cursor = 0
        self._top = 0

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    @property
    def is_chosen(self) -> bool:
        """Whether the keys are its own, though a question may stand before it."""
        return self.screen.focused is self

    @property
    def subject(self) -> Subject | None:
        """What the chosen row is of."""
        return self._rows[self._cursor].subject if self._rows else None

    def show_rows(self, rows: list[Row], *, empty: str | None = None) -> None:
        """Show these rows; the one that was chosen stays so, wherever it is now."""
        chosen = self._rows[self._cursor].key if self._rows else None
        places = {row.key: place for place, row in enumerate(rows)}
        # Whoever stands on the first row wants to see what comes, and not what went down.
        place = 0 if self._cursor == 0 and not self.is_chosen else places.get(chosen or "", self._cursor)
        self._rows, self._empty = rows, self._nothing if empty is None else empty
        self._go(place)

    def action_move(self, by: int) -> None:
        """Choose another row."""
        self._go(self._cursor + by)

    def action_page(self, by: int) -> None:
        """Choose the row that is so many screens away."""
        self._go(self._cursor + by * max(1, self.size.height - 2))

    def action_jump(self, place: int) -> None:
        """Choose the first row, or the last."""
        self._go(place if place >= 0 else len(self._rows) - 1)

    def _go(self, place: int) -> None:
        self._cursor = max(0, min(place, len(self._rows) - 1))
        shown = max(1, self.size.height - 1)
        self._top = max(min(self._top, self._cursor), self._cursor - shown + 1, 0)
        self._top = min(self._top, max(0, len(self._rows) - shown))
        self.refresh()

    def on_resize(self, event: events.Resize) -> None:
        """Keep the chosen row in sight."""
        del event
        self._go(self._cursor)

    def on_focus(self) -> None:
        """Show which row is chosen."""
        self.refresh()

    def on_blur(self) -> None:
        """Show that keys go elsewhere."""
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Choose the row that was clicked; twice: look into it."""
        place = self._top + event.y - 1
        if event.y < 1 or place >= len(self._rows):
            return
        self._go(place)
        subject = self.subject
        if event.chain > 1 and subject is not None:
            self.post_message(self.Chosen(subject))

    def on_mouse_scroll_down(self) -> None:
        """Go down."""
        self._go(self._cursor + 1)

    def on_mouse_scroll_up(self) -> None:
        """Go up."""
        self._go(self._cursor - 1)

    def key_enter(self) -> None:
        """Look into the chosen row."""
        subject = self.subject
        if subject is not None:
            self.post_message(self.Chosen(subject))

    def render_line(self, y: int) -> Strip:
        """Draw one line: titles, then rows."""
        width = self.size.width
        if y == 0:
            line = drawing.header(self._columns, width, "bold underline" if self.is_chosen else "bold")
            hidden = len(self._rows) - max(0, self.size.height - 1)
            if hidden > 0:
                self._note(line, f" {self._cursor + 1}/{len(self._rows)} ", width)
        elif not self._rows:
            line = Text(end="").append(self._empty if y == 1 else "", "dim")
        elif self._top + y - 1 < len(self._rows):
            place = self._top + y - 1
            line = drawing.row(self._rows[place].cells, self._columns, width)
            if place == self._cursor and self.is_chosen:
                line = Text(end="").append(line.plain, "reverse")  # a bar without holes of other colours
        else:
            line = Text(end="")
        return drawing.strip(line, width, self.rich_style)

    def _note(self, line: Text, note: str, width: int) -> None:
        """Say beside the title where in the rows the cursor is."""
        title = len(self._columns[0].title) + 1
        room = next(wide for _, _, wide in drawing.widths(self._columns, width))
        if title + len(note) <= room:
            line.plain = line.plain[:title] + note + line.plain[title + len(note) :]
