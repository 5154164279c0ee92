"""Jobs: a view of the jobs of a queue, or of a task, or of all, the newest first, by status and text."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from workqueue.job import JobStatus
from workqueue.monitor import panels
from workqueue.monitor.panels import Subject
from workqueue.monitor.story import StoryView
from workqueue.monitor.table import Table
from workqueue.monitor.views import ACTS, Bar, Filter, Keys, View
from workqueue.store.paging import Find
from workqueue.words import printable

if TYPE_CHECKING:
    from workqueue.monitor.app import Monitor

_PAGE: Final = 100
_STATUSES: Final = [None, *dict.fromkeys(JobStatus)]


class Jobs(View):
    """See the module. subject: whose jobs; None: those of all."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "status", show=False),
        Binding("slash", "filter", show=False),
        Binding("n", "older", show=False),
        Binding("b", "newest", show=False),
        Binding("escape", "back", show=False),
    ]

    def __init__(self, monitor: Monitor, subject: Subject | None) -> None:
        super().__init__(monitor)
        self._of = subject
        self._which = Find(
            queue=None if subject is None else subject.queue,
            name=None if subject is None else subject.name,
            newest_first=True,
            limit=_PAGE,
        )
        self._next: int | None = None

    def compose(self) -> ComposeResult:
        """Put it together."""
        yield Bar()
        yield Table(panels.JOBS, empty="looking …", id="jobs")
        yield Filter(id="filter", placeholder="what stands in the message or the data of a job, just so; Esc ends it")
        more = [("s", "status"), ("/", "text"), ("n", "older"), ("b", "newest"), ("esc", "back")]
        yield Keys([("⏎", "open"), *ACTS, *more])

    def on_mount(self) -> None:
        """Look at once."""
        self._title()
        self.query_one("#jobs", Table).focus()
        self.monitor.wake()

    async def look(self) -> None:
        """Ask for the page, and show it."""
        monitor, which = self.monitor, self._which
        page = await monitor.ask(monitor.desk.find, which)
        now = await monitor.ask(monitor.desk.now)
        if self.is_attached and which == self._which:
            self._next = page.next
            empty = "no such jobs" if page.next is None else "none so far; n looks on"
            self.query_one("#jobs", Table).show_rows(panels.jobs(page.jobs, now), empty=empty)

    @property
    def subject(self) -> Subject | None:
        """The chosen job."""
        return self.query_one("#jobs", Table).subject

    def action_status(self) -> None:
        """Show those of the next status."""
        place = _STATUSES.index(self._which.status)
        self._ask(msgspec.structs.replace(self._which, status=_STATUSES[(place + 1) % len(_STATUSES)], before=None))

    def action_older(self) -> None:
        """Go on to the next page."""
        if self._next is None:
            self.say("there are no more")
        else:
            self._ask(self._which.beyond(self._next))

    def action_newest(self) -> None:
        """Go back to the first page."""
        self._ask(msgspec.structs.replace(self._which, before=None))

    def action_filter(self) -> None:
        """Ask for a text."""
        field = self.query_one("#filter", Filter)
        field.add_class("shown")
        field.focus()

    def action_back(self) -> None:
        """Leave the filter, and then this view."""
        field = self.query_one("#filter", Filter)
        if field.has_class("shown"):
            field.value = ""
            field.remove_class("shown")
            self.query_one("#jobs", Table).focus()
            self._ask(msgspec.structs.replace(self._which, text=None, before=None))
        else:
            self.monitor.pop_screen()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Show the jobs with this text."""
        if not event.value:
            event.input.remove_class("shown")
        self.query_one("#jobs", Table).focus()
        self._ask(msgspec.structs.replace(self._which, text=event.value or None, before=None))

    def on_table_chosen(self, event: Table.Chosen) -> None:
        """Look into a job."""
        self.monitor.push_screen(StoryView(self.monitor, event.subject))

    def _ask(self, which: Find) -> None:
        self._which = which
        self._title()
        self.query_one("#jobs", Table).show_rows([], empty="looking …")
        self.monitor.wake()

    def _title(self) -> None:
        bar, which = self.query_one(Bar), self._which
        bar.left = printable("all jobs" if self._of is None else f"jobs of {self._of}")
        status = "any status" if which.status is None else str(which.status)
        text = "" if which.text is None else f"  with {which.text!r}"
        older = "" if which.before is None else f"  below {which.before}"
        bar.right = printable(f"{status}{text}{older}  newest first")
