"""PostgreSQL behind lines that break: what is done over them, cut at every byte (`sweep.py`), and in a storm.

`cases.py` has what is done and what must come of it; `storm.py` has real runners, ended sessions and restarts.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import Final

from prove.connections.storm import Storm
from prove.connections.sweep import Cut, Line, some_cut
from prove.postgres.databases import Databases
from prove.postgres.server import PostgresServer, versions, why_not
from prove.verdict import Verdict

__all__ = ["repeat", "run"]

_STORMS_SHARE: Final = 0.5
_LONGEST: Final = 60.0  # seconds of a storm
_LEAST: Final = 20  # cuts


def run(seconds: float, seed: int) -> Verdict:
    """Cut lines at what the seed draws for half of the time, and let storms rage for the other."""
    began = time.monotonic()
    if reason := why_not():
        return _verdict(seed, 0.0, Counter(), [], [reason])
    counts: Counter[str] = Counter()
    broken: list[str] = []
    with PostgresServer(versions()[-1]) as server:
        databases = Databases(server.dsn())
        draw = random.Random(f"{seed}:cuts")  # noqa: S311 - to be drawn alike again
        with databases.lend() as url, Line(url) as line:
            until = began + seconds * (1 - _STORMS_SHARE)
            while counts["cuts"] < _LEAST or time.monotonic() < until:
                line.cut(some_cut(line, draw))
                counts["cuts"] += 1
            broken += [f"{sentence} [python -m prove run {seconds:.0f}s --seed {seed} --only connections]"
                       for sentence in _judged(line, counts)]  # fmt: skip
        number = 0
        while number == 0 or time.monotonic() < began + seconds - 1:
            left = max(1.0, began + seconds - time.monotonic())
            broken += _storm(server, databases, seed, number, min(_LONGEST, left), counts)
            number += 1
    return _verdict(seed, time.monotonic() - began, counts, broken, [])


def repeat(words: list[str]) -> Verdict:
    """Play one cut (`cut CASE MESSAGE SHARE DEED`) or storm (`storm SEED NUMBER SECONDS`) again."""
    began = time.monotonic()
    counts: Counter[str] = Counter()
    with PostgresServer(versions()[-1]) as server:
        databases = Databases(server.dsn())
        match words:
            case ["cut", case, message, share, deed]:
                with databases.lend() as url, Line(url) as line:
                    line.cut(Cut(case, int(message), float(share), deed))
                    broken = _judged(line, counts)
            case ["storm", seed, number, seconds]:
                broken = _storm(server, databases, int(seed), int(number), float(seconds), counts)
            case _:
                raise ValueError(
                    "expected: cut CASE MESSAGE SHARE CLOSE|RESET, or storm SEED NUMBER SECONDS, "
                    f"got: {' '.join(words)}"
                )
    return _verdict(0, time.monotonic() - began, counts, broken, [])


def _judged(line: Line, counts: Counter[str]) -> list[str]:
    broken, found = line.verdict()
    counts["of them struck"] += line.struck
    counts.update(found)
    return broken


def _storm(
    server: PostgresServer, databases: Databases, seed: int, number: int, seconds: float, counts: Counter[str]
) -> list[str]:
    draw = random.Random(f"{seed}:storm:{number}")  # noqa: S311 - to be drawn alike again
    with databases.lend() as url:
        storm = Storm(server, url, draw)
        storm.rage(seconds)
        broken = storm.judge()
    counts["storms"] += 1
    counts.update(storm.counts)
    return [f"{text} [python -m prove repeat connections storm {seed} {number} {seconds:.0f}]" for text in broken]


def _verdict(seed: int, seconds: float, counts: Counter[str], broken: list[str], remarks: list[str]) -> Verdict:
    return Verdict(
        harness="connections", seed=seed, seconds=seconds, counts=dict(counts), failures=broken, remarks=remarks
    )
