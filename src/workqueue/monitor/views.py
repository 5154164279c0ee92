"""View: what a screen of the monitor is: a bar above, what it shows, and its keys below."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from rich.cells import cell_len
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.reactive import reactive
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Input, Static

from workqueue.errors import WorkqueueError
from workqueue.monitor import deeds
from workqueue.monitor.deeds import Deed
from workqueue.monitor.panels import Subject
from workqueue.words import printable

if TYPE_CHECKING:
    from workqueue.monitor.app import Monitor

ACTS: Final = [("r", "retry"), ("u", "restore"), ("c", "cancel"), ("p", "pause")]
_DEEDS: Final = {"retry": deeds.RETRY, "restore": deeds.RESTORE, "cancel": deeds.CANCEL}
_SAID: Final = 8.0  # seconds that it stands there


class Bar(Widget):
    """The first line: what is looked at; and at the right how that is, or that nobody answers."""

    left: reactive[str] = reactive("")
    right: reactive[str] = reactive("")
    away: reactive[str] = reactive("")

    def render(self) -> Text:
        """Draw it."""
        width = self.size.width
        line = Text(no_wrap=True, end="", overflow="ellipsis")
        line.append("workqueue top", "bold")
        line.append(f"  {self.left}")
        right = self.away or self.right
        line.truncate(max(0, width - min(cell_len(right), width * 3 // 4) - 2), overflow="ellipsis")
        line.append(" " * max(2, width - line.cell_len - cell_len(right)))
        line.append(right, "bold red" if self.away else "dim")
        line.truncate(width, overflow="ellipsis")
        return line


class Keys(Widget):
    """The last line: what the keys do; for a while, what came of one."""

    said: reactive[str] = reactive("")
    is_bad: bool = False

    def __init__(self, keys: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._keys = keys

    def say(self, text: str, *, is_bad: bool = False) -> None:
        """Say something, instead of the keys."""
        self.is_bad = is_bad
        self.said = text
        self.set_timer(_SAID, lambda: self._unsay(text))

    def _unsay(self, text: str) -> None:
        if self.said == text:
            self.said = ""

    def render(self) -> Text:
        """Draw it."""
        line = Text(no_wrap=True, end="", overflow="ellipsis")
        if self.said:
            line.append(self.said, "bold red" if self.is_bad else "bold")
            return line
        for key, word in self._keys:
            piece = 3 + len(key) + len(word)
            if line.cell_len + piece > self.size.width + 2:
                break
            line.append(key, "bold")
            line.append(f" {word}  ", "dim")
        return line


class Filter(Input):
    """Where somebody says what to show. What cannot be seen is not taken, though it were pasted."""

    def validate_value(self, value: str) -> str:
        """Give what is taken."""
        return "".join(letter for letter in value if letter.isprintable())


class Question(ModalScreen[bool]):
    """Asks before something is done: y does it; n, q and Escape do not."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", show=False),
        Binding("n,q,escape", "answer(False)", show=False),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self.question = question

    def compose(self) -> ComposeResult:
        """Put it at the bottom."""
        line = Text(no_wrap=False, end="")
        line.append(printable(self.question), "bold")
        line.append("  y", "bold")
        line.append(" yes  ", "dim")
        line.append("n", "bold")
        line.append(" no", "dim")
        yield Static(line, markup=False)

    def action_answer(self, yes: bool) -> None:
        """Take the answer."""
        self.dismiss(yes)


class View(Screen[None]):
    """See the module. Its `look` is called again and again, as long as it is the one that is seen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "act('retry')", show=False),
        Binding("u", "act('restore')", show=False),
        Binding("c", "act('cancel')", show=False),
        Binding("p", "act('pause')", show=False),
    ]

    def __init__(self, monitor: Monitor) -> None:
        super().__init__()
        self.monitor = monitor

    @abstractmethod
    async def look(self) -> None:
        """Ask what there is to see, and show it. Raises StoreError while the database is away."""

    @property
    @abstractmethod
    def subject(self) -> Subject | None:
        """What a key means just now."""

    def say(self, text: str, *, is_bad: bool = False) -> None:
        """Say something in the last line."""
        for keys in self.query(Keys):  # there are none when it was left meanwhile
            keys.say(printable(text), is_bad=is_bad)

    def tell_away(self, away: str) -> None:
        """Say in the first line that nobody answers; '' when somebody does again."""
        for bar in self.query(Bar):
            bar.away = away

    def action_act(self, verb: str) -> None:
        """Ask, and do it to what is chosen."""
        subject = self.subject
        if subject is None:
            self.say("choose a row first: Tab goes from panel to panel, the arrows from row to row")
            return
        if verb == "pause":
            self.run_worker(self._ask_before_pause(subject))
        else:
            self._ask_before(_DEEDS[verb], subject)

    async def _ask_before_pause(self, subject: Subject) -> None:
        """Ask whether to pause it, or to resume it, as it stands now: what is shown may be older."""
        try:
            is_paused = await self.monitor.ask(self.monitor.desk.is_paused, subject.queue, subject.name)
        except (WorkqueueError, OSError) as error:
            self.say(str(error), is_bad=True)
        else:
            if self.is_current:  # else it was left, or another question came first
                self._ask_before(deeds.RESUME if is_paused else deeds.PAUSE, subject)

    def _ask_before(self, deed: Deed, subject: Subject) -> None:
        self.monitor.push_screen(
            Question(deed.question(subject)), lambda yes: self._answered(deed, subject, yes=bool(yes))
        )

    def _answered(self, deed: Deed, subject: Subject, *, yes: bool) -> None:
        if yes:
            self.run_worker(self.monitor.act(self, deed, subject))
        else:
            self.say("nothing was changed")
