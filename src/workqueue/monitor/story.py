"""StoryView: a view of one job: how it stands and why, what has happened to it, and its data."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Final

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from workqueue import story
from workqueue.duration import span
from workqueue.errors import JobNotFound
from workqueue.job import Job
from workqueue.monitor import drawing
from workqueue.monitor.desk import Story
from workqueue.monitor.panels import Subject, Tone
from workqueue.monitor.views import ACTS, Bar, Keys, View
from workqueue.redaction import clean, usual
from workqueue.words import ago, bounded, clipped, moment, printable

if TYPE_CHECKING:
    from workqueue.monitor.app import Monitor

_MOST_LINES: Final = 500
_LONGEST_LINE: Final = 2000
_TONES: Final[dict[story.Tone, Tone]] = {
    "plain": "plain",
    "good": "good",
    "bad": "bad",
    "busy": "busy",
    "wait": "wait",
    "gone": "faint",
}


class StoryView(View):
    """See the module."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "app.pop_screen", show=False),
        Binding("k", "scroll(-1)", show=False),
        Binding("j", "scroll(1)", show=False),
    ]

    def __init__(self, monitor: Monitor, subject: Subject) -> None:
        super().__init__(monitor)
        self._of = subject
        self._shown: Story | None = None

    def compose(self) -> ComposeResult:
        """Put it together."""
        yield Bar()
        with VerticalScroll(id="story"):
            yield Static("looking …", markup=False)
        yield Keys([*ACTS, ("↑↓", "scroll"), ("esc", "back"), ("q", "quit")])

    def on_mount(self) -> None:
        """Look at once."""
        self.query_one(Bar).left = printable(str(self._of))
        self.query_one("#story").focus()
        self.monitor.wake()

    async def look(self) -> None:
        """Ask what is known of the job, and show it."""
        monitor, job = self.monitor, self._of.job
        if job is None:
            raise TypeError(f"expected a job to tell of, got: {self._of}")
        try:
            found = await monitor.ask(monitor.desk.story, job)
        except JobNotFound as error:  # another file stands there by now
            found = Story(id=job, now=await monitor.ask(monitor.desk.now), why=[str(error)])
        if self.is_attached:
            bar = self.query_one(Bar)
            bar.right = f"{'has left' if found.job is None else found.job.status}  {moment(found.now)}"
            self.query_one("#story Static", Static).update(told(found))

    @property
    def subject(self) -> Subject | None:
        """The job."""
        return self._of

    def action_scroll(self, by: int) -> None:
        """Scroll by so many lines."""
        self.query_one("#story").scroll_relative(y=by, animate=False)


def told(found: Story) -> Text:
    """Tell all that is known of a job."""
    text = Text(end="")
    for line, style in _lines(found):
        text.append(clipped(line, _LONGEST_LINE), style)
        text.append("\n")
    return text


def _lines(found: Story) -> Iterator[tuple[str, str]]:
    yield "", ""
    for number, sentence in enumerate(found.why):
        yield printable(clean(sentence)), "bold" if number == 0 else ""
    yield "", ""
    job = found.job
    if job is not None:
        yield _facts(job), "dim"
        yield "", ""
        for event in story.told(job, found.attempts, found.now):
            yield from _event(event, found.now)
    for title, data in (("Progress", found.outlook.progress), ("Result", found.outlook.result)):
        if data is not None:
            yield from _data(title, data)
    if job is not None:
        yield from _data(f"Data, {len(job.data):,} bytes", job.data)


def _facts(job: Job) -> str:
    limit = "no limit" if job.backoff.limit is None else f"{job.backoff.limit} tries at most"
    facts = [
        f"priority {job.priority}",
        f"attempts {job.attempt}",
        f"handler failed {job.retry_count}×",
        f"runner died {job.lost}×",
        f"backoff {span(job.backoff.min)} to {span(job.backoff.max)}, {limit}",
        *([] if job.terms is None or job.terms.key is None else [f"key {job.terms.key!r}"]),
        *([] if job.terms is None or job.terms.batch is None else [f"batch {job.terms.batch}"]),
    ]
    return printable("  ·  ".join(facts))


def _event(event: story.Event, now: datetime) -> Iterator[tuple[str, str]]:
    style = drawing.STYLES[_TONES[event.tone]]
    when = f"{moment(event.at)}  {ago(event.at, now):<10}" if event.at is not None else " " * 32
    took = "" if event.took is None else f", after {span(event.took)}"
    runner = f", by {event.runner}" if event.runner else ""
    yield printable(f"{when}  {event.title}{took}{runner}"), style
    for line in (*event.details, *([event.error] if event.error else [])):
        yield " " * 34 + printable(clean(line)), "dim" if line != event.error else style
    traceback = clean(event.traceback).rstrip("\n").split("\n") if event.traceback else []
    for line in bounded(traceback, _MOST_LINES):
        yield " " * 4 + printable(line.expandtabs(4)), "dim"
    if event.traceback:
        yield "", ""


def _data(title: str, data: bytes) -> Iterator[tuple[str, str]]:
    yield "", ""
    yield title, "bold"
    for line in bounded(usual.shown(data), _MOST_LINES):
        yield f"  {printable(line)}", ""
