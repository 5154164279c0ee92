"""The crash model: what a disk may hold when the power goes, given what it was asked until then.

A file's bytes are certain only once the file was synced after they were written; a name is certain only once its folder
was. This is harsher than common file systems (ext4 makes old names durable with any later sync). What is not certain is
dropped, kept, torn or reordered; only whole sectors of 512 bytes reach a disk, or do not.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping
from typing import Final, Literal, TypeAlias, get_args

from prove.powercut.recording import Create, Delete, Operation, Sync, SyncFolder, Truncate, Write

Mode: TypeAlias = Literal["drop", "keep", "torn", "reordered"]
"""drop: nothing uncertain is there. keep: all of it. torn: all, but of the last write only some first sectors.
reordered: any of it, and of each write any sectors."""

MODES: Final[tuple[Mode, ...]] = get_args(Mode)
_SECTOR: Final = 512
_SHM_BYTES: Final = 32768
_Change: TypeAlias = tuple[int, Write | Truncate]


class _File:
    """What one file certainly holds, and what was asked of it since; by a number that tells the order over all."""

    def __init__(self, content: bytes = b"") -> None:
        self.certain = bytearray(content)
        self.uncertain: list[_Change] = []
        self.failed: list[_Change] = []  # a sync of these gave an error, and no later sync takes them up again

    def ask(self, number: int, change: Write | Truncate) -> None:
        self.uncertain.append((number, change))
        self.failed = [(old, part) for old, failed in self.failed for part in _left_of(failed, change)]


class Disk:
    """A folder of a disk that follows a recording."""

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self._certain = {name: _File(content) for name, content in (files or {}).items()}
        self._names = dict(self._certain)
        self._renamed: list[tuple[str, _File | None]] = []
        self._done = 0

    def follow(self, operation: Operation) -> None:
        self._done += 1
        match operation:
            case Write() | Truncate():
                self._names[operation.file].ask(self._done, operation)
            case Sync(name, worked):
                file = self._names[name]
                if worked:
                    for _, change in file.uncertain:
                        _apply(file.certain, change)
                else:
                    file.failed += file.uncertain
                file.uncertain.clear()
            case Create(name):
                self._names[name] = _File()
                self._renamed.append((name, self._names[name]))
            case Delete(name):
                self._names.pop(name, None)
                self._renamed.append((name, None))
            case SyncFolder():
                self._certain = dict(self._names)
                self._renamed.clear()
            case _:
                pass

    def is_certain(self) -> bool:
        """Say whether there is nothing that a power cut could change."""
        files = {*self._names.values(), *self._certain.values()}
        return not self._renamed and not any(file.uncertain or file.failed for file in files)

    def after_a_cut(self, mode: Mode, chance: random.Random) -> dict[str, bytes]:
        """Give the files as they may be found by whoever comes next."""
        names = dict(self._certain)
        for name, file in self._renamed_by(mode, chance):
            if file is None:
                names.pop(name, None)
            else:
                names[name] = file
        last = max((number for file in names.values() for number, _ in file.uncertain), default=0)
        found = {name: bytes(_content(file, mode, chance, last)) for name, file in names.items()}
        if mode == "reordered":  # what a stale shared memory says must not be believed
            found["jobs.db-shm"] = chance.randbytes(_SHM_BYTES)
        return found

    def _renamed_by(self, mode: Mode, chance: random.Random) -> Collection[tuple[str, _File | None]]:
        if mode == "drop":
            return []
        if mode == "keep":
            return self._renamed
        return self._renamed[: chance.randint(0, len(self._renamed))]  # folders keep their order: they have journals


def _content(file: _File, mode: Mode, chance: random.Random, last: int) -> bytearray:
    content = bytearray(file.certain)
    if mode == "drop":
        return content
    for number, change in sorted(file.failed + file.uncertain, key=lambda numbered: numbered[0]):
        if mode == "keep" or (mode == "torn" and number != last):
            _apply(content, change)
        elif mode == "torn":
            _tear(content, change, chance, in_order=True)
        else:
            fate = chance.random()
            if fate < 0.35:
                _apply(content, change)
            elif fate < 0.7:
                _tear(content, change, chance, in_order=False)
    return content


def _left_of(failed: Write | Truncate, change: Write | Truncate) -> Iterator[Write | Truncate]:
    """Give the parts of what failed that the newer change does not overwrite."""
    if isinstance(failed, Truncate):
        yield failed
        return
    start, end = failed.offset, failed.offset + len(failed.data)
    from_here = change.size if isinstance(change, Truncate) else change.offset
    to_there = end if isinstance(change, Truncate) else change.offset + len(change.data)
    if start < min(end, from_here):
        yield Write(failed.file, start, failed.data[: min(end, from_here) - start])
    if max(start, to_there) < end:
        yield Write(failed.file, max(start, to_there), failed.data[max(start, to_there) - start :])


def _apply(content: bytearray, change: Write | Truncate) -> None:
    if isinstance(change, Truncate):
        del content[change.size :]
        return
    end = change.offset + len(change.data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    content[change.offset : end] = change.data


def _tear(content: bytearray, change: Write | Truncate, chance: random.Random, *, in_order: bool) -> None:
    if isinstance(change, Truncate):
        return
    sectors = range(change.offset // _SECTOR, (change.offset + len(change.data) - 1) // _SECTOR + 1)
    first = chance.randint(0, len(sectors)) if in_order else 0
    for index, sector in enumerate(sectors):
        if (index < first) if in_order else (chance.random() < 0.5):
            start = max(change.offset, sector * _SECTOR)
            end = min(change.offset + len(change.data), (sector + 1) * _SECTOR)
            _apply(content, Write(change.file, start, change.data[start - change.offset : end - change.offset]))
