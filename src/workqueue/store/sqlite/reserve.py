"""Disk space set aside, so that a full disk can still be emptied: settling and cleaning need room too."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from workqueue.errors import QueueFull, StoreUnavailable
from workqueue.logs import Log

log = Log("workqueue.store")

SIZE: Final = 4 * 1024 * 1024


class Reserve:
    """A file of `size` bytes beside the database, given up at the first sign of a full disk."""

    def __init__(self, path: str, size: int = SIZE) -> None:
        self.path = path
        self._folder = os.path.dirname(path)
        self.size = size

    def keep(self) -> None:
        """Take the space if it is not taken and the disk has twice as much; what fails is tried again later.

        Raises StoreUnavailable where the folder is away, as `is_low` does.
        """
        if os.path.exists(self.path) or self._free() < 2 * self.size:
            return
        with suppress(FileExistsError):
            try:
                file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
                try:
                    _allocate(file, self.size)
                finally:
                    os.close(file)
            except FileExistsError:
                raise
            except OSError as error:
                log.warning("no room for the reserve file %s: %s", self.path, error)
                self.release()

    def release(self) -> bool:
        """Give the space up; say whether there was any."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            return False
        except OSError as error:
            log.warning("could not give up the reserve file %s: %s", self.path, error)
            return False
        log.error("disk full: gave up the reserve file %s; pushes are refused until there is room", self.path)
        return True

    def is_low(self) -> bool:
        """Say whether the disk is nearly full: less than the reserve's own size is left beside it."""
        return self._free() < self.size

    def _free(self) -> int:
        try:
            space = os.statvfs(self._folder)
        except OSError as error:
            raise StoreUnavailable(
                f"expected to see how much room is left in {self._folder!r}: {error.strerror}; check that it is there, "
                "its owner and mode, and the disk",
                path=self.path,
            ) from error
        return space.f_bavail * space.f_frsize


def nearly_full(path: str) -> QueueFull:
    """Give the error for a push to the database at `path` that the disk has no room for."""
    return QueueFull(
        f"expected room on the disk of {path!r}, but it is nearly full: pushes are refused so that settling and "
        "cleaning can go on; free some space",
        path=path,
    )


def _allocate(file: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:  # macOS
        os.write(file, b"\0" * size)
