"""Hostile handlers: whatever they do, their job ends as documented, the worker works on, and nobody else is blamed.

`table.py` has the handlers and what must come of each; `matrix.py` plays them; `program.py` is the worker process.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from typing import Final

from prove.handlers.matrix import SIGNALS, STATES, Group, essentials, everything, play
from prove.handlers.table import EXECUTORS, ROWS, TABLE
from prove.verdict import Verdict

__all__ = ["repeat", "run"]

_AT_ONCE: Final = 4  # groups; they mostly wait


def run(seconds: float, seed: int) -> Verdict:
    """Play each handler with each executor once, then what the seed draws of the rest until the time is over.

    Handlers that show an open bug make their worker hang: they are played as far as time allows.
    """
    began = time.monotonic()
    must = essentials()
    rest = [group for group in everything() if group not in must]
    random.Random(seed).shuffle(rest)
    first = [group for group in must if not group.is_known]
    safe = [group for group in rest if not group.is_known]
    open_bugs = [group for group in [*must, *rest] if group.is_known]
    # By turns: waiting for what hangs must not use up the time.
    last = [group for pair in zip_longest(safe[::4], safe[1::4], open_bugs, safe[2::4], safe[3::4]) for group in pair]
    played: list[tuple[Group, list[str]]] = []

    def turn(group: Group) -> None:
        if group in first or time.monotonic() < began + seconds:
            played.append((group, play(group)))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(turn, [*first, *filter(None, last)]):
            pass
    return _verdict(played, seed, time.monotonic() - began)


def repeat(words: list[str]) -> Verdict:
    """Play one case: executor, state, signal, handler. Raises ValueError for a word that names nothing."""
    executor, state, how, name = [*words, *[""] * 4][:4]
    if executor not in EXECUTORS or state not in STATES or how not in SIGNALS or name not in TABLE:
        raise ValueError(
            f"expected: {'|'.join(EXECUTORS)} {'|'.join(STATES)} {'|'.join(SIGNALS)} HANDLER, got: {' '.join(words)}"
        )
    began = time.monotonic()
    group = Group(executor, state, how, (TABLE[name],))
    return _verdict([(group, play(group))], 0, time.monotonic() - began)


def _verdict(played: Sequence[tuple[Group, list[str]]], seed: int, seconds: float) -> Verdict:
    failures = [text for group, found in played if not group.is_known for text in dict.fromkeys(found)]
    cases = [(row, group) for group, _ in played for row in group.rows]
    counts = {
        "cases": len(cases),
        "hostile handlers": len({row.name for row, _ in cases}),
        "executors": len({group.executor for _, group in cases}),
        "states": len({group.state for _, group in cases}),
        "signals": len({group.signal for _, group in cases}),
        "jobs left running": _about(failures, "left running", "is running", "still running"),
        "workers that stopped": _about(failures, "stopped working", "does nothing", "did not end"),
        "neighbours blamed": _about(failures, "were blamed"),
        "processes left behind": _about(failures, "left a process"),
    }
    return Verdict(
        harness="handlers", seed=seed, seconds=seconds, counts=counts, failures=failures, remarks=_open_bugs(played)
    )


def _open_bugs(played: Sequence[tuple[Group, list[str]]]) -> list[str]:
    """Say of each open bug how often it showed; one that shows no more should lose its mark in the table."""
    remarks: list[str] = []
    for row in ROWS:
        if row.known:
            showed = [bool(found) for group, found in played if row in group.rows]
            remarks.append(f"open, {row.name}: {row.known} (showed in {sum(showed)} of {len(showed)} cases played)")
    return remarks


def _about(failures: Sequence[str], *words: str) -> int:
    return sum(any(word in text for word in words) for text in failures)
