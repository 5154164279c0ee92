"""Who is certainly dead: each runner's process holds one byte lock in a side file.

The kernel frees the byte at the very moment the process ends, keeps it while the process is merely stopped, and does
not hand it to a forked child. A free byte is proof of death; a held one is no proof of life (that is the lease's).
The first byte is everybody's who has the file open, for as long as nobody wants it alone.
"""

from __future__ import annotations

import fcntl
import os
import threading
from typing import Final

from workqueue.errors import StoreUnavailable

EVERYBODY: Final = 0
"""The byte that is no runner's."""


class Owners:
    """The byte locks of one file, as seen and held by this process. Safe from any thread.

    POSIX drops all of a process's locks on a file when *any* of its descriptors is closed: one Owners per file and
    process, never closed while the process lives (`Database` sees to it).
    """

    def __init__(self, path: str) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(
                f"expected to be allowed to read and write {path!r}, a file beside the database and no link: "
                f"{error.strerror}",
                path=path,
            ) from error
        self._held: set[int] = set()
        self._lock = threading.Lock()

    def hold(self, byte: int) -> bool:
        """Lock `byte` until `release` or the end of this process; False where somebody has it, if only to ask."""
        with self._lock:
            if byte in self._held or not self._try(byte):
                return False
            self._held.add(byte)
            return True

    def share(self) -> bool:
        """Let others see that this process has the file open, and no longer alone; False while another has it so."""
        with self._lock:
            return self._try(EVERYBODY, fcntl.LOCK_SH)

    def have_alone(self) -> bool:
        """Have the file for this process alone, until `share`; False where another one has it open."""
        with self._lock:
            return self._try(EVERYBODY)

    def release(self, byte: int) -> None:
        """Give `byte` back."""
        with self._lock:
            self._held.discard(byte)
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)

    def is_dead(self, byte: int) -> bool:
        """Say whether the process that held `byte` has certainly ended."""
        with self._lock:
            if byte in self._held or not self._try(byte):
                return False
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)
            return True

    def _try(self, byte: int, kind: int = fcntl.LOCK_EX) -> bool:
        try:
            fcntl.lockf(self._file, kind | fcntl.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def close(self) -> None:
        """Let go of the file, and so of every byte."""
        os.close(self._file)
