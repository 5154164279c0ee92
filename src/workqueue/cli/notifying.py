"""What a service manager is told of `run`: systemd's protocol, words in datagrams to the socket NOTIFY_SOCKET names.

Ready is what /readyz says. The watchdog hears a beat when /livez says yes and the main thread has passed it on, so that
no beat comes from a process in which either is stuck. docs/decisions/0029 says more.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from workqueue.errors import UsageError
from workqueue.logs import Log
from workqueue.words import printable

if TYPE_CHECKING:
    from workqueue.cli.listening import Ask

log = Log("workqueue.cli")

_SOCKET: Final = "NOTIFY_SOCKET"
_EVERY: Final = "WATCHDOG_USEC"
_WHOM: Final = "WATCHDOG_PID"
_PATIENCE: Final = 5.0  # seconds that the manager has to make room for our words
_FIRST: Final = 0.05  # seconds between two looks whether it is ready; they grow
_AGAIN: Final = 1.0  # seconds, at most, after a look that found it stuck


class Manager:
    """The service manager that started this process; where none did, nobody is told. Safe from any thread.

    environment: says where it listens, and how often it wants a beat. These words are taken out of it: programs that
    this one starts are not to speak for it. Raises UsageError for what no such manager says.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._said = {name: environment.pop(name) for name in (_SOCKET, _EVERY, _WHOM) if name in environment}
        self._place = _place(self._said.get(_SOCKET, ""))
        self._every = _seconds(self._said) if self.listens else None
        self._status = ""

    @property
    def listens(self) -> bool:
        return bool(self._place)

    def hand_on(self, environment: MutableMapping[str, str]) -> None:
        """Put back what it said, for the program that this process becomes."""
        environment.update(self._said)

    def tell(self, status: str, *, stopping: bool = False) -> None:
        """Say in a line how things are. stopping: and that the process ends."""
        self._status = status
        self._send(*(["STOPPING=1"] if stopping else []), _status(status))

    def beat(self) -> None:
        """Say that all is well."""
        self._send("WATCHDOG=1")

    def watch(self, ask: Ask, pass_on: Callable[[], None]) -> None:
        """Tell it on a thread when the answer to /readyz is yes; from then on `pass_on` beats while that to /livez is.

        pass_on: lets the main thread call `beat`.
        """
        if self.listens:
            threading.Thread(target=self._watch, args=(ask, pass_on), name="workqueue-manager", daemon=True).start()

    def _watch(self, ask: Ask, pass_on: Callable[[], None]) -> None:
        pause = _FIRST
        while (found := ask("/readyz")) is None or found.status != HTTPStatus.OK:
            time.sleep(pause)
            pause = min(_AGAIN, pause * 1.5)
        self._send("READY=1")
        stuck = False
        while self._every is not None:
            answer = ask("/livez")
            if answer is not None and answer.status == HTTPStatus.OK:
                if stuck:
                    self._send(_status(self._status))
                stuck = False
                pass_on()
                time.sleep(self._every)
            else:  # look again soon: one slow answer is no reason to be killed
                stuck = True
                self._send(_status(f"stuck: {'no answer' if answer is None else answer.text.strip()}"))
                time.sleep(min(_AGAIN, self._every / 2))

    def _send(self, *words: str) -> None:
        if not self.listens:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaking:
                speaking.settimeout(_PATIENCE)
                speaking.sendto("\n".join(words).encode("utf-8", "backslashreplace"), self._place)
        except OSError as error:
            log.warning("could not tell the service manager %s: %s", words[0], error)


def _status(text: str) -> str:
    return f"STATUS={printable(text)}"  # no line of it can be taken for another word


def _place(said: str) -> str:
    if said and said[0] not in "/@":
        raise UsageError(f"expected {_SOCKET} to be an absolute path or @ and a name, got: {said!r}; unset it")
    return f"\0{said[1:]}" if said.startswith("@") else said


def _seconds(said: dict[str, str]) -> float | None:
    """Give half of the time after which the manager takes us for stuck; None where it watches nobody, or another."""
    if said.get(_WHOM, str(os.getpid())) != str(os.getpid()) or _EVERY not in said:
        return None
    text = said[_EVERY]
    if not (text.isascii() and text.isdigit() and int(text)):
        raise UsageError(f"expected {_EVERY} to be a number of microseconds, got: {text!r}; unset it")
    return int(text) / 2 / 1_000_000
