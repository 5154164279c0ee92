"""A line between a client and a PostgreSQL server that breaks where and how it is told.

It breaks sessions, not packets: the kernel at our end still acknowledges what it takes in, so that `tcp_user_timeout`
and keepalives see a healthy peer. Those need a link that is cut below TCP.
"""

from __future__ import annotations

import enum
import re
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

from psycopg import conninfo

from prove.postgres.protocol import Dialogue, Message, Side

_PATIENCE: Final = 30.0  # seconds
_LINGER_NOT: Final = struct.pack("ii", 1, 0)


class Deed(enum.Enum):
    """What happens to a session, in both directions."""

    CLOSE = "both ends see that the other has closed"
    RESET = "both ends are told that there is no such connection"
    SWALLOW = "nothing arrives any more, and neither end is told: a firewall that forgot the connection"
    HOLD = "nothing arrives until the line is healed, and then all of it: a cable that was out"
    DELAY = "what comes next is late, and all is well again"


@dataclass(frozen=True)
class Fault:
    """Where a line breaks: after `byte` bytes of a message, or of all that a side says where no message is described.

    kind, statement: the message is of this kind (see `Message`) and about SQL that contains these words.
    skip: so many such messages pass, of all sessions together. seconds: of a DELAY.
    """

    side: Side
    deed: Deed
    byte: int = 0
    kind: str | None = None
    statement: str | None = None
    skip: int = 0
    seconds: float = 0.0

    @property
    def of_a_message(self) -> bool:
        return self.kind is not None or self.statement is not None

    def describes(self, message: Message) -> bool:
        return (
            message.side is self.side
            and self.kind in (None, message.kind)
            and (self.statement is None or _has_words(message.statement, self.statement))
        )


def _has_words(statement: str, words: str) -> bool:
    """Say so of whole ones: READ COMMITTED is no commit."""
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", statement, re.IGNORECASE) is not None


class Armed:
    """A fault that waits for its moment; it comes once."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._skip = fault.skip
        self._struck = threading.Event()

    @property
    def struck(self) -> bool:
        return self._struck.is_set()

    def wait(self, timeout: float = _PATIENCE) -> None:
        """Return when it has struck. Raises TimeoutError."""
        if not self._struck.wait(timeout):
            raise TimeoutError(f"nothing met {self.fault}")

    def meet(self, message: Message, passed: int) -> int | None:
        """Say after how many bytes of the message it strikes. passed: bytes that this side said before."""
        if message.side is not self.fault.side:
            return None
        byte = self.fault.byte
        if not self.fault.of_a_message:
            byte -= passed
            if not 0 <= byte <= len(message.data):
                return None
        elif not self.fault.describes(message):
            return None
        elif self._skip:
            self._skip -= 1
            return None
        return min(byte, len(message.data))

    def strike(self, session: _Session) -> None:
        """Do it to a session. Who waits for it may heal all at once: what that undoes is done by then."""
        lasts = self.fault.deed in (Deed.HOLD, Deed.SWALLOW)
        if lasts:
            session.suffer(self.fault.deed)
        self._struck.set()
        if not lasts:
            session.suffer(self.fault.deed, self.fault.seconds)


class Proxy:
    """A line to the server of a URL. `url` leads to the same database through it; it listens on a free port of `at`.

    All is well until it is told otherwise: by `arm` for one message of one session, by the other verbs for all of them.
    """

    def __init__(self, url: str, *, at: str = "127.0.0.1") -> None:
        known = conninfo.conninfo_to_dict(url)
        host, port = str(known.get("host", "127.0.0.1")), int(known.get("port") or 5432)
        self._server = f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
        self._lock = threading.Lock()
        self._sessions: set[_Session] = set()
        self._armed: list[Armed] = []
        self._heard: list[Message] = []
        self._meets_new: Deed | None = None
        self.delay = 0.0  # seconds, for each message of each side from now on
        self._at = at
        self._listener = socket.create_server((at, 0))
        self.port: int = self._listener.getsockname()[1]
        parts = urlsplit(url)
        who = parts.netloc.rpartition("@")[0]
        self.url = f"postgresql://{who}@{at}:{self.port}{parts.path}?sslmode=disable&gssencmode=disable"
        self._accept_in_a_thread()

    def arm(self, fault: Fault) -> Armed:
        """Let a fault wait for its message; of several that meet the same one, the first armed strikes."""
        with self._lock:
            self._armed.append(armed := Armed(fault))
        return armed

    def heard(self) -> list[Message]:
        """Give what went through since it was asked last, in the order in which it came."""
        with self._lock:
            heard, self._heard = self._heard, []
        return heard

    @property
    def sessions(self) -> int:
        """How many are open on either end."""
        return len(self._all())

    def strike(self, deed: Deed) -> None:
        """Do this to all sessions that there are, wherever they are; with HOLD and SWALLOW also to those that come."""
        with self._lock:
            self._meets_new = deed if deed in (Deed.HOLD, Deed.SWALLOW) else None
        for session in self._all():
            session.suffer(deed)

    def refuse(self) -> None:
        """Let nobody in: nobody listens."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(_PATIENCE)
        self._listener.close()

    def heal(self) -> None:
        """All is well from now on. What was held arrives; sessions that were swallowed are reset; no fault is armed."""
        with self._lock:
            self._meets_new = None
            self._armed.clear()
        self.delay = 0.0
        for session in self._all():
            session.heal()
        if not self._accepting.is_alive():
            self._listener = socket.create_server((self._at, self.port))
            self._accept_in_a_thread()

    def close(self) -> None:
        self.refuse()
        for session in self._all():
            session.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _all(self) -> list[_Session]:
        with self._lock:
            return list(self._sessions)

    def _accept_in_a_thread(self) -> None:
        self._accepting = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = _connected(self._server)
            except OSError:
                client.close()
                continue
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            session = _Session(self, client, server)
            with self._lock:
                self._sessions.add(session)
                deed = self._meets_new
            if deed:
                session.suffer(deed)
            session.start()

    def hears(self, message: Message, passed: int) -> tuple[int, Armed | None]:
        """Note a message of a session; say how many of its bytes pass before the fault that it meets, if any."""
        with self._lock:
            self._heard.append(message)
            for armed in self._armed:
                if (byte := armed.meet(message, passed)) is not None:
                    self._armed.remove(armed)
                    return byte, armed
        return len(message.data), None

    def forget(self, session: _Session) -> None:
        with self._lock:
            self._sessions.discard(session)


