"""The crash loop: pushers and workers in real processes on one file, killed at random instants and at system calls.

`loop.py` plays a unit: one file from its making to the audit; `programs.py` and `handlers.py` are what gets killed,
forked by `nursery.py`, seen and hurt through `stage.py`; `witness.py` notes what a store did, `injection.py` has the
deaths at system calls, `judge.py` what is judged beside the invariants. `tasks/` is the loop on a registry of tasks,
`peers/` are other queues in a plainer one.

The programs wait 0.2 s and not 10 s after a job's second loss. Instants are not the same each time a seed is repeated:
what is drawn is, and the machine does the rest.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from prove.crash import injection
from prove.crash.loop import Told, Unit
from prove.crash.peers import PEERS
from prove.crash.peers.race import run_one, run_peers
from prove.verdict import Verdict

__all__ = ["repeat", "run", "run_peers"]


def run(seconds: float, seed: int) -> Verdict:
    """Play units until the time is over, each on a file of its own."""
    began = time.monotonic()
    told: list[tuple[int, Told]] = []
    while not told or time.monotonic() < began + seconds:
        told.append((len(told), play(seed, len(told))))
    return _verdict(seed, time.monotonic() - began, told)


def repeat(words: list[str]) -> Verdict:
    """Play one unit again: SEED UNIT; or one queue's plain loop: NAME SEED SECONDS. Raises ValueError otherwise."""
    match words:
        case [name, seed, seconds] if name in PEERS and seed.isdigit() and seconds.isdigit():
            return run_one(name, int(seconds), int(seed))
        case [first, second] if first.isdigit() and second.isdigit():
            seed, number = int(first), int(second)
        case _:
            raise ValueError(f"expected: SEED UNIT, or {'|'.join(PEERS)} SEED SECONDS, got: {' '.join(words)}")
    began = time.monotonic()
    told = [(number, play(seed, number))]
    return _verdict(seed, time.monotonic() - began, told)


def play(seed: int, number: int) -> Told:
    with TemporaryDirectory(prefix="workqueue-prove-") as folder:
        return Unit(Path(folder), seed, number).play()


def _verdict(seed: int, seconds: float, told: list[tuple[int, Told]]) -> Verdict:
    counts: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for _, one in told:
        counts.update(one.counts)
        calls.update(one.calls)
    rescues = sorted(seconds for _, one in told for seconds in one.rescues)
    counts["jobs rescued"] = len(rescues)
    counts["ms to a rescue, the median"] = round(1000 * statistics.median(rescues or [0]))
    counts["ms to the slowest rescue"] = round(1000 * max(rescues, default=0))
    counts["KiB in the largest log"] = max(one.largest_wal for _, one in told) // 1024
    remarks = ["after a job's second loss the programs wait 0.2 s, and not 10 s"]
    if calls:
        remarks.append("deaths at " + ", ".join(f"{call} {count}" for call, count in calls.most_common()))
    if reason := injection.why_not():
        remarks.append(reason)
    return Verdict(
        harness="crash",
        seed=seed,
        seconds=seconds,
        counts=dict(counts),
        failures=[
            f"{sentence} (python -m prove repeat crash {seed} {number})"
            for number, one in told
            for sentence in one.broken
        ],
        remarks=remarks,
    )
