"""Power cuts, I/O errors, damaged files and full disks: what the disk may do to a queue, and the queue must survive.

Four harnesses, each a module with `run` and `repeat`; here all of them as one. The engine runs as it stands, with its
SQL, over APSW and a file system of ours (driver.py, recording.py); what is left on the disk after a fault is opened by
the engine as users have it, over `sqlite3`.

    cuts.py     every operation on a recorded disk (session.py) × what may be left of it (disk.py)
    errors.py   the nth call of each kind gives an error
    damage.py   logs and databases with bytes cut off or flipped
    full.py     no room

What a file shows must be one of the commits (states.py), and what the driver (calls.py) was answered must be true: by
the auditor that all harnesses share, or by the engine in memory, played for each way it may have gone (model.py).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Final

from prove.verdict import Verdict

HARNESSES: Final[Mapping[str, tuple[str, float]]] = {  # the module of each, and its share of the time
    "cuts": ("cuts", 0.45),
    "io_errors": ("errors", 0.3),
    "damage": ("damage", 0.15),
    "disk_full": ("full", 0.1),
}


def run(seconds: float, seed: int) -> Verdict:
    """Run all four."""
    began = time.monotonic()
    if find_spec("apsw") is None:
        return Verdict(harness="powercut", seed=seed, seconds=0, counts={}, remarks=["not run: APSW is not installed"])
    verdicts = [_module(name).run(seconds * share, seed) for name, (_, share) in HARNESSES.items()]
    return Verdict(
        harness="powercut",
        seed=seed,
        seconds=time.monotonic() - began,
        counts={f"{one.harness}: {words}": number for one in verdicts for words, number in one.counts.items()},
        failures=[failure for one in verdicts for failure in one.failures],
        remarks=[remark for one in verdicts for remark in one.remarks],
    )


def repeat(words: Sequence[str]) -> Verdict:
    """Repeat one failure: the harness's name, and the words it takes. Raises ValueError for others."""
    name, *rest = words or [""]
    if name not in HARNESSES:
        raise ValueError(f"expected one of {', '.join(HARNESSES)}, got: {name!r}")
    verdict: Verdict = _module(name).repeat(rest)
    return verdict


def _module(name: str) -> ModuleType:
    return import_module(f"prove.powercut.{HARNESSES[name][0]}")
