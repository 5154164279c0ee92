"""Permits: how many may have a connection at once. One counts for as long as somebody has it, and is never released.

A semaphore's would have to be, and Ctrl-C may come in the very instant in which it was had, before anybody could note
that.
"""

from __future__ import annotations

import threading
import time
from typing import Final
from weakref import ref

_LOOKS: Final = 0.01  # seconds between looks whether there is one


class Permit:
    """Let go of it, and another may have one."""

    __slots__ = ("__weakref__",)


class Permits:
    """Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._had: list[ref[Permit]] = []

    def take(self, *, leaving: int, patience: float) -> Permit | None:
        """Give one that leaves so many for others, as soon as there is one; None after `patience`, in seconds."""
        permit = Permit()
        until = time.monotonic() + patience
        while True:
            with self._lock:
                self._had = [had for had in self._had if had() is not None]
                if len(self._had) < self._most - leaving:
                    self._had.append(ref(permit))
                    return permit
            if time.monotonic() >= until:
                return None
            time.sleep(_LOOKS)
