"""The stream that tells pages when to look again. It says nothing of what there is to see.

Every stream looks at the same figures, which are asked for once for all of them; a browser that is slow to read gets
the newest word and none in between.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from starlette.responses import Response, StreamingResponse

from workqueue.dashboard.desk import Desk
from workqueue.dashboard.looks import PERIOD
from workqueue.errors import StoreError
from workqueue.store.contract import Overview

MOST_STREAMS: Final = 32
_BEAT: Final = 15.0  # seconds; proxies close a connection that says nothing
_LONGEST: Final = 900.0  # seconds until a browser must ask again, and show that it still may
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}


class Live:
    """The streams that are open."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._open = 0
        self._closing = False

    def stream(self) -> Response:
        """Answer with a stream; where too many are open, say so: the page then asks now and then."""
        if self._open >= MOST_STREAMS or self._closing:
            return Response("too many streams are open\n", 503, {"retry-after": "30"}, "text/plain")
        self._open += 1
        return StreamingResponse(self._words(), media_type="text/event-stream", headers=_HEADERS)

    def close(self) -> None:
        """End all streams soon, and open no more. Safe from a signal handler."""
        self._closing = True

    async def _words(self) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        began = said_at = loop.time()
        said = ""
        try:
            yield "retry: 3000\n\n"
            while not self._closing and loop.time() - began < _LONGEST:
                word = await self._word()
                if word != said:
                    said, said_at = word, loop.time()
                    yield f"event: look\ndata: {word}\n\n"
                elif loop.time() - said_at > _BEAT:
                    said_at = loop.time()
                    yield ": still here\n\n"
                await asyncio.sleep(PERIOD)
        finally:
            self._open -= 1

    async def _word(self) -> str:
        try:
            found = await self._desk.overview()
        except StoreError:
            return msgspec.json.encode({"mark": "unreachable"}).decode()
        return msgspec.json.encode({"mark": "" if found is None else mark(found)}).decode()


def mark(found: Overview) -> str:
    """Give a short text that changes when the figures do."""
    seen = msgspec.json.encode([found.queues, found.runners, found.moves])
    return hashlib.sha256(seen).hexdigest()[:16]
