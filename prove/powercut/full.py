"""A full disk: pushes are refused with QueueFull, settling and cleaning go on, and when there is room all goes on."""

from __future__ import annotations

import errno
import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Final
from unittest.mock import patch

from workqueue.errors import QueueFull
from workqueue.store.sqlite import reserve
from workqueue.store.sqlite.engine import SqliteStore

from prove.powercut.calls import LEASE, Call, Driver, lost, perform
from prove.powercut.driver import altered, engine_over
from prove.powercut.model import Model, contents, difference
from prove.powercut.recording import Recorder, recorded
from prove.powercut.session import Setting, short_logs
from prove.powercut.states import Bench, Clock, bench
from prove.powercut.telling import told
from prove.verdict import Verdict

_MIB: Final = 1024 * 1024
_BLOCK: Final = 4096
_FULL: Final = 13  # SQLITE_FULL
_SETTINGS: Final = (Setting("full"), Setting("full", leaves_log=True), Setting("conservative"))
_SIZES: Final = (10, 1024, 30_000, 200_000)
_STEP: Final = timedelta(milliseconds=300)
_MAY_BE_REFUSED: Final = frozenset({"push", "transact"})


class SmallDisk:
    """A disk of so many bytes, some of them taken by others. Only what makes a file longer needs room."""

    def __init__(self, folder: str, size: int) -> None:
        self._folder = folder
        self._size = size
        self.taken = 0
        self.refusals = 0

    def free(self) -> int:
        return max(0, self._size - self.taken - sum(entry.stat().st_size for entry in os.scandir(self._folder)))

    def __call__(self, kind: str, _file: str, growth: int) -> int | None:
        """As a meddler of the recorder."""
        if kind != "write" or growth <= 0 or growth <= self.free():
            return None
        self.refusals += 1
        return _FULL

    def statvfs(self, _folder: str) -> SimpleNamespace:
        return SimpleNamespace(f_bavail=self.free() // _BLOCK, f_frsize=_BLOCK)

    def posix_fallocate(self, file: int, start: int, size: int) -> None:
        if self.free() < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.posix_fallocate(file, start, size)


def run(seconds: float, seed: int) -> Verdict:
    """Live on the disks seed, seed + 1, …"""
    began = time.monotonic()
    counts: Counter[str] = Counter()
    failures: list[str] = []
    with bench() as place:
        following = seed
        while time.monotonic() - began < seconds or following - seed < len(_SETTINGS):
            failures += _Life(place, following, counts).live()
            following += 1
    return _verdict(seed, began, counts, failures)


def repeat(words: Sequence[str]) -> Verdict:
    """Live again: SEED."""
    began = time.monotonic()
    counts: Counter[str] = Counter()
    [seed] = words
    with bench() as place:
        failures = _Life(place, int(seed), counts).live()
    return _verdict(int(seed), began, counts, failures)


def _verdict(seed: int, began: float, counts: Counter[str], failures: Sequence[str]) -> Verdict:
    figures = {
        words: counts[words]
        for words in (
            "disks filled",
            "writes refused by the disk",
            "pushes refused with QueueFull",
            "transactions refused with QueueFull",
            "other calls refused, with no reserve left",
            "calls answered on a full disk",
            "calls answered and checked",
            "lost or changed",
        )
    }
    return Verdict(
        harness="disk_full",
        seed=seed,
        seconds=time.monotonic() - began,
        counts=figures,
        failures=told(failures),
        remarks=["the shared memory of the WAL finds room on any disk here"],
    )


class _Life:
    """A process on a small disk, that others fill up to a random mark and clear again."""

    def __init__(self, place: Bench, seed: int, counts: Counter[str]) -> None:
        self._place = place
        self._setting = _SETTINGS[seed % len(_SETTINGS)]
        self._seed = seed
        self._counts = counts
        self._chance = random.Random(f"{seed} full")
        self._clock = Clock()
        self._driver = Driver(self._chance, _SIZES)
        self._model = Model()
        self._disk = SmallDisk(str(place.folder), self._chance.randint(9, 16) * _MIB + self._chance.randint(0, _MIB))
        self._broken: list[str] = []

    def live(self) -> list[str]:
        disk = self._disk
        self._place.lay_out({})
        (self._place.folder / "jobs.db-reserve").unlink(missing_ok=True)
        recorder = Recorder(meddle=disk)
        self._counts["disks filled"] += 1
        stand_in = altered(os, statvfs=disk.statvfs, posix_fallocate=disk.posix_fallocate)
        with (
            recorded(recorder),
            engine_over(recorder.name, leaves_log=self._setting.leaves_log),
            short_logs(),
            patch.object(reserve, "os", stand_in),
        ):
            self._store = SqliteStore(self._place.path, durability=self._setting.durability, clock=self._clock)
            try:
                self._live()
            finally:
                self._store.close()
        self._counts["writes refused by the disk"] += disk.refusals
        self._look_again()
        command = f"python -m prove repeat disk_full {self._seed}"
        return [f"{self._setting}: {sentence}: {command}" for sentence in self._broken[:1]]

    def _live(self) -> None:
        chance, disk = self._chance, self._disk
        self._go_on(chance.randint(5, 20), may_refuse=_MAY_BE_REFUSED)
        for _ in range(chance.randint(1, 3)):
            disk.taken += chance.choice(
                [disk.free(), disk.free() // 2, disk.free() // 8, chance.randint(0, disk.free())]
            )
            has_reserve = (self._place.folder / "jobs.db-reserve").exists()
            self._go_on(chance.randint(5, 15), may_refuse=_MAY_BE_REFUSED, may_refuse_all=not has_reserve)
        disk.taken = -64 * _MIB
        self._rescue()
        self._go_on(6)

    def _go_on(self, calls: int, *, may_refuse: frozenset[str] = frozenset(), may_refuse_all: bool = False) -> None:
        for _ in range(calls):
            self._clock.advance(_STEP)
            self._do(self._driver.next(), may_refuse, may_refuse_all)

    def _do(self, call: Call, may_refuse: frozenset[str], may_refuse_all: bool) -> None:
        was_full = self._disk.taken > 0
        try:
            answer = perform(self._store, call)
        except QueueFull as error:
            self._driver.learn_of_failure(call)
            if call.verb == "push":
                self._counts["pushes refused with QueueFull"] += 1
            elif call.verb == "transact":
                self._counts["transactions refused with QueueFull"] += 1
            else:
                self._counts["other calls refused, with no reserve left"] += 1
            if call.verb not in may_refuse and not may_refuse_all:
                self._broken.append(f"{call.verb} raised {error}")
            return
        except Exception as error:
            self._broken.append(f"{call.verb} raised {type(error).__name__}: {error}")
            self._driver.learn_of_failure(call)
            return
        self._driver.learn(call, answer)
        self._counts["calls answered and checked"] += 1
        self._counts["calls answered on a full disk"] += was_full
        wrong = self._model.answered(self._clock.now, call, answer)
        if wrong:
            self._broken.append(wrong)

    def _rescue(self) -> None:
        self._clock.advance(LEASE * 2)
        self._driver.held.clear()
        orphans = self._store.orphans(expired=True, limit=100)
        if orphans:
            self._do(lost(orphans), frozenset(), may_refuse_all=False)

    def _look_again(self) -> None:
        store = SqliteStore(self._place.path, durability=self._setting.durability, clock=Clock())
        try:
            wrong = [*store.check(), difference(self._model.all_contents(), contents(store))]
        finally:
            store.close()
        self._broken += [f"in the end: {sentence}" for sentence in wrong if sentence]
        self._counts["lost or changed"] += any(wrong)
