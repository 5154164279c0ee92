"""The crash loop: pushers and workers in real processes on one store, killed at random instants and at system calls.

`loop.py` plays a unit: one file or database from its making to the audit, which are both a ground (`ground.py`);
`harness.py` plays as many as there is time for. `programs.py` and `handlers.py` are what gets killed, forked by
`nursery.py`, seen and hurt through `stage.py`; `witness.py` notes what a store did, `injection.py` has the deaths at
system calls, `judge.py` what is judged beside the invariants. `tasks/` is the loop on a registry of tasks, `peers/` are
other queues in a plainer one.

The programs wait 0.2 s and not 10 s after a job's second loss. Instants are not the same each time a seed is repeated:
what is drawn is, and the machine does the rest.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Final

from prove.crash import ground, injection
from prove.crash.harness import CrashLoop, together
from prove.crash.loop import ROUNDS, Told, Unit
from prove.crash.peers import PEERS
from prove.crash.peers.race import run_one, run_peers
from prove.postgres.server import why_not
from prove.verdict import Verdict

__all__ = ["FILE", "POSTGRES", "repeat", "run_peers"]


def repeat(words: list[str]) -> Verdict:
    """Play one unit again: SEED UNIT; or one queue's plain loop: NAME SEED SECONDS. Raises ValueError otherwise."""
    match words:
        case [name, seed, seconds] if name in PEERS and seed.isdigit() and seconds.isdigit():
            return run_one(name, int(seconds), int(seed))
        case [_, _]:
            return FILE.repeat(words)
        case _:
            raise ValueError(f"expected: SEED UNIT, or {'|'.join(PEERS)} SEED SECONDS, got: {' '.join(words)}")


def _figures(told: Sequence[Told]) -> dict[str, int]:
    counts = together(told)
    rescues = sorted(seconds for one in told for seconds in one.rescues)
    counts["jobs rescued"] = len(rescues)
    counts["ms to a rescue, the median"] = round(1000 * statistics.median(rescues or [0]))
    counts["ms to the slowest rescue"] = round(1000 * max(rescues, default=0))
    if any(one.largest_log for one in told):
        counts["KiB in the largest log"] = max(one.largest_log for one in told) // 1024
    return dict(counts)


def _remarks(told: Sequence[Told]) -> list[str]:
    calls = sum((one.calls for one in told), Counter[str]())
    remarks = ["after a job's second loss the programs wait 0.2 s, and not 10 s"]
    if calls:
        remarks.append("deaths at " + ", ".join(f"{call} {count}" for call, count in calls.most_common()))
    if reason := injection.why_not():
        remarks.append(reason)
    return remarks


FILE: Final = CrashLoop("crash", Unit, ground.files, _figures, rounds=ROUNDS, remarks=_remarks)
POSTGRES: Final = CrashLoop(
    "crash_postgres", Unit, ground.databases, _figures, rounds=36, remarks=_remarks, why_not=why_not
)
