"""Waiting for a server that says nothing: whether it works for us still, or the line is dead and nobody told us.

TCP tells of a dead host, in half a minute. It does not where something between answers for it: then we would wait for
ever. Only silence counts, so that a statement may take as long as it needs.
"""

from __future__ import annotations

import time
from typing import Final, Protocol, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.waiting import Ready

T = TypeVar("T")

SILENCE: Final = 10.0  # seconds
_ASKED_AGAIN: Final = 0.5  # seconds: its answer may be on the way


class Line(Protocol):
    """A connection whose other end may have gone."""

    def is_forgotten(self) -> bool: ...
    def close(self) -> None: ...


def watched(gen: PQGen[T], line: Line) -> PQGen[T]:
    """Go on as `gen` does. Raises OperationalError, the line closed, once it was silent and is twice forgotten."""
    try:
        want = next(gen)
        silent_at = time.monotonic() + SILENCE
        before = False
        while True:
            ready = yield want
            if ready != Ready.NONE:
                silent_at, before = time.monotonic() + SILENCE, False
            elif time.monotonic() >= silent_at:
                forgotten = line.is_forgotten()
                if forgotten and before:
                    line.close()
                    raise psycopg.OperationalError("the server has nothing to do for us, but its answer never came")
                before = forgotten
                silent_at = time.monotonic() + (_ASKED_AGAIN if forgotten else SILENCE)
            want = gen.send(ready)
    except StopIteration as end:
        answer: T = end.value
        return answer
