"""The write-ahead log as a file: whether it still is the one that was opened, and how large it is.

Asked without `stat`, because since Linux 6.13 a `stat` makes the next write note its time exactly, and so write the
file's inode: a fifth of what a commit takes (docs/decisions/0012). To read or close this file drops no lock: SQLite
locks the database and the shared memory, never the log.
"""

from __future__ import annotations

import os

from workqueue.errors import StoreUnavailable
from workqueue.store.sqlite import location


class LogFile:
    """The log that is at `path` now. Raises FileNotFoundError when there is none, else StoreUnavailable."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = -1
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreUnavailable(f"expected to open {path!r}: {error}", path=path) from error
        found = os.fstat(self._file)
        self._identity = found.st_dev, found.st_ino
        self._name = self._present_name()

    def is_in_place(self) -> bool:
        """Say whether its path still leads to it; not so when it was removed, moved, or replaced."""
        if self._name and self._present_name() == self._name:
            return True
        return location.identity(self._path) == self._identity

    def size(self) -> int:
        """Give its bytes; it stays as large as it ever was when the log begins anew."""
        return os.lseek(self._file, 0, os.SEEK_END)

    def close(self) -> None:
        """Safe to call twice; a log that nobody has any more closes itself, as SQLite's connections do."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def __del__(self) -> None:
        self.close()

    def _present_name(self) -> str:
        """Give the path as the kernel knows it; that of a file that was removed ends with ` (deleted)`."""
        try:
            return os.readlink(f"/proc/self/fd/{self._file}")
        except OSError:  # no such place here (macOS)
            return ""
