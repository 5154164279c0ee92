"""What the two sides of a PostgreSQL session say, cut into messages, each with the statement that it is about."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_CANCEL: Final = 80877102
_ENCRYPTION: Final = (80877103, 80877104)  # SSLRequest, GSSENCRequest: answered by a single byte


class Side(enum.Enum):
    """Who speaks."""

    FRONTEND = "frontend"
    BACKEND = "backend"


@dataclass(frozen=True)
class Message:
    """One message as it stood on the line.

    kind: the protocol's letter; "startup", "encryption", "cancel" and "answer" (to encryption) have none.
    statement: the SQL that it asks for or answers; of a prepared statement, what was prepared.
    """

    side: Side
    kind: str
    data: bytes
    statement: str = ""


class Dialogue:
    """One session, heard from both sides; each side by one thread."""

    def __init__(self) -> None:
        self._heard = {side: bytearray() for side in Side}
        self._starting = True
        self._encryption_asked = 0
        self._prepared: dict[bytes, str] = {}
        self._portals: dict[bytes, str] = {}
        self._asked: deque[str | None] = deque()  # statements whose answer is to come; None: a Sync
        self._answered = ""

    def hear(self, side: Side, data: bytes) -> Iterator[Message]:
        """Give the messages that are whole now."""
        heard = self._heard[side]
        heard += data
        while (size := self._size(side, heard)) and len(heard) >= size:
            whole = bytes(heard[:size])
            del heard[:size]
            yield self._ask(whole) if side is Side.FRONTEND else self._answer(whole)

    def rest(self, side: Side) -> bytes:
        """Give what was said of a message that never ended."""
        return bytes(self._heard[side])

    def _size(self, side: Side, heard: bytearray) -> int:
        if side is Side.BACKEND and self._encryption_asked:
            return 1
        kind = 0 if side is Side.FRONTEND and self._starting else 1
        return kind + int.from_bytes(heard[kind : kind + 4], "big") if len(heard) >= kind + 4 else 0

    def _ask(self, whole: bytes) -> Message:
        if self._starting:
            return self._start(whole)
        kind, body, statement = chr(whole[0]), whole[5:], ""
        match kind:
            case "Q":
                statement = _text(body)
                self._asked += [statement, None]
            case "P":
                name, text, _ = body.split(b"\0", 2)
                statement = self._prepared[name] = _text(text)
            case "B":
                portal, name, _ = body.split(b"\0", 2)
                statement = self._portals[portal] = self._prepared.get(name, "")
            case "E":
                statement = self._portals.get(body.split(b"\0", 1)[0], "")
                self._asked.append(statement)
            case "S":
                self._asked.append(None)
        return Message(Side.FRONTEND, kind, whole, statement)

    def _start(self, whole: bytes) -> Message:
        code = int.from_bytes(whole[4:8], "big")
        if code in _ENCRYPTION:
            self._encryption_asked += 1
            return Message(Side.FRONTEND, "encryption", whole)
        self._starting = False
        return Message(Side.FRONTEND, "cancel" if code == _CANCEL else "startup", whole)

    def _answer(self, whole: bytes) -> Message:
        if self._encryption_asked:
            self._encryption_asked -= 1
            return Message(Side.BACKEND, "answer", whole)
        kind = chr(whole[0])
        asked = self._asked[0] if self._asked else None
        if asked is not None:
            self._answered = asked
            if kind in "CIs":
                self._asked.popleft()
        if kind == "Z":  # all up to a Sync is answered, or left out after an error
            while self._asked and self._asked.popleft() is not None:
                pass
        return Message(Side.BACKEND, kind, whole, self._answered)


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")
