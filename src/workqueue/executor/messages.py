"""What a runner and its child processes say to each other, and the line they say it over.

Each message is JSON with its length before it: data, of which nothing is ever executed.
"""

from __future__ import annotations

import select
import socket
import threading
from datetime import datetime
from typing import Final, Generic, TypeAlias, TypeVar

import msgspec

from workqueue.job import Claim
from workqueue.lifecycle import Cancelled, HandedBack, Outcome, Postponed, Raised, Returned
from workqueue.stderr import Logging

_LENGTH: Final = 8  # bytes; any text in the place of a length then says more than the longest
_LONGEST: Final = 2**30  # bytes
_PIECE: Final = 2**16
_PIECES: Final = 64  # at a time, so that who listens to a flood can look at the clock too


class Program(msgspec.Struct, frozen=True):
    """What the parent runs as `__main__`: a module's name, or a script's path, or neither of them."""

    name: str = ""
    path: str = ""


class Run(msgspec.Struct, frozen=True, tag=True):
    """To the child: run this. around: see `Observer.in_child`; logs: how the parent logs, where it says so."""

    claim: Claim
    entry: str
    timeout: float | None
    main: Program
    around: tuple[str, ...] = ()
    logs: Logging | None = None


class Stop(msgspec.Struct, frozen=True, tag=True):
    """To the child: finish early what runs. See `Context` for both."""

    deadline: datetime | None
    cancel_requested: bool


class Began(msgspec.Struct, frozen=True, tag=True):
    """To the parent: everything is imported, and the handler called."""


class Progress(msgspec.Struct, frozen=True, tag=True):
    """To the parent: the newest progress of what runs, as JSON."""

    data: bytes


class Ended(msgspec.Struct, frozen=True, tag=True):
    """To the parent: the outcome, as the one of these that is not None."""

    returned: Returned | None = None
    raised: Raised | None = None
    cancelled: Cancelled | None = None
    postponed: Postponed | None = None

    @classmethod
    def of(cls, outcome: Outcome) -> Ended:
        match outcome:
            case Returned():
                return cls(returned=outcome)
            case Cancelled():
                return cls(cancelled=outcome)
            case Postponed():
                return cls(postponed=outcome)
            case Raised():
                return cls(raised=outcome)
            case _:  # a runner's word, and no handler's
                return cls()

    @property
    def outcome(self) -> Outcome:
        return self.returned or self.raised or self.cancelled or self.postponed or HandedBack()


ToChild: TypeAlias = Run | Stop
ToParent: TypeAlias = Began | Progress | Ended
M = TypeVar("M")

to_child: Final = msgspec.json.Decoder(ToChild)
to_parent: Final = msgspec.json.Decoder(ToParent)
_encoder = msgspec.json.Encoder()


class Line(Generic[M]):
    """One end of the line; M: what comes from the other. Safe from any thread: `send` and `flush`; the rest is for one.

    Nothing blocks but `wait` and `flush`: who waits for a child must see the clock, and whether the child lives.
    """

    def __init__(self, end: socket.socket, decoder: msgspec.json.Decoder[M]) -> None:
        end.setblocking(False)
        self._end = end
        self._decoder = decoder
        self._sending = threading.Lock()
        self._unsent = bytearray()
        self._come = bytearray()
        self.is_over = False  # nothing more will come
        self.is_broken = False  # something was not sent

    def send(self, message: msgspec.Struct) -> None:
        """Send it, or as much of it as there is room for; the rest goes with `wait` or `flush`."""
        data = _encoder.encode(message)
        with self._sending:
            self._unsent += len(data).to_bytes(_LENGTH, "big") + data
        self._push()

    def wait(self, seconds: float | None) -> None:
        """Return when something has come, at the latest after so many seconds."""
        poll = select.poll()
        poll.register(self._end, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        for _, event in poll.poll(None if seconds is None else max(0.0, seconds * 1000)):
            if event & select.POLLOUT:
                self._push()

    def flush(self) -> None:
        """Return when all was sent, or nobody is there to take it."""
        while self._unsent:
            poll = select.poll()
            poll.register(self._end, select.POLLOUT)
            poll.poll(None)
            self._push()

    def receive(self) -> list[M]:
        """Give what has come; `is_over` is true after the last. Raises ValueError for what is no message.

        What came before that is given first: that a job has begun must be known, or it would be begun again.
        """
        for _ in range(_PIECES):
            try:
                piece = self._end.recv(_PIECE)
            except BlockingIOError:
                break
            except OSError:  # it went with words of ours unread, or the line was closed here
                piece = b""
            if not piece:
                self.is_over = True
                break
            self._come += piece
        messages: list[M] = []
        while len(self._come) >= _LENGTH:
            length = int.from_bytes(self._come[:_LENGTH], "big")
            if length > _LONGEST:
                if messages:
                    break
                raise ValueError(f"expected a message of at most {_LONGEST:,} bytes, got the length {length:,}")
            if len(self._come) < _LENGTH + length:
                break
            try:
                messages.append(self._decoder.decode(self._come[_LENGTH : _LENGTH + length]))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                if messages:
                    break
                raise ValueError(f"expected a message, got something else: {error}") from error
            del self._come[: _LENGTH + length]
        return messages

    def close(self) -> None:
        self._end.close()

    def _push(self) -> None:
        with self._sending:
            while self._unsent:
                try:
                    sent = self._end.send(self._unsent[:_PIECE])
                except BlockingIOError:
                    return
                except OSError:  # nobody is there any more, or a handler closed what it did not open
                    self.is_broken = True
                    self._unsent.clear()
                    return
                del self._unsent[:sent]
