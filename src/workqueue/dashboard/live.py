"""The stream that tells pages when to look again. It says nothing of what there is to see.

Every stream looks at the same figures, which are asked for once for all of them; a browser that is slow to read gets
the newest word and none in between.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from workqueue.dashboard.desk import Desk
from workqueue.errors import StoreError
from workqueue.report import Sight

MOST_STREAMS: Final = 32
_BEAT: Final = 15.0  # seconds; proxies close a connection that says nothing
_LONGEST: Final = 900.0  # seconds until a browser must ask again, and show that it still may
_PATIENCE: Final = 30.0  # seconds that a browser has to take a word; the buffers before it take many
_UNREACHABLE: Final = "unreachable"
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}


class Live:
    """The streams that are open."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._open = 0
        self._closing = False

    async def stream(self, request: Request) -> Response:
        """Answer with a stream; where too many are open, say so: the page then asks now and then."""
        if request.method == "HEAD":
            return Response(headers=_HEADERS, media_type="text/event-stream")
        if self._open >= MOST_STREAMS or self._closing:
            return Response("too many streams are open\n", 503, {"retry-after": "30"}, "text/plain")
        return _Stream(self, self._words(), media_type="text/event-stream", headers=_HEADERS)

    def close(self) -> None:
        """End all streams soon, and open no more. Safe from a signal handler."""
        self._closing = True

    async def _words(self) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        began = said_at = loop.time()
        said = ""
        yield "retry: 3000\n\n"
        while not self._closing and loop.time() - began < _LONGEST:
            word = await self._word()
            if word != said:
                said, said_at = word, loop.time()
                yield f"event: look\ndata: {word}\n\n"
            elif loop.time() - said_at > _BEAT:
                said_at = loop.time()
                yield ": still here\n\n"
            await asyncio.sleep(self._desk.period)

    async def _word(self) -> str:
        try:
            found = await self._desk.sight()
        except StoreError:
            return msgspec.json.encode({"mark": _UNREACHABLE}).decode()
        return msgspec.json.encode({"mark": mark(found)}).decode()

    @contextmanager
    def counted(self) -> Generator[None]:
        """Count a stream as open inside the block."""
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1


class _NobodyReads(Exception):
    """A browser has taken nothing for too long."""


class _Stream(StreamingResponse):
    """A stream that is counted for as long as it is answered, however that ends; one that takes nothing is ended."""

    def __init__(self, live: Live, words: AsyncIterator[str], *, media_type: str, headers: Mapping[str, str]) -> None:
        super().__init__(words, media_type=media_type, headers=headers)
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            try:
                async with asyncio.timeout(_PATIENCE):
                    await send(message)
            except TimeoutError as error:
                raise _NobodyReads from error

        with self._live.counted(), suppress(_NobodyReads):
            await super().__call__(scope, receive, sent)


def mark(found: Sight | None) -> str:
    """Give a short text that changes when the figures do; while jobs run, it always does."""
    if found is None:
        return ""
    seen = found.overview
    now = seen.now if any(standing.running for standing in seen.queues) else None
    told = msgspec.json.encode([seen.queues, seen.runners, seen.moves, found.paused, now])
    return hashlib.sha256(told).hexdigest()[:16]
