"""Who is certainly dead: each runner's process holds one byte lock in a side file.

The kernel frees the byte at the very moment the process ends, keeps it while the process is merely stopped, and does
not hand it to a forked child. A free byte is proof of death; a held one is no proof of life (that is the lease's).
"""

from __future__ import annotations

import fcntl
import os
import threading

from workqueue.errors import StoreUnavailable


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

    def _try(self, byte: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def close(self) -> None:
        """Let go of the file, and so of every byte."""
        os.close(self._file)
