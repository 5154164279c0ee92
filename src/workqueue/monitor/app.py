"""Monitor: the application. It looks at the store again and again, on threads, and shows what the view of it tells."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import ClassVar, Final, ParamSpec, TypeVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches

from workqueue.duration import span
from workqueue.errors import StoreError, WorkqueueError
from workqueue.monitor.deeds import Deed
from workqueue.monitor.desk import Desk, on_a_thread
from workqueue.monitor.overview import Overview
from workqueue.monitor.panels import Subject
from workqueue.monitor.views import View
from workqueue.words import printable

P = ParamSpec("P")
T = TypeVar("T")
_THEME: Final = "ansi-dark"  # the colours of the terminal; those of its background are not named anywhere
_SLOW: Final = 2.0  # seconds without an answer, after which that is said


class Monitor(App[None]):
    """See the module."""

    CSS_PATH = "monitor.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", show=False),
        # First of all, and not when the panel comes to it: what is typed ahead of that must not mean another row.
        Binding("tab", "app.focus_next", show=False, priority=True),
        Binding("shift+tab", "app.focus_previous", show=False, priority=True),
        Binding("ctrl+c", "quit", show=False, priority=True),
    ]

    def __init__(self, desk: Desk, interval: timedelta) -> None:
        if not os.environ.get("NO_COLOR"):  # textual takes an empty one for a wish
            os.environ.pop("NO_COLOR", None)
        super().__init__(ansi_color=True)
        self.theme = _THEME
        self.desk = desk
        self.interval = interval
        self.looks = 0  # how often a view was looked at, for tests
        self._wake = asyncio.Event()
        self._away_since: float | None = None

    def on_mount(self) -> None:
        """Begin to look; and give the terminal back when somebody ends the process."""
        with suppress(NotImplementedError, RuntimeError, ValueError):  # not on Windows, nor beside the main thread
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self.exit)
        self.push_screen(Overview(self))
        self.run_worker(self._watch(), name="watch")

    async def ask(self, verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a verb of the store on a thread of its own; nobody waits for it when the monitor ends."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def settle(how: Callable[[], None]) -> None:
            if not answer.cancelled():
                how()

        def call() -> None:
            try:
                how = partial(answer.set_result, verb(*args, **kwargs))
            except Exception as error:  # noqa: BLE001 - raised again to whoever asked
                how = partial(answer.set_exception, error)
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, how)

        on_a_thread(call)
        return await answer

    def wake(self) -> None:
        """Look again at once."""
        self._wake.set()

    async def act(self, view: View, deed: Deed, subject: Subject) -> None:
        """Do what was asked for; say what came of it."""

        def do() -> str:
            return deed.do(self.desk.hand(subject.queue), subject)

        view.say("…")
        try:
            said, is_bad = await self.ask(do), False
        except (WorkqueueError, OSError) as error:
            said, is_bad = str(error), True
        self.desk.outdate()
        view.say(said, is_bad=is_bad)
        self.wake()

    async def _watch(self) -> None:
        while True:
            views = [screen for screen in self.screen_stack if isinstance(screen, View)]  # a question may be before it
            if views:
                with suppress(NoMatches):  # it was taken down meanwhile, and its parts are gone
                    await self._look(views[-1])
            try:
                await asyncio.wait_for(self._wake.wait(), self.interval.total_seconds())
            except TimeoutError:
                pass
            self._wake.clear()

    async def _look(self, view: View) -> None:
        looking = asyncio.ensure_future(view.look())
        began = time.monotonic()
        try:
            while not (await asyncio.wait({looking}, timeout=_SLOW))[0]:
                self._tell_away(view, began, "asked, and waiting")
            looking.result()
        except (StoreError, OSError) as error:
            self._tell_away(view, began, str(error))
        else:
            self._away_since = None
            if view.is_attached:
                view.tell_away("")
        finally:
            looking.cancel()
        self.looks += 1

    def _tell_away(self, view: View, since: float, why: str) -> None:
        self._away_since = since if self._away_since is None else self._away_since
        gone = span(timedelta(seconds=time.monotonic() - self._away_since))
        if view.is_attached:
            view.tell_away(f"no answer for {gone}: {printable(why)}")
