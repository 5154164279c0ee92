"""Where the file of a queue may stand, and how to see that it is still the same file.

The database file itself is never opened here, except to create it: closing any descriptor of it would drop this
process's POSIX locks, and the next foreign close would unlink a WAL in use (reliability finding 1).
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from workqueue.errors import StoreUnavailable, UnsuitableFile

Identity: TypeAlias = tuple[int, int]
"""Which file a path led to at one moment: device and inode."""

MOUNTS: Final = Path("/proc/self/mountinfo")
# Locks or mmap of these cannot be trusted between hosts or through the host's boundary.
NETWORK: Final = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "ocfs2", "gfs2"),
        *("9p", "virtiofs", "vboxsf", "prl_fs"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone"),
    }
)


def identity(path: str | os.PathLike[str]) -> Identity | None:
    """Give the identity of the file at `path`; None when there is none.

    Raises StoreUnavailable when that cannot be seen.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreUnavailable(
            f"expected to see the file at {os.fspath(path)!r}: {error.strerror}; check the rights of its folders, and "
            "the disk",
            path=os.fspath(path),
        ) from error
    return found.st_dev, found.st_ino


def prepare(path: str, *, allow_network: bool) -> None:
    """Make sure that a database can live at `path`, and that the file exists, readable by its owner only.

    Raises UnsuitableFile, or StoreUnavailable where mending the disk or its rights is enough.
    """
    folder = os.path.dirname(path)
    if os.path.isdir(path):
        raise UnsuitableFile(f"expected the path of a file, but {path!r} is a folder; add a file name", path=path)
    if not os.path.isdir(folder):
        raise UnsuitableFile(
            f"expected a folder {folder!r} to put the file in, but there is none; create it", path=path
        )
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UnsuitableFile(f"expected a regular file, but {path!r} is a device, pipe or socket", path=path)
    kind = filesystem(folder)
    if kind in NETWORK and not allow_network:
        raise UnsuitableFile(
            f"expected a local disk, but {path!r} is on a network or shared file system ({kind}), where SQLite's locks "
            "do not hold; use a local path, or allow_network=True if you know that one host alone uses it",
            path=path,
        )
    _create(path, folder)
    for what in (path, folder):
        if not os.access(what, os.R_OK | os.W_OK):
            raise StoreUnavailable(
                f"expected to be allowed to read and write {what!r} as user {os.geteuid()}; change its owner or mode",
                path=path,
            )


def filesystem(folder: str) -> str:
    """Give the name of the file system that `folder` is on, as Linux calls it; '' where it cannot be known."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    for line in lines:
        before, _, after = line.partition(" - ")
        mount = before.split(" ")[4].replace(r"\040", " ")
        inside = folder == mount or folder.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, after.split(" ")[0]
    return kind


def _create(path: str, folder: str) -> None:
    try:
        created = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise StoreUnavailable(f"expected to be allowed to create {path!r}: {error.strerror}", path=path) from error
    os.close(created)
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)  # else a power cut could take the new name away with the first acknowledged jobs
    finally:
        os.close(directory)
