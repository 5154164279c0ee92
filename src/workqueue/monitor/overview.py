"""Overview: the first view. The figures, and three panels: queues and tasks, who runs what, what failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input

from workqueue.duration import span
from workqueue.monitor import drawing, panels
from workqueue.monitor.desk import Frame
from workqueue.monitor.jobs import Jobs
from workqueue.monitor.panels import Row, Subject, Tone
from workqueue.monitor.story import StoryView
from workqueue.monitor.table import Table
from workqueue.monitor.views import ACTS, Bar, Filter, Keys, View
from workqueue.words import count, moment, printable

if TYPE_CHECKING:
    from workqueue.monitor.app import Monitor

_WIDE: Final = 160  # columns from which two panels stand side by side
_TALL: Final = 30  # lines from which there is room for higher bars, and for air
_LABEL: Final = 16


class Figures(Widget):
    """The figures of the whole store, and how many jobs came to an end in each minute."""

    def __init__(self) -> None:
        super().__init__()
        self._frame: Frame | None = None

    def show_frame(self, frame: Frame) -> None:
        """Show other ones."""
        self._frame = frame
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw one line."""
        lines = self._lines()
        line = lines[y] if y < len(lines) else Text(end="")
        return drawing.strip(line, self.size.width, self.rich_style)

    def _lines(self) -> list[Text]:
        frame = self._frame
        if frame is None:
            return [Text(end="").append("looking …", "dim")]
        first = Text(no_wrap=True, end="")
        for word, cell in panels.figures(frame):
            piece = Text(end="")
            piece.append(cell.text, drawing.STYLES[cell.tone] + (" bold" if cell.tone != "plain" else ""))
            piece.append(f" {word}   ", "dim" if cell.text else "")
            if first.cell_len + piece.cell_len <= self.size.width + 3:
                first.append_text(piece)
        tall = max(1, self.size.height - 2 - (1 if self.size.height > 3 else 0))
        rate = None if frame.rates is None else frame.rates.completed
        air = [Text(end="")] if self.size.height > 3 else []
        done, failures = panels.minutes(frame)
        peaks = [f"  peak {count(round(max(values)))}/min" if any(values) else "" for values in (done, failures)]
        width = max(10, min(max(10, len(done)), self.size.width - _LABEL - max(map(len, peaks))))
        drawn = [
            *self._bars(drawing.spark(done, width, tall, "good"), "done", rate, "good", peaks[0]),
            *self._bars(drawing.spark(failures, width, 1, "bad"), "failures", None, "bad", peaks[1]),
        ]
        return [first, *air, *drawn]

    def _bars(self, bars: list[Text], word: str, rate: float | None, tone: Tone, most: str) -> list[Text]:
        """Put the word for them before bars, and the most of a minute after."""
        found: list[Text] = []
        for place, bar in enumerate(bars):
            is_last = place == len(bars) - 1
            said = "" if rate is None or not is_last else f"{_rate(rate)}/s "
            line = Text(no_wrap=True, end="")
            line.append(said, drawing.STYLES[tone] + " bold")
            line.append((word if is_last else "").ljust(_LABEL - len(said)), "dim")
            line.append_text(bar)
            line.append(most if is_last else "", "dim")
            found.append(line)
        return found


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


