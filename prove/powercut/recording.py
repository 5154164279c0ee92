"""A file system that writes down what SQLite does to it, and that can be told to fail.

What is written down is what a disk would be asked: writes with their bytes, truncations, syncs, files that come and go.
The shared memory of the WAL is not part of it: no power cut leaves any of it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, NamedTuple, TypeAlias
from unittest.mock import patch

import apsw
from workqueue.store.sqlite import location

from prove.powercut.driver import altered


class Write(NamedTuple):
    file: str
    offset: int
    data: bytes


class Truncate(NamedTuple):
    file: str
    size: int


class Sync(NamedTuple):
    """`worked` False: fsync gave an error; what it should have flushed may never reach the disk."""

    file: str
    worked: bool = True


class Create(NamedTuple):
    file: str


class Delete(NamedTuple):
    file: str


class SyncFolder(NamedTuple):
    """The names that came and went so far are on the disk."""


class Mark(NamedTuple):
    """Something that the disk does not see: a commit begun, a commit made, a verb that returned."""

    what: str
    number: int


Operation: TypeAlias = Write | Truncate | Sync | Create | Delete | SyncFolder | Mark
Meddler: TypeAlias = Callable[[str, str, int], int | None]
"""Asked before each call: its kind, the file, and by how many bytes it would grow; gives SQLite's code to fail with."""

_HAS_ITS_FOLDER_SYNCED: Final = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL
_numbers = itertools.count()


class Recorder(apsw.VFS):
    """The machine's own file system, with a log. One of its own for each recording."""

    def __init__(self, *, meddle: Meddler | None = None) -> None:
        self.name = f"workqueue-prove-{next(_numbers)}"
        self.log: list[Operation] = []
        self.meddle = meddle
        super().__init__(self.name, "")

    def ask(self, kind: str, file: str, growth: int = 0) -> None:
        """Raise what the meddler wants."""
        if self.meddle is not None:
            code = self.meddle(kind, file, growth)
            if code is not None:
                raise apsw.exception_for(code)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if name is None or not path:  # a temporary one
            return apsw.VFSFile("", name, flags)
        self.ask("open", os.path.basename(path))
        there = os.path.exists(path)
        file = _File(self, path, name, flags)
        if not there and os.path.exists(path):
            self.log.append(Create(os.path.basename(path)))
        return file

    def xDelete(self, path: str, sync_folder: bool) -> None:
        name = os.path.basename(path)
        self.ask("delete", name)
        super().xDelete(path, False)
        self.log.append(Delete(name))
        if sync_folder:
            self.ask("folder", name)
            self.log.append(SyncFolder())

    def xAccess(self, path: str, flags: int) -> bool:
        self.ask("access", os.path.basename(path))
        return super().xAccess(path, flags)


class _File(apsw.VFSFile):
    def __init__(self, recorder: Recorder, path: str, name: str | apsw.URIFilename, flags: list[int]) -> None:
        self._recorder = recorder
        self._name = os.path.basename(path)
        self._log = recorder.log
        self._path = path
        # As unixOpen decides it: the first sync of a journal or WAL flushes the folder too.
        self._folder_waits = bool(flags[0] & apsw.SQLITE_OPEN_CREATE and flags[0] & _HAS_ITS_FOLDER_SYNCED)
        super().__init__("", name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:
        self._recorder.ask("read", self._name)
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._recorder.meddle is not None:
            growth = offset + len(data) - os.path.getsize(self._path)
            try:
                self._recorder.ask("write", self._name, max(0, growth))
            except apsw.Error:
                self._write(data[: len(data) // 1024 * 512], offset)  # half of it, in whole sectors, had been written
                raise
        self._write(data, offset)

    def _write(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self._log.append(Write(self._name, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        self._recorder.ask("truncate", self._name)
        super().xTruncate(size)
        self._log.append(Truncate(self._name, size))

    def xSync(self, flags: int) -> None:
        try:
            self._recorder.ask("sync", self._name)
        except apsw.Error:
            self._log.append(Sync(self._name, worked=False))
            raise
        super().xSync(flags)
        self._log.append(Sync(self._name))
        if self._folder_waits:
            self._folder_waits = False
            self._log.append(SyncFolder())

    def xFileSize(self) -> int:
        self._recorder.ask("size", self._name)
        return super().xFileSize()

    def xLock(self, level: int) -> None:
        self._recorder.ask("lock", self._name)
        super().xLock(level)


@contextmanager
def recorded(recorder: Recorder) -> Generator[None]:
    """Write down the files and folders too that the engine handles itself; take the VFS away at the end."""

    def open_file(path: str, flags: int, mode: int = 0o777) -> int:
        there = os.path.exists(path)
        opened = os.open(path, flags, mode)
        if not there and flags & os.O_CREAT:
            recorder.log.append(Create(os.path.basename(path)))
        return opened

    def fsync(_opened: int) -> None:  # the engine itself syncs nothing but the folder
        recorder.log.append(SyncFolder())

    try:
        with patch.object(location, "os", altered(os, open=open_file, fsync=fsync)):
            yield
    finally:
        recorder.unregister()
