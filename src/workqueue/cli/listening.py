"""A port on which a process answers probes: HTTP by the standard library, for who watches and for nobody else.

Each question has a thread, and so many seconds; where there are too many at once, the oldest is let go. So clients that
are slow, or mean it, hold a thread for seconds and keep nobody else away.
"""

from __future__ import annotations

import io
import os
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Final, cast

from workqueue.errors import UsageError
from workqueue.logs import Log
from workqueue.probes import PLAIN, Answer

if TYPE_CHECKING:
    from typing_extensions import Buffer  # Python has it since 3.12

log = Log("workqueue.cli")

Ask = Callable[[str], Answer | None]
"""Gives the answer to what is asked at a path; None where there is nothing."""

_PATIENCE: Final = 5.0  # seconds that a client has to ask, and then to take the answer
_PAUSE: Final = 0.1
_MOST: Final = 32  # connections at once
_BEHIND: Final = 64  # connections that the system keeps until we take them


class Listener:
    """Listens from when it is made; answers from `start` on, until `close`. port: 0: any that is free.

    Raises UsageError where nobody can listen there.
    """

    def __init__(self, host: str, port: int, ask: Ask) -> None:
        try:
            family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self._server = _Server(family, cast("tuple[str, int]", place), ask)
        except (OSError, UnicodeError) as error:  # the latter where the name could be none
            why = error.strerror if isinstance(error, OSError) else error
            raise UsageError(
                f"expected to listen on port {port} of {host}, got: {why}; give another --metrics-port or host"
            ) from error
        self._place = cast("tuple[str, int]", self._server.server_address[:2])
        self.port = self._place[1]
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="workqueue-probes", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def tell(self) -> None:
        """Log where it listens."""
        log.info("process %d answers /metrics, /livez and /readyz on port %d", os.getpid(), self.port)

    def close(self) -> None:
        self._closed = True
        if self._thread.is_alive():
            with suppress(OSError), socket.create_connection(self._place, timeout=_PATIENCE):
                pass  # who comes wakes it
            self._thread.join()
        self._server.server_close()

    def _run(self) -> None:
        while not self._closed:  # and not by `serve_forever`, which wakes twice a second
            self._server.handle_request()


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = _BEHIND

    def __init__(self, family: socket.AddressFamily, place: tuple[str, int], ask: Ask) -> None:
        self.address_family = family
        self.ask = ask
        self._open: dict[socket.socket, None] = {}  # the oldest first
        self._counting = threading.Lock()
        super().__init__(place, _Handler)

    def get_request(self) -> tuple[socket.socket, object]:
        try:
            return super().get_request()
        except OSError:
            time.sleep(_PAUSE)  # no descriptor is left: who waits is still there, and so is the next try
            raise

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        if isinstance(request, socket.socket):
            with self._counting:
                self._open[request] = None
                if len(self._open) > _MOST:
                    oldest = next(iter(self._open))
                    del self._open[oldest]
                    with suppress(OSError):
                        oldest.shutdown(socket.SHUT_RDWR)  # its thread finds that out, and closes it
        super().process_request(request, client_address)

    def close_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        if isinstance(request, socket.socket):
            with self._counting:
                self._open.pop(request, None)
        super().close_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        del request
        log.debug("a connection from %r for probes broke: %r", client_address, sys.exception())


class _Within(io.RawIOBase):
    """What comes from a socket until an instant; reading raises TimeoutError after it."""

    def __init__(self, connection: socket.socket, until: float) -> None:
        self._connection = connection
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    server_version = "workqueue"
    sys_version = ""
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = PLAIN

    def setup(self) -> None:
        super().setup()
        self.rfile = io.BufferedReader(_Within(self.connection, time.monotonic() + _PATIENCE))

    def do_GET(self) -> None:
        self._respond()

    def do_HEAD(self) -> None:
        self._respond()

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Give what answers any other method."""
        if not name.startswith("do_"):
            raise AttributeError(name)
        return self._refuse

    def _refuse(self) -> None:
        self._send(Answer(405, "only GET and HEAD\n"), {"Allow": "GET, HEAD"})

    def _respond(self) -> None:
        path = self.path.partition("?")[0]
        found = cast("_Server", self.server).ask(path)
        self._send(found or Answer(404, "there are /metrics, /livez and /readyz\n"))

    def _send(self, answer: Answer, headers: dict[str, str] | None = None) -> None:
        body = answer.text.encode()
        self.connection.settimeout(_PATIENCE)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        log.debug("probe: %r", format % args)