class Overview(View):
    """See the module."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", show=False),
        Binding("l", "jobs", show=False),
        Binding("escape", "unfilter", show=False),
    ]

    def __init__(self, monitor: Monitor) -> None:
        super().__init__(monitor)
        self._wanted = ""
        self._frame: Frame | None = None

    def compose(self) -> ComposeResult:
        """Put it together."""
        yield Bar()
        yield Figures()
        with Container(id="panels"):
            yield Table(panels.WORK, empty="nothing was pushed so far", id="work")
            yield Table(
                panels.RUNNERS, empty="nobody runs jobs: `workqueue run module:queue` starts somebody", id="runners"
            )
            yield Table(panels.FAILURES, empty="nothing failed", id="failures")
        yield Filter(
            id="filter", placeholder="filter: part of the name of a queue or task, or of a message; Esc ends it"
        )
        yield Keys([("⏎", "open"), *ACTS, ("l", "jobs"), ("/", "filter"), ("⇥", "panel"), ("q", "quit")])

    def on_mount(self) -> None:
        """Let the keys be the first panel's."""
        self.query_one(Bar).left = printable(self.monitor.desk.path)
        self.query_one("#work", Table).focus()

    async def look(self) -> None:
        """Ask for a frame, and show it."""
        monitor = self.monitor
        frame = await monitor.ask(monitor.desk.frame)
        if self.is_attached:
            self._frame = frame
            self._show()

    @property
    def subject(self) -> Subject | None:
        """What the chosen row of the panel is of that has the keys."""
        return self.focused.subject if isinstance(self.focused, Table) else None

    def action_filter(self) -> None:
        """Ask what to show."""
        field = self.query_one("#filter", Filter)
        field.add_class("shown")
        field.focus()

    def action_unfilter(self) -> None:
        """Show all again."""
        field = self.query_one("#filter", Filter)
        field.value = ""
        field.remove_class("shown")
        self.query_one("#work", Table).focus()

    def action_jobs(self) -> None:
        """List the jobs of what is chosen."""
        subject = self.subject
        self.monitor.push_screen(Jobs(self.monitor, None if subject is None else Subject(subject.queue, subject.name)))

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show what is wanted now."""
        self._wanted = event.value
        self._show()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Give the keys back."""
        if not event.value:
            event.input.remove_class("shown")
        self.query_one("#work", Table).focus()

    def on_table_chosen(self, event: Table.Chosen) -> None:
        """Look into a job, or into the jobs of a queue or task."""
        subject = event.subject
        self.monitor.push_screen(
            Jobs(self.monitor, subject) if subject.job is None else StoryView(self.monitor, subject)
        )

    def on_resize(self, event: events.Resize) -> None:
        """Arrange the panels anew."""
        del event
        self._show()

    def _show(self) -> None:
        frame = self._frame
        if frame is None:
            return
        bar = self.query_one(Bar)
        bar.left = "  ".join([printable(frame.path), *panels.notes(frame)])
        bar.right = f"every {span(self.monitor.interval)}  {moment(frame.now)}"
        self.query_one(Figures).show_frame(frame)
        nothing = f"nothing has {self._wanted!r} in it" if self._wanted else None
        rows = {
            "work": panels.work(frame, self._wanted),
            "runners": panels.runners(frame, self._wanted),
            "failures": panels.failures(frame, self._wanted),
        }
        for name, its in rows.items():
            is_counting = name == "work" and frame.sight is None
            empty = "counting …" if is_counting else None if nothing is None else printable(nothing)
            self.query_one(f"#{name}", Table).show_rows(its, empty=empty)
        self._arrange(rows)

    def _arrange(self, rows: dict[str, list[Row]]) -> None:
        """Give each panel the lines it has use for, as far as there are so many."""
        size = self.size
        tall = size.height >= _TALL
        figures, box = self.query_one(Figures), self.query_one("#panels", Container)
        figures.styles.height = 6 if tall else 3
        gap = 1 if tall else 0
        box.styles.grid_gutter_horizontal = gap  # between rows, as textual has it
        box.styles.grid_gutter_vertical = 3
        room = size.height - 2 - (7 if tall else 3)
        wide = size.width >= _WIDE
        needs = {name: max(2, len(its) + 1) for name, its in rows.items()}
        failures = self.query_one("#failures", Table)
        if wide:
            upper = max(needs["work"], needs["runners"])
            box.styles.grid_size_columns, box.styles.grid_size_rows = 2, 2
            failures.styles.column_span = 2
            heights = _shared([upper, needs["failures"]], room - gap)
        else:
            box.styles.grid_size_columns, box.styles.grid_size_rows = 1, 3
            failures.styles.column_span = 1
            heights = _shared([needs["work"], needs["runners"], needs["failures"]], room - 2 * gap)
        box.styles.grid_rows = " ".join([*map(str, heights[:-1]), "1fr"])


def _shared(needs: list[int], room: int) -> list[int]:
    """Give each what it needs; where there is too little, no one more than an equal part of what others leave.

    >>> _shared([3, 20, 4], 18), _shared([2, 2], 30)
    ([3, 11, 4], [2, 2])
    """
    given = dict.fromkeys(range(len(needs)), 0)
    left, open_ = room, sorted(given, key=lambda place: needs[place])
    for done, place in enumerate(open_):
        given[place] = min(needs[place], max(2, left // (len(open_) - done)))
        left -= given[place]
    return [given[place] for place in range(len(needs))]
