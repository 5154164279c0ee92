"""Model: random histories that the engine in memory and the SQLite file must tell alike, at every step.

`machine.py` is the machine of hypothesis that plays them; the tests play some of it each time.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Final

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from prove.model.machine import TwoEngines
from prove.verdict import Verdict

_HISTORIES: Final = 25  # under one seed
_STEPS: Final = 50


def run(seconds: float, seed: int) -> Verdict:
    """Play the seeds from `seed` upwards for about so long."""
    began = time.monotonic()
    counts: Counter[str] = Counter()
    failures: list[str] = []
    following = seed
    while following == seed or time.monotonic() < began + seconds:
        failures += play(following, counts)
        following += 1
    return _verdict(seed, began, counts, failures)


def repeat(words: list[str]) -> Verdict:
    """Play one seed again, and shrink what fails: SEED. Raises ValueError for other words."""
    match words:
        case [number] if number.isdigit():
            began = time.monotonic()
            counts: Counter[str] = Counter()
            failures = play(int(number), counts, shrinks=True)
            return _verdict(int(number), began, counts, failures)
        case _:
            raise ValueError(f"expected: SEED, got: {' '.join(words)!r}")


def play(number: int, counts: Counter[str], *, shrinks: bool = False) -> list[str]:
    """Play the histories of one seed, add to the counts, and give what differs; with its history when shrunk."""

    class Counted(TwoEngines):
        def teardown(self) -> None:
            counts["histories"] += 1
            counts["jobs pushed"] += len(self.memory.ids) if hasattr(self, "memory") else 0
            counts["claims"] += len(self.claims) if hasattr(self, "claims") else 0
            super().teardown()

        def check_invariants(self, *args: object, **kwargs: object) -> None:
            counts["steps"] += 1
            super().check_invariants(*args, **kwargs)  # type: ignore[arg-type]

    how = settings(
        max_examples=_HISTORIES,
        stateful_step_count=_STEPS,
        phases=(Phase.generate, Phase.shrink) if shrinks else (Phase.generate,),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(seed(number)(Counted), settings=how)  # type: ignore[arg-type]
    except Exception as error:  # noqa: BLE001 - whatever a history ends with is a finding
        counts["differences"] += 1
        notes = getattr(error, "__notes__", []) if shrinks else []
        story = "".join(f"\n    {line}" for note in notes for line in note.splitlines())
        first = str(error).splitlines()[0] if str(error) else ""
        return [f"{type(error).__name__}: {first} (python -m prove repeat model {number}){story}"]
    return []


def _verdict(number: int, began: float, counts: Counter[str], failures: list[str]) -> Verdict:
    told = {words: counts[words] for words in ("histories", "steps", "jobs pushed", "claims", "differences")}
    seconds = time.monotonic() - began
    return Verdict(harness="model", seed=number, seconds=seconds, counts=told, failures=failures)
