"""The crash loop on tasks: limits, rates, orders, keys, batches, chains and isolated tasks, while processes are killed.

`app.py` is the program that is killed, as a user would write it, and `programs.py` what its processes do; `unit.py`
plays one file or database of it, killing children too, and `judge.py` says what is broken beside what is judged of any
crash loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prove.crash import ground
from prove.crash.harness import CrashLoop, together
from prove.crash.loop import Told
from prove.crash.tasks.unit import ROUNDS, TaskUnit
from prove.postgres.server import why_not

_TOLD: Final = (  # the rest is told of the loop without tasks, or is always 0 here
    "processes killed", "children killed alone", "stopped", "frozen", *ground.HARMS, "jobs acknowledged",
    "run more than once", "lanes", "of them seen full", "runs in child processes", "pushes answered by the key's job",
    "batches called back", "results passed on", "lost", "settled twice", "effects doubled", "stuck",
)  # fmt: skip


def _figures(told: Sequence[Told]) -> dict[str, int]:
    counts = together(told)
    return {words: counts[words] for words in _TOLD if words not in ground.HARMS or counts[words]}


FILE: Final = CrashLoop("tasks", TaskUnit, ground.files, _figures, rounds=ROUNDS)
POSTGRES: Final = CrashLoop("tasks_postgres", TaskUnit, ground.databases, _figures, rounds=20, why_not=why_not)
