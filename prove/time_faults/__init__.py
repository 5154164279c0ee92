"""Time: a wall clock that steps, stands still or is another's, processes that are suspended; nothing may come of it.

`machine.py` has the clock that can be set, `scenes.py` what happens to it beside real processes, `edges.py` what is
asked of a store alone, at the ends of the calendar and at every reading of the clock.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from prove.audit import Ending, audit
from prove.time_faults import edges
from prove.time_faults.machine import Machine
from prove.time_faults.scenes import LIMITS, SCENES, TIMED, UNPROMISED, Broken, Scene
from prove.verdict import Verdict

__all__ = ["repeat", "run"]

_AT_ONCE: Final = 3  # scenes; they mostly wait
_BY_NAME: Final = {scene.__name__: scene for scene in SCENES}


class Played(msgspec.Struct, frozen=True):
    """What one scene came to. counts: by the words of the verdict. broken: sentences without the way to repeat them."""

    name: str
    number: int
    counts: dict[str, int]
    broken: list[str]
    remarks: list[str]


def run(seconds: float, seed: int) -> Verdict:
    """Play each scene once, and then again, each time drawn anew, until the time is over."""
    began = time.monotonic()

    def turn(unit: int) -> Played | None:
        number, which = divmod(unit, len(SCENES) + 1)
        if number and time.monotonic() > began + seconds:
            return None
        return _edges(seed, number) if which == len(SCENES) else play(SCENES[which], seed, number)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        rounds = 1 + int(seconds)
        played = [one for one in pool.map(turn, range(rounds * (len(SCENES) + 1))) if one is not None]
    return _verdict(played, seed, time.monotonic() - began)


def repeat(words: list[str]) -> Verdict:
    """Play one scene: its name, the seed and the number of its round. Raises ValueError for words that name none."""
    name, seed, number = [*words, *[""] * 3][:3]
    if not (name in _BY_NAME or name == "edges") or not seed.isdigit() or not number.isdigit():
        raise ValueError(f"expected: {'|'.join([*_BY_NAME, 'edges'])} SEED ROUND, got: {' '.join(words)}")
    began = time.monotonic()
    played = _edges(int(seed), int(number)) if name == "edges" else play(_BY_NAME[name], int(seed), int(number))
    return _verdict([played], int(seed), time.monotonic() - began)


def play(scene: Scene, seed: int, number: int) -> Played:
    """Play one scene on a machine of its own, and audit it."""
    draw = random.Random(f"{seed}:{scene.__name__}:{number}")  # noqa: S311 - to be drawn alike again
    machine = Machine(timing=scene in TIMED)
    broken: list[str] = []
    try:
        try:
            scene(machine, draw)
        except Broken as error:
            broken.append(str(error))
        except Exception as error:
            broken.append(f"the scene itself failed: {type(error).__name__}: {error}")
        for process in machine.processes:
            process.close()
        ending = Ending(jobs=machine.jobs(), complaints=machine.queue.check(), quiet=not broken)
        found = audit(machine.events(), ending)
        robbed = machine.robbed()
        broken += [*robbed, *found.broken]
        early = [] if scene in UNPROMISED else machine.lines("early")
        broken += [f"job {job} was claimed {micros} µs before its run_at" for job, micros in early]
        counts = {
            "clock steps": machine.steps,
            "suspensions": machine.suspensions,
            "jobs": found.counts["jobs acknowledged"],
            "lost": found.counts["lost"],
            "doubled": found.counts["settled twice"],
            "before their time": len(early),
            "stuck": found.counts["stuck"],
            "living runners robbed": len(robbed),
        }
        taken = len(machine.lines("rescued"))
        remarks = (
            [f"{scene.__name__}: not promised: the jobs of living runners changed hands"]
            if scene in UNPROMISED and taken
            else []
        )
        return Played(scene.__name__, number, counts, broken, remarks)
    finally:
        machine.close()


def _edges(seed: int, number: int) -> Played:
    draw = random.Random(f"{seed}:edges:{number}")  # noqa: S311 - to be drawn alike again
    counts, broken, remarks = edges.play(draw)
    return Played("edges", number, counts, broken, remarks)


def _verdict(played: Sequence[Played], seed: int, seconds: float) -> Verdict:
    known = {scene.__name__: text for scene, text in LIMITS.items()}
    counts: Counter[str] = Counter({"scenes": len(played)})
    failures: list[str] = []
    remarks: list[str] = []
    for one in played:
        tail = f"{one.name}, round {one.number}"
        again = f"python -m prove repeat time_faults {one.name} {seed} {one.number}"
        if one.name not in known:
            failures += [f"{tail}: {text}; {again}" for text in one.broken]
            counts.update(one.counts)
        else:
            counts.update({name: one.counts[name] for name in ("clock steps", "suspensions", "jobs")})
    for name, text in known.items():
        times = [bool(one.broken) for one in played if one.name == name]
        remarks.append(f"not promised, {name}: {text} (showed in {sum(times)} of {len(times)} rounds)")
    remarks += dict.fromkeys(text for one in played for text in one.remarks)
    told = {name: counts[name] for name in _COUNTED}
    return Verdict(harness="time_faults", seed=seed, seconds=seconds, counts=told, failures=failures, remarks=remarks)


_COUNTED: Final = (
    "scenes",
    "clock steps",
    "suspensions",
    "jobs",
    "lost",
    "doubled",
    "before their time",
    "stuck",
    "living runners robbed",
)
