"""Waking a runner from any process: a datagram socket per runner, beside the file.

A hint only: a lost datagram costs at most one poll, never a job.
"""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress
from typing import Final

_LONGEST_WAIT: Final = 86_400.0  # seconds; poll counts milliseconds in 31 bits
_LONGEST: Final = 100  # of a socket's path; the kernel's limit is 107 bytes, or 103


class Exchange:
    """Makes the bells of one database, and rings those of other processes."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._folder = -1
        if len(os.fsencode(path)) > _LONGEST - 30 and os.path.isdir("/proc/self/fd"):
            self._folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._sender.setblocking(False)

    def address(self, runner: int) -> str:
        """Give the path of the runner's socket; through our own descriptor of the folder where the path is too long."""
        if self._folder >= 0:
            return f"/proc/self/fd/{self._folder}/{os.path.basename(self._path)}-wake-{runner}"
        return f"{self._path}-wake-{runner}"

    def ring(self, runner: int) -> None:
        """Wake the runner, in whatever process it is, if it is there."""
        with suppress(OSError):  # gone, or its socket is full: then it has reasons enough to wake
            self._sender.sendto(b"!", self.address(runner))

    def remove(self, runner: int) -> None:
        """Take away the socket of a runner that is gone."""
        with suppress(OSError):
            os.unlink(self.address(runner))

    def close(self) -> None:
        self._sender.close()
        if self._folder >= 0:
            os.close(self._folder)


class SocketBell:
    """The bell of one runner of this process."""

    def __init__(self, exchange: Exchange, runner: int) -> None:
        self._exchange = exchange
        self._runner = runner
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        exchange.remove(runner)
        self._socket.bind(exchange.address(runner))
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._waiting = False
        self._rung = False

    def ring(self) -> None:
        # Each side writes its own flag before it reads the other's, so one of the two always sees the ring; while the
        # runner is busy, or on its way already, a ring costs no system call.
        self._rung = True
        if self._waiting:
            self._waiting = False
            self._exchange.ring(self._runner)

    def wait(self, timeout: float) -> None:
        self._waiting = True
        try:
            self._poll.poll(0 if self._rung else min(max(0.0, timeout), _LONGEST_WAIT) * 1000)
        finally:
            self._waiting = False
            self._rung = False
        with suppress(BlockingIOError):
            while True:
                self._socket.recv(16)

    def close(self) -> None:
        self._socket.close()
        self._exchange.remove(self._runner)
