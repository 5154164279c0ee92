"""Model: random histories that the engine in memory and another must tell alike, at every step.

`machine.py` is the machine of hypothesis that plays them, `beside.py` the engines that stand beside the model: the
SQLite file, or PostgreSQL. The tests play some of it each time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from prove.model.beside import MemoryAndFile, memory_and_database
from prove.model.machine import TwoEngines
from prove.postgres.databases import Databases
from prove.postgres.server import PostgresServer, versions, why_not
from prove.verdict import Verdict

_STEPS: Final = 50


class Model:
    """The harness `name`. machine: lent for a run, tells its histories.

    histories: under one seed. why_not: why it cannot be done here.
    """

    def __init__(
        self,
        name: str,
        machine: Callable[[], AbstractContextManager[type[TwoEngines]]],
        *,
        histories: int = 25,
        why_not: Callable[[], str] = str,
    ) -> None:
        self._name = name
        self._machine = machine
        self._histories = histories
        self._why_not = why_not

    def run(self, seconds: float, seed: int) -> Verdict:
        """Play the seeds from `seed` upwards for about so long."""
        began = time.monotonic()
        counts: Counter[str] = Counter()
        failures: list[str] = []
        if self._why_not():
            return self._verdict(seed, began, counts, failures)
        following = seed
        with self._machine() as machine:
            while following == seed or time.monotonic() < began + seconds:
                failures += self._play(machine, following, counts)
                following += 1
        return self._verdict(seed, began, counts, failures)

    def repeat(self, words: list[str]) -> Verdict:
        """Play one seed again, and shrink what fails: SEED. Raises ValueError for other words."""
        match words:
            case [number] if number.isdigit():
                began = time.monotonic()
                counts: Counter[str] = Counter()
                with self._machine() as machine:
                    failures = self._play(machine, int(number), counts, shrinks=True)
                return self._verdict(int(number), began, counts, failures)
            case _:
                raise ValueError(f"expected: SEED, got: {' '.join(words)!r}")

    def _play(
        self, machine: type[TwoEngines], number: int, counts: Counter[str], *, shrinks: bool = False
    ) -> list[str]:
        """Play the histories of one seed, add to the counts, and give what differs; with its history when shrunk."""

        class Counted(machine):  # type: ignore[misc, valid-type] # a class that is chosen at run time
            def teardown(self) -> None:
                counts["histories"] += 1
                counts["jobs pushed"] += len(self.memory.ids) if hasattr(self, "memory") else 0
                counts["claims"] += len(self.claims) if hasattr(self, "claims") else 0
                super().teardown()

            def check_invariants(self, *args: object, **kwargs: object) -> None:
                counts["steps"] += 1
                super().check_invariants(*args, **kwargs)

        how = settings(
            max_examples=self._histories,
            stateful_step_count=_STEPS,
            phases=(Phase.generate, Phase.shrink) if shrinks else (Phase.generate,),
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        try:
            run_state_machine_as_test(seed(number)(Counted), settings=how)
        except Exception as error:  # noqa: BLE001 - whatever a history ends with is a finding
            counts["differences"] += 1
            notes = getattr(error, "__notes__", []) if shrinks else []
            story = "".join(f"\n    {line}" for note in notes for line in note.splitlines())
            first = str(error).splitlines()[0] if str(error) else ""
            return [f"{type(error).__name__}: {first} (python -m prove repeat {self._name} {number}){story}"]
        return []

    def _verdict(self, number: int, began: float, counts: Counter[str], failures: list[str]) -> Verdict:
        told = {words: counts[words] for words in ("histories", "steps", "jobs pushed", "claims", "differences")}
        reason = self._why_not()
        return Verdict(
            harness=self._name,
            seed=number,
            seconds=time.monotonic() - began,
            counts={} if reason else told,
            failures=failures,
            remarks=[reason] if reason else [],
        )


@contextmanager
def _database() -> Iterator[type[TwoEngines]]:
    with PostgresServer(versions()[-1]) as server, Databases(server.dsn()).lend() as url:
        with memory_and_database(url) as machine:
            yield machine


FILE: Final = Model("model", lambda: nullcontext(MemoryAndFile))
POSTGRES: Final = Model("model_postgres", _database, histories=8, why_not=why_not)
