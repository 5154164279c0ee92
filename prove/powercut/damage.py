"""Damaged files: the log that a dead process left, cut off and flipped at every byte of its end; a damaged database.

A damaged log may hide its last commits, never show half of one. A damaged database is refused in our words, and is not
changed, or it says itself that it is damaged.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from prove.powercut.disk import Disk
from prove.powercut.recording import Mark, Write
from prove.powercut.session import Recording, Setting, record
from prove.powercut.states import FILE, Bench, Found, bench
from prove.powercut.telling import told
from prove.verdict import Verdict

_WAL: Final = f"{FILE}-wal"
_WAL_HEADER: Final = 32
_FRAME: Final = 24 + 4096
_LAST_FRAMES: Final = 3
_PAGE: Final = 4096
_DATABASE_HEADER: Final = 100
_AT_LEAST: Final = 40  # damages of each file
_SETTINGS: Final = (Setting("full"), Setting("full", leaves_log=True))


class Damage(msgspec.Struct, frozen=True):
    """how: "cut", the file ends before that byte; "flip", one bit of it is another."""

    file: str
    how: str
    at: int
    bit: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.how}:{self.at}:{self.bit}"

    def done_to(self, files: dict[str, bytes]) -> dict[str, bytes]:
        content = bytearray(files[self.file])
        if self.how == "cut":
            del content[self.at :]
        else:
            content[self.at] ^= 1 << self.bit
        return files | {self.file: bytes(content)}


class Victim(msgspec.Struct, frozen=True):
    """Files to damage. states: those that they may show, the whole last."""

    files: dict[str, bytes]
    states: list[bytes]
    damages: list[Damage]


def run(seconds: float, seed: int) -> Verdict:
    """Damage what the lives seed, seed + 1, … left behind, byte after byte in random order."""
    began = time.monotonic()
    counts: Counter[str] = Counter()
    failures: list[str] = []
    with bench() as place:
        following = seed
        while time.monotonic() - began < seconds or following == seed:
            for victim in _victims(place, following):
                counts["files damaged"] += 1
                until = time.monotonic() + seconds / 4
                for done, damage in enumerate(victim.damages):
                    if done >= _AT_LEAST and time.monotonic() > until:
                        break
                    failures += _judged(place, victim, damage, counts, following)
                else:
                    counts["of them at every byte wanted"] += 1
            following += 1
    return _verdict(seed, began, counts, failures)


def repeat(words: Sequence[str]) -> Verdict:
    """Damage again: SEED FILE:cut|flip:BYTE:BIT."""
    began = time.monotonic()
    counts: Counter[str] = Counter()
    failures: list[str] = []
    try:
        seed, damage = words
        file, how, at, bit = damage.split(":")
    except ValueError:
        raise ValueError(f"expected SEED FILE:cut|flip:BYTE:BIT, got: {' '.join(words)!r}") from None
    with bench() as place:
        for victim in _victims(place, int(seed)):
            if file in victim.files and file in {damage.file for damage in victim.damages}:
                failures += _judged(place, victim, Damage(file, how, int(at), int(bit)), counts, int(seed))
    return _verdict(int(seed), began, counts, failures)


def _verdict(seed: int, began: float, counts: Counter[str], failures: Sequence[str]) -> Verdict:
    figures = {
        words: counts[words]
        for words in (
            "damages",
            "logs cut off",
            "logs flipped",
            "of them shown whole",
            "of them shown up to an earlier commit",
            "databases flipped",
            "of them refused",
            "of them changed all the same",
            "of them made worse",
            "of them found by check()",
            "of them harmless",
            "not noticed",
            "half transactions shown",
            "files damaged",
            "of them at every byte wanted",
        )
    }
    return Verdict(
        harness="damage",
        seed=seed,
        seconds=time.monotonic() - began,
        counts=figures,
        failures=told(failures),
        remarks=[
            "logs are damaged where they were not yet copied into the database: behind that, SQLite has no defence",
            "what is not noticed stands in rows and pages, of which SQLite keeps no checksums",
        ],
    )


def _victims(place: Bench, seed: int) -> Iterator[Victim]:
    """Give what a killed process and one that closed in order left behind."""
    nothing = place.look_at_nothing()
    recording = record(place, _SETTINGS[seed % len(_SETTINGS)], seed, before=nothing, files={})
    chance = random.Random(f"{seed} damage")
    killed = _killed(recording, chance)
    if killed is not None:
        yield killed
    yield _closed(recording, chance)


def _killed(recording: Recording, chance: random.Random) -> Victim | None:
    """Choose an instant between two calls when the last frames of the log were not in the database yet."""
    end = copied = commit = 0
    instants: list[tuple[int, int, int]] = []
    for number, step in enumerate(recording.log):
        match step:
            case Write(file=file, offset=0) if file == _WAL:
                end = copied = _WAL_HEADER
            case Write(file=file, offset=offset, data=data) if file == _WAL:
                end = offset + len(data)
            case Write(file=file) if file == FILE:
                copied = end
            case Mark(what="committed", number=commit):
                pass
            case Mark(what="answered") if end - copied >= _LAST_FRAMES * _FRAME:
                instants.append((number, end, commit))
            case _:
                pass
    if not instants:
        return None
    number, end, commit = chance.choice(instants)
    files = _files_at(recording, number)
    if _WAL not in files:
        return None
    last = range(end - _LAST_FRAMES * _FRAME, end)
    damages = [Damage(_WAL, "cut", at) for at in last]
    damages += [Damage(_WAL, "flip", at, chance.randrange(8)) for at in (*range(_WAL_HEADER), *last)]
    damages += _of_the_header()  # beside a log that still has what is not in the database
    chance.shuffle(damages)
    return Victim(files, recording.states[: commit + 1], damages)


def _closed(recording: Recording, chance: random.Random) -> Victim:
    files = _files_at(recording, len(recording.log))
    page = [Damage(FILE, "flip", at, chance.randrange(8)) for at in range(_DATABASE_HEADER, _PAGE)]
    rest = [Damage(FILE, "flip", chance.randrange(_PAGE, len(files[FILE])), chance.randrange(8)) for _ in range(1000)]
    damages = _of_the_header() + page + rest
    chance.shuffle(damages)
    return Victim(files, recording.states, damages)


def _of_the_header() -> list[Damage]:
    return [Damage(FILE, "flip", at, bit) for at in range(_DATABASE_HEADER) for bit in range(8)]


def _files_at(recording: Recording, number: int) -> dict[str, bytes]:
    """Give the files as others see them: nothing is lost when a process dies and the machine does not."""
    disk = Disk(recording.before)
    for step in recording.log[:number]:
        disk.follow(step)
    return disk.after_a_cut("keep", random.Random())


def _judged(place: Bench, victim: Victim, damage: Damage, counts: Counter[str], seed: int) -> Iterator[str]:
    damaged = damage.done_to(victim.files)
    place.lay_out(damaged)
    found = place.look("full", goes_on=damage.file == _WAL)
    counts["damages"] += 1
    command = f"python -m prove repeat damage {seed} {damage}"
    if found.unknown:
        yield f"{damage}: opening gave {found.unknown}: {command}"
    elif damage.file == _WAL:
        yield from (f"{damage}: {sentence}: {command}" for sentence in _log(victim, damage, found, counts))
    else:
        for sentence in _database(place, victim, damage, found, counts):
            yield f"{damage}: {sentence}: {command}"


def _log(victim: Victim, damage: Damage, found: Found, counts: Counter[str]) -> Iterator[str]:
    counts["logs cut off" if damage.how == "cut" else "logs flipped"] += 1
    if found.refused or found.complaints:
        yield found.refused or "; ".join(found.complaints)
    elif found.state == victim.states[-1]:
        counts["of them shown whole"] += 1
    elif found.state in victim.states:
        counts["of them shown up to an earlier commit"] += 1
    else:
        counts["half transactions shown"] += 1
        yield "what is shown is none of the commits"


def _database(place: Bench, victim: Victim, damage: Damage, found: Found, counts: Counter[str]) -> Iterator[str]:
    counts["databases flipped"] += 1
    if found.refused:
        counts["of them refused"] += 1
        left = place.left()
        if left == damage.done_to(victim.files):
            return
        counts["of them changed all the same"] += 1
        mended = bytearray(left[FILE])
        mended[damage.at] = victim.files[FILE][damage.at]
        place.lay_out(left | {FILE: bytes(mended)})
        if place.look("full", goes_on=False).state != victim.states[-1]:
            counts["of them made worse"] += 1
            yield f"the file was made worse: {found.refused}"
    elif found.complaints:
        counts["of them found by check()"] += 1
    elif found.state == victim.states[-1]:
        counts["of them harmless"] += 1
    else:
        counts["not noticed"] += 1
        if damage.at < _DATABASE_HEADER:
            yield "what is shown is not what was there, and nobody says so"
