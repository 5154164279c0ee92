"""I/O errors, by SQLite's own method: the first call of a kind fails, then the second, … until a life passes untouched.

Each fails once, or from then on until the disk is mended. What the store answered meanwhile must be true for ever
after, also when the power goes right after the error; what raised happened whole or not at all, and raised an error of
ours.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import msgspec
from workqueue.errors import QueueFull, StoreError
from workqueue.store.sqlite.engine import SqliteStore

from prove.powercut.calls import LEASE, Call, Driver, lost, perform
from prove.powercut.disk import MODES, Disk, Mode
from prove.powercut.driver import engine_over
from prove.powercut.model import Contents, Model, TooManyWaysError, contents, difference
from prove.powercut.recording import Recorder, recorded
from prove.powercut.session import Setting, short_logs
from prove.powercut.states import Bench, Clock, bench
from prove.powercut.telling import told
from prove.verdict import Verdict

CODES: Final = {
    "read": (266,),  # SQLITE_IOERR_READ
    "write": (778, 13),  # SQLITE_IOERR_WRITE, SQLITE_FULL
    "sync": (1034,),  # SQLITE_IOERR_FSYNC
    "truncate": (1546,),  # SQLITE_IOERR_TRUNCATE
    "open": (14,),  # SQLITE_CANTOPEN
    "delete": (2570,),  # SQLITE_IOERR_DELETE
    "folder": (1290,),  # SQLITE_IOERR_DIR_FSYNC
    "size": (1802,),  # SQLITE_IOERR_FSTAT
    "lock": (3850,),  # SQLITE_IOERR_LOCK
    "access": (3338,),  # SQLITE_IOERR_ACCESS
}
SETTINGS: Final = (
    Setting("full", calls=14),
    Setting("full", leaves_log=True, calls=14),
    Setting("conservative", calls=14),
)
_STEP: Final = timedelta(milliseconds=300)
_CALLS_AFTER: Final = 3


class Point(msgspec.Struct, frozen=True):
    """Where an error strikes: at the number-th call of the kind. lasts: until the disk is mended."""

    kind: str
    number: int
    code: int
    lasts: bool

    def __str__(self) -> str:
        return f"{self.kind}:{self.number}:{self.code}:{'lasting' if self.lasts else 'once'}"


class Faults:
    """What makes the disk fail at a point, and counts the calls."""

    def __init__(self, point: Point | None) -> None:
        self._point = point
        self.calls: Counter[str] = Counter()
        self.struck = 0
        self._mended = False

    def __call__(self, kind: str, _file: str, _growth: int) -> int | None:
        self.calls[kind] += 1
        point = self._point
        if point is None or self._mended or point.kind != kind:
            return None
        if self.calls[kind] == point.number or (point.lasts and self.calls[kind] > point.number):
            self.struck += 1
            return point.code
        return None

    def mend(self) -> None:
        self._mended = True


def run(seconds: float, seed: int) -> Verdict:
    """Sweep the lives seed, seed + 1, …; within one the points come in random order."""
    began = time.monotonic()
    counts: Counter[str] = Counter()
    failures: list[str] = []
    with bench() as here, bench() as there:
        following = seed
        while (spent := time.monotonic() - began) < seconds or following - seed < len(SETTINGS):
            turns = max(1, len(SETTINGS) - (following - seed))
            until = time.monotonic() + (seconds - spent) / turns
            points = _points(here, there, following)
            counts["lives"] += 1
            for done, point in enumerate(points):
                if done > len(CODES) and time.monotonic() > until:
                    break
                failures += _Life(here, there, following, point, counts).live()
            else:
                counts["of them struck at every call"] += 1
            following += 1
    return _verdict(seed, began, counts, failures)


def repeat(words: Sequence[str]) -> Verdict:
    """Live again: SEED KIND:NUMBER:CODE:once|lasting."""
    began = time.monotonic()
    counts: Counter[str] = Counter()
    try:
        seed, point = words
        kind, number, code, lasts = point.split(":")
    except ValueError:
        raise ValueError(f"expected SEED KIND:NUMBER:CODE:once|lasting, got: {' '.join(words)!r}") from None
    with bench() as here, bench() as there:
        where = Point(kind, int(number), int(code), lasts == "lasting")
        failures = _Life(here, there, int(seed), where, counts).live()
    return _verdict(int(seed), began, counts, failures)


def _verdict(seed: int, began: float, counts: Counter[str], failures: Sequence[str]) -> Verdict:
    figures = {
        words: counts[words]
        for words in (
            "injection points",
            "errors given to SQLite",
            "answered in spite of an error",
            "errors of ours raised",
            "of them QueueFull",
            "other errors raised",
            "raised though it had happened",
            "power cuts right after an error",
            "calls answered and checked",
            "lives",
            "of them struck at every call",
            "given up",
        )
    }
    return Verdict(
        harness="io_errors",
        seed=seed,
        seconds=time.monotonic() - began,
        counts=figures,
        failures=told(failures),
        remarks=["errors of the shared memory (xShmMap, xShmLock) cannot be given through APSW"],
    )


def _points(here: Bench, there: Bench, seed: int) -> list[Point]:
    """All points of one life, the first of each kind first."""
    untouched = _Life(here, there, seed, None, Counter())
    untouched.live()
    points = [
        Point(kind, number, code, lasts)
        for kind, codes in CODES.items()
        for number in range(1, untouched.faults.calls[kind] + 1)
        for code in codes
        for lasts in (False, True)
    ]
    random.Random(f"{seed} order").shuffle(points)
    firsts = {point.kind: point for point in points}
    return [*firsts.values(), *(point for point in points if firsts[point.kind] is not point)]


class _Life:
    """A process that lives on a disk with an error in it."""

    def __init__(self, here: Bench, there: Bench, seed: int, point: Point | None, counts: Counter[str]) -> None:
        self._here = here
        self._there = there
        self._setting = SETTINGS[seed % len(SETTINGS)]
        self._seed = seed
        self._point = point
        self._counts = counts
        self._chance = random.Random(f"{seed}")
        self._cuts: list[tuple[Mode, dict[str, bytes], list[Contents]]] = []
        self._own_chance = random.Random(f"{seed} {point}")  # so that the calls are the same at every point
        self._clock = Clock()
        self._driver = Driver(self._chance)
        self._model = Model()
        self._store: SqliteStore | None = None
        self._broken: list[str] = []
        self._patience = self._own_chance.randint(1, 3)  # calls that fail before the disk is mended
        self.faults = Faults(point)

    def live(self) -> list[str]:
        recorder = self._recorder = Recorder(meddle=self.faults)
        self._here.lay_out({})
        self._counts["injection points"] += 1
        with recorded(recorder), engine_over(recorder.name, leaves_log=self._setting.leaves_log), short_logs():
            try:
                self._live()
            except TooManyWaysError:
                self._counts["given up"] += 1
                return self._told()
            finally:
                self.faults.mend()
                if self._store is not None:
                    self._store.close()
        self._look_again()
        self._counts["errors given to SQLite"] += self.faults.struck
        return self._told()

    def _told(self) -> list[str]:
        command = f"python -m prove repeat io_errors {self._seed} {self._point}"
        return [f"{self._setting}, {self._point}: {sentence}: {command}" for sentence in self._broken[:1]]

    def _live(self) -> None:
        for number in range(self._setting.calls):
            self._clock.advance(_STEP)
            if number == self._setting.calls // 2:
                self._reopen()
            self._do(self._driver.next())
        self.faults.mend()
        self._rescue()
        for _ in range(_CALLS_AFTER):
            if not self._do(self._driver.next()) and not self._broken:
                self._broken.append("the disk is mended, but the store still says no")

    def _open(self) -> SqliteStore | None:
        if self._store is None:
            try:
                self._store = SqliteStore(self._here.path, durability=self._setting.durability, clock=self._clock)
            except Exception as error:
                self._raised(Call("open"), error)
        return self._store

    def _reopen(self) -> None:
        if self._store is not None:
            self._driver.start_anew()
            store, self._store = self._store, None
            try:
                store.close()
            except Exception as error:
                self._raised(Call("close"), error)

    def _do(self, call: Call) -> bool:
        """Ask it; say whether it answered."""
        store = self._open()
        if store is None:
            return False
        struck = self.faults.struck
        try:
            answer = perform(store, call)
        except Exception as error:
            self._raised(call, error)
            return False
        self._driver.learn(call, answer)
        self._counts["calls answered and checked"] += 1
        wrong = self._model.answered(self._clock.now, call, answer)
        if wrong:
            self._broken.append(wrong)
        if self.faults.struck > struck:
            self._counts["answered in spite of an error"] += 1
            self._cut_power()
        return True

    def _raised(self, call: Call, error: Exception) -> None:
        if isinstance(error, StoreError):
            self._counts["errors of ours raised"] += 1
            self._counts["of them QueueFull"] += isinstance(error, QueueFull)
        else:
            self._counts["other errors raised"] += 1
            self._broken.append(f"{call.verb} raised {type(error).__name__}: {error}")
        if call.verb not in ("open", "close"):
            self._driver.learn_of_failure(call)
            if not isinstance(error, QueueFull):  # there it is certain that nothing happened
                self._model.raised(self._clock.now, call)
        self._patience -= 1
        if not self._patience:
            self.faults.mend()

    def _rescue(self) -> None:
        self._clock.advance(LEASE * 2)
        store = self._open()
        if store is not None:
            self._driver.held.clear()
            orphans = store.orphans(expired=True, limit=100)
            if orphans:
                self._do(lost(orphans))

    def _cut_power(self) -> None:
        """See what would be there if the power went just now, when the store has just answered after an error."""
        disk = Disk()
        for operation in self._recorder.log:
            disk.follow(operation)
        possible = self._model.all_contents()
        self._cuts += [(mode, disk.after_a_cut(mode, self._own_chance), possible) for mode in MODES]

    def _look_again(self) -> None:
        """With SQLite as others have it, on a disk without errors."""
        for mode, files, possible in self._cuts:
            self._counts["power cuts right after an error"] += 1
            self._there.lay_out(files)
            self._compare(self._there, possible, f"after a power cut ({mode})")
        seen = self._compare(self._here, self._model.all_contents(), "in the end")
        self._counts["raised though it had happened"] += self._model.happened_though_raised(seen)

    def _compare(self, place: Bench, possible: Sequence[Contents], when: str) -> Contents:
        seen: Contents = ()
        try:
            store = SqliteStore(place.path, durability=self._setting.durability, clock=Clock())
            try:
                complaints = store.check()
                seen = contents(store)
                wrong = [*complaints, difference(possible, seen)]
            finally:
                store.close()
        except Exception as error:
            wrong = [f"{type(error).__name__}: {error}"]
        self._broken += [f"{when}: {sentence}" for sentence in wrong if sentence]
        return seen
