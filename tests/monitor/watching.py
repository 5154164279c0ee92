"""Somebody who watches the monitor: presses keys, and reads what is on the screen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.segment import Segment
from textual.app import App
from textual.pilot import Pilot
from workqueue.monitor import Desk
from workqueue.monitor.app import Monitor

PERIOD = timedelta(seconds=30)  # a key wakes it; nothing else does in the time of a test


class Watcher:
    def __init__(self, app: Monitor, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def lines(self) -> list[str]:
        """What is on the screen, with questions before it."""
        return ["".join(segment.text for segment in segments) for segments in segments_of(self.app)]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def sees(self, *words: str) -> str:
        """Wait until all of this is to be seen."""
        await self.until(lambda: all(word in self.text for word in words), lambda: f"expected {words} in\n{self.text}")
        return self.text

    async def until(self, condition: Callable[[], object], told: Callable[[], str] = lambda: "it never was so") -> None:
        async def wait() -> None:
            while not condition():
                await self.pilot.pause(0.005)

        try:
            await asyncio.wait_for(wait(), 20)
        except TimeoutError:
            raise AssertionError(told()) from None

    async def look(self) -> None:
        """Let it look at the store once more, from now on."""
        looks = self.app.looks
        self.app.desk.outdate()
        self.app.wake()
        await self.until(lambda: self.app.looks > looks)
        await self.pilot.pause()

    def reversed_lines(self) -> list[str]:
        """What stands out of its panel, as the row that is chosen."""
        found = ["".join(one.text for one in line if one.style and one.style.reverse) for line in segments_of(self.app)]
        return [text for text in found if text]

    def line_with(self, word: str) -> str:
        found = [line for line in self.lines if word in line]
        assert found, f"no line with {word!r} in\n{self.text}"
        return found[0]


def segments_of(app: App[None]) -> list[list[Segment]]:
    """What a terminal would be told of each line."""
    return [list(strip) for strip in app.screen._compositor.render_strips()]


@asynccontextmanager
async def watched(
    place: Path | str, *, size: tuple[int, int] = (120, 40), period: timedelta = PERIOD
) -> AsyncIterator[Watcher]:
    desk = Desk(place, period=0)
    app = Monitor(desk, period)
    try:
        async with app.run_test(size=size) as pilot:
            watcher = Watcher(app, pilot)
            await watcher.until(lambda: app.looks)
            yield watcher
    finally:
        desk.close()


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)
