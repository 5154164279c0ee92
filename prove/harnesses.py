"""The harnesses by name, and how several of them are played at once."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Final

from prove import connections, crash, handlers, model, planted, powercut, simulation, time_faults
from prove.crash import tasks
from prove.powercut import HARNESSES as DISKS
from prove.verdict import Verdict

Harness = Callable[[float, int], Verdict]
Repeat = Callable[[list[str]], Verdict]

HARNESSES: Final[dict[str, tuple[Harness, float]]] = {  # and its share of the time
    "handlers": (handlers.run, 0.09),  # takes as long as its table needs, once: first, for it mostly waits
    "model": (model.FILE.run, 0.13),
    "model_postgres": (model.POSTGRES.run, 0.05),
    "simulation": (simulation.run, 0.18),
    "powercut": (powercut.run, 0.18),
    "time_faults": (time_faults.run, 0.08),
    "crash": (crash.FILE.run, 0.14),
    "crash_postgres": (crash.POSTGRES.run, 0.10),
    "connections": (connections.run, 0.10),
    "tasks": (tasks.FILE.run, 0.10),
    "tasks_postgres": (tasks.POSTGRES.run, 0.10),
}


def _repeat_of_disk(name: str) -> Repeat:
    return lambda words: powercut.repeat([name, *words])


REPEAT: Final[dict[str, Repeat]] = {
    "model": model.FILE.repeat,
    "model_postgres": model.POSTGRES.repeat,
    "simulation": simulation.repeat,
    "time_faults": time_faults.repeat,
    "crash": crash.repeat,
    "crash_postgres": crash.POSTGRES.repeat,
    "connections": connections.repeat,
    "tasks": tasks.FILE.repeat,
    "tasks_postgres": tasks.POSTGRES.repeat,
    "handlers": handlers.repeat,
    "planted": planted.repeat,
} | {name: _repeat_of_disk(name) for name in DISKS}


def play(shares: Mapping[str, float], seed: int, at_once: int) -> Iterator[Verdict]:
    """Play the harnesses by these names for so many seconds each; give what they found in their order."""
    if at_once == 1:
        yield from (_run(name, share, seed) for name, share in shares.items())
        return
    # Processes, for some compute; spawned, for others have threads.
    with ProcessPoolExecutor(at_once, multiprocessing.get_context("spawn"), hush) as pool:
        playing = [pool.submit(_run, name, share, seed) for name, share in shares.items()]
        yield from (played.result() for played in playing)


def _run(name: str, seconds: float, seed: int) -> Verdict:
    harness, _ = HARNESSES[name]
    return harness(seconds, seed)


def hush() -> None:
    """Keep off the terminal what is logged of faults that we make: in each process that plays."""
    for complains in ("workqueue", "psycopg"):
        logging.getLogger(complains).addHandler(logging.NullHandler())