class _Session:
    """One client, one server, and a thread for what each of them says."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._ends = {Side.FRONTEND: client, Side.BACKEND: server}
        self._dialogue = Dialogue()
        self._flows = threading.Event()
        self._flows.set()
        self._over = threading.Event()
        self._swallows = False
        self._lock = threading.Lock()
        self._talking = len(self._ends)
        self._threads = [
            threading.Thread(target=self._carry, args=(side,), name=f"proxy, {side.value}", daemon=True)
            for side in Side
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def suffer(self, deed: Deed, seconds: float = 0.0) -> None:
        match deed:
            case Deed.HOLD:
                self._flows.clear()
            case Deed.SWALLOW:
                self._swallows = True
            case Deed.DELAY:
                self._over.wait(seconds)
            case Deed.CLOSE | Deed.RESET:
                self._break(reset=deed is Deed.RESET)

    def heal(self) -> None:
        if self._swallows:
            self._break(reset=True)
        self._flows.set()

    def end(self) -> None:
        self._break(reset=False)
        for thread in self._threads:
            thread.join(_PATIENCE)

    def _break(self, *, reset: bool) -> None:
        with self._lock:
            self._over.set()
            for end in self._ends.values():
                with suppress(OSError):  # it has gone already
                    if reset:
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
                    # Wakes the thread that reads here; the last of them closes, and only that sends the reset.
                    end.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
        self._flows.set()

    def _carry(self, side: Side) -> None:
        source = self._ends[side]
        sink = self._ends[Side.BACKEND if side is Side.FRONTEND else Side.FRONTEND]
        passed = 0
        try:
            while data := source.recv(65536):
                for message in self._dialogue.hear(side, data):
                    if self._passes():
                        self._pass(message, passed, sink)
                    passed += len(message.data)
            if self._passes():
                sink.sendall(self._dialogue.rest(side))
                sink.shutdown(socket.SHUT_WR)
        except OSError:  # one of the ends has gone
            if not self._swallows:
                self._break(reset=False)
        finally:
            self._leave()

    def _pass(self, message: Message, passed: int, sink: socket.socket) -> None:
        self._over.wait(self._proxy.delay)
        byte, armed = self._proxy.hears(message, passed)
        sink.sendall(message.data[:byte])
        if armed:
            armed.strike(self)
            if self._passes():
                sink.sendall(message.data[byte:])

    def _passes(self) -> bool:
        """Say whether anything arrives, once it is not held."""
        self._flows.wait()
        return not self._swallows and not self._over.is_set()

    def _leave(self) -> None:
        with self._lock:
            self._talking -= 1
            if self._talking:
                return
            for end in self._ends.values():
                end.close()
        self._proxy.forget(self)


def _connected(server: str | tuple[str, int]) -> socket.socket:
    if isinstance(server, tuple):
        connection = socket.create_connection(server)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(server)
    except OSError:
        connection.close()
        raise
    return connection
