"""Power cuts: at every operation that the engine asks of the disk, in every mode, and once more during the recovery.

What is found after a cut must be one of the commits: not before the last one that was acknowledged, not after the one
in flight. With durability="process" it may be before, never half of one.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from workqueue.job import Job

from prove.audit import Ending, audit
from prove.powercut.disk import MODES, Disk, Mode
from prove.powercut.recording import Mark
from prove.powercut.session import Recording, Setting, record
from prove.powercut.states import Bench, Found, bench, stripes
from prove.powercut.telling import told
from prove.verdict import Verdict

SETTINGS: Final = (
    Setting("full"),
    Setting("conservative"),
    Setting("full", leaves_log=True),
    Setting("process"),
    Setting("process", leaves_log=True),
)
_RECOVERY_CALLS: Final = 4
_WIDE: Final = 16


def run(seconds: float, seed: int) -> Verdict:
    """Cut recordings seed, seed + 1, … at every operation; the first of each setting at least at every sixteenth."""
    began = time.monotonic()
    counts: Counter[str] = Counter()
    failures: list[str] = []
    with bench() as place:
        following = seed
        while (spent := time.monotonic() - began) < seconds or following - seed < len(SETTINGS):
            left = seconds - spent
            fair = left / max(1, len(SETTINGS) - (following - seed))
            until = time.monotonic() + fair
            failures += _one_recording(place, following, until, counts)
            following += 1
    return _verdict(seed, began, counts, failures)


def repeat(words: Sequence[str]) -> Verdict:
    """Cut again: SEED INDEX MODE, and for a cut during the recovery from that one INDEX MODE once more."""
    began = time.monotonic()
    counts: Counter[str] = Counter()
    seed, *cuts = words
    if len(cuts) not in (2, 4) or not {*cuts[1::2]} <= {*MODES}:
        raise ValueError(f"expected SEED INDEX MODE [INDEX MODE], the modes of {MODES}, got: {' '.join(words)!r}")
    with bench() as place:
        recording = _recording(place, int(seed))
        judge = _Judge(place, recording, counts, f"{seed}")
        found = judge.cut(int(cuts[0]), _mode(cuts[1]))
        failures = list(found)
        if len(cuts) == 4:
            inner = _recovery(place, judge, int(cuts[0]), _mode(cuts[1]), int(seed))
            if inner is not None:
                again = _Judge(place, inner, counts, " ".join(words[:3]))
                failures += again.cut(int(cuts[2]), _mode(cuts[3]))
    return _verdict(int(seed), began, counts, failures)


def _mode(word: str) -> Mode:
    return next(mode for mode in MODES if mode == word)


def _verdict(seed: int, began: float, counts: Counter[str], failures: list[str]) -> Verdict:
    figures = {
        words: counts[words]
        for words in (
            "cuts",
            "of them during recovery",
            "different disks opened",
            "operations recorded",
            "recordings",
            "of them cut at every operation",
            "acknowledged operations checked",
            "lost",
            "torn transactions",
            "corrupt",
            "process mode: cuts that lost something",
        )
    }
    return Verdict(
        harness="cuts",
        seed=seed,
        seconds=time.monotonic() - began,
        counts=figures,
        failures=told(failures),
        remarks=["the disk is a model: it loses, tears and reorders what was not synced, but does not lie"],
    )


def _recording(place: Bench, seed: int) -> Recording:
    nothing = place.look_at_nothing()
    return record(place, SETTINGS[seed % len(SETTINGS)], seed, before=nothing, files={})


def _one_recording(place: Bench, seed: int, until: float, counts: Counter[str]) -> Iterator[str]:
    recording = _recording(place, seed)
    judge = _Judge(place, recording, counts, f"{seed}")
    counts["recordings"] += 1
    counts["operations recorded"] += judge.operations
    chance = random.Random(f"{seed} order")
    order = list(stripes(judge.operations + 1, _WIDE))
    chance.shuffle(order)
    done = 0
    for number, stripe in enumerate(order):
        if number and time.monotonic() > until:
            break
        for index, mode, sentence in judge.sweep(stripe):
            del index, mode
            yield sentence
        done += 1
        if 3 * counts["of them during recovery"] < counts["cuts"]:
            index = chance.randrange(judge.operations + 1)
            yield from _cut_the_recovery(place, judge, index, chance, counts, seed, thoroughly=number > 0)
    counts["of them cut at every operation"] += done == len(order)


def _cut_the_recovery(
    place: Bench,
    judge: _Judge,
    index: int,
    chance: random.Random,
    counts: Counter[str],
    seed: int,
    *,
    thoroughly: bool,
) -> Iterator[str]:
    mode = chance.choice(MODES)
    inner = _recovery(place, judge, index, mode, seed)
    if inner is None:
        return
    before = counts["cuts"]
    again = _Judge(place, inner, counts, f"{seed} {index} {mode}")
    order = list(stripes(again.operations + 1, 8))
    for stripe in order if thoroughly else order[:1]:
        for _, _, sentence in again.sweep(stripe):
            yield sentence
    counts["of them during recovery"] += counts["cuts"] - before


def _recovery(place: Bench, judge: _Judge, index: int, mode: Mode, seed: int) -> Recording | None:
    """Let a process recover from that cut, and live on for a moment, recorded; None if it could not."""
    setting = judge.recording.setting
    files = judge.disk_at(index).after_a_cut(mode, _chance(judge.words, index, mode))
    found = judge.found(files)
    if found.refused or found.unknown:
        return None
    short = Setting(setting.durability, setting.leaves_log, _RECOVERY_CALLS)
    return record(place, short, f"{seed} {index} {mode}", before=found.state, files=files)


def _chance(words: str, index: int, mode: Mode) -> random.Random:
    return random.Random(f"{words} {index} {mode}")


class _Judge:
    """Cuts one recording, and judges what is found. words: how the recording is named in `repeat`."""

    def __init__(self, place: Bench, recording: Recording, counts: Counter[str], words: str) -> None:
        self.recording = recording
        self.words = words
        self._place = place
        self._counts = counts
        self._steps = [step for step in recording.log if not isinstance(step, Mark)]
        self.operations = len(self._steps)
        self._found: dict[bytes, Found] = {}
        self._audited: dict[tuple[int, bytes], list[str]] = {}
        self._answered, self._begun = _marks(recording)

    def sweep(self, indexes: range) -> Iterator[tuple[int, Mode, str]]:
        """Cut before each of these operations (or after the last one), in every mode."""
        disk = Disk(self.recording.before)
        wanted = set(indexes)
        for index in range(self.operations + 1):
            if index in wanted:
                for mode in MODES:
                    for sentence in self._judged(disk, index, mode):
                        yield index, mode, sentence
            if index < self.operations:
                disk.follow(self._steps[index])

    def cut(self, index: int, mode: Mode) -> Iterator[str]:
        return self._judged(self.disk_at(index), index, mode)

    def disk_at(self, index: int) -> Disk:
        disk = Disk(self.recording.before)
        for step in self._steps[:index]:
            disk.follow(step)
        return disk

    def found(self, files: Mapping[str, bytes]) -> Found:
        """Open these files, or remember what was found in the same ones."""
        digest = hashlib.blake2b(digest_size=16)
        for name in sorted(files):
            if not name.endswith("-shm"):
                digest.update(b"%s %d " % (name.encode(), len(files[name])))
                digest.update(files[name])
        key = digest.digest()
        if key not in self._found:
            self._counts["different disks opened"] += 1
            self._place.lay_out(files)
            self._found[key] = self._place.look(self.recording.setting.durability)
        return self._found[key]

    def _judged(self, disk: Disk, index: int, mode: Mode) -> Iterator[str]:
        self._counts["cuts"] += 1
        found = self.found(disk.after_a_cut(mode, _chance(self.words, index, mode)))
        last_answer, last_begun = self._answered[index], self._begun[index]
        oldest = self.recording.certain[last_answer]
        self._counts["acknowledged operations checked"] += last_answer
        seen = [number for number, state in enumerate(self.recording.states) if state == found.state]
        possible = [number for number in seen if number <= last_begun]
        where = f"{self.recording.setting}: cut at operation {index}, {mode}"
        command = f"python -m prove repeat cuts {self.words} {index} {mode}"
        if found.unknown or found.refused:
            self._counts["corrupt"] += 1
            yield f"{where}: opening gave {found.unknown or found.refused}: {command}"
        elif found.complaints:
            self._counts["corrupt"] += 1
            yield f"{where}: {'; '.join(found.complaints)}: {command}"
        elif not possible:
            self._counts["torn transactions"] += 1
            yield f"{where}: what is there is none of the {last_begun} commits: {command}"
        elif max(possible) < oldest:
            if self.recording.setting.durability == "process":
                self._counts["process mode: cuts that lost something"] += 1
                return
            self._counts["lost"] += 1
            what = "; ".join(self._audit(last_answer, found)) or "what was acknowledged last was undone"
            yield f"{where}: {oldest - max(possible)} acknowledged commits are gone: {what}: {command}"
        elif max(possible) == oldest:
            for sentence in self._audit(last_answer, found):
                yield f"{where}: {sentence}: {command}"

    def _audit(self, answers: int, found: Found) -> list[str]:
        """Hold what the driver was told until then against what is there. A second opinion: it knows no commits."""
        if self.recording.before:
            return []  # what came before the recovery was told elsewhere
        key = answers, found.state
        if key not in self._audited:
            events = list(chain.from_iterable(self.recording.events[:answers]))
            jobs: Sequence[Job] = found.jobs
            self._audited[key] = audit(events, Ending(jobs=jobs, effects=found.effects, quiet=False)).broken
        return self._audited[key]


def _marks(recording: Recording) -> tuple[list[int], list[int]]:
    """For each operation of the disk: how many calls had been answered before it, and how many commits begun."""
    answered, begun = [0], [0]
    for step in recording.log:
        if not isinstance(step, Mark):
            answered.append(answered[-1])
            begun.append(begun[-1])
        elif step.what == "answered":
            answered[-1] = step.number
        elif step.what == "committing":
            begun[-1] = step.number
    return answered, begun
