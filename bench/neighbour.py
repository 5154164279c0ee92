"""Draining beside a thread of the same process that computes without a pause."""

from pathlib import Path

from workqueue.cli.run import OUR_SWITCH as RUN_SWITCHES

from bench.drain import drain
from bench.samples import Effort, rates, ratio, spread
from bench.table import Row


def cpu_bound(effort: Effort, folder: Path) -> list[Row]:
    """With such a thread, against without; and R's with one, which shows what Python leaves to be had.

    Once as in any program, and once as `workqueue run` has it, which owns the process.
    """
    found = effort.in_turn(
        {
            "beside": lambda: drain("ours", folder, effort(12_000), busy=True),
            "alone": lambda: drain("ours", folder, effort(30_000)),
            "run": lambda: drain("ours", folder, effort(12_000), busy=True, interval=RUN_SWITCHES),
            "run alone": lambda: drain("ours", folder, effort(30_000), interval=RUN_SWITCHES),
            "R": lambda: drain("raw", folder, effort(12_000), busy=True),
        },
        rounds=5,
    )
    held = ratio(rates(found["beside"]), rates(found["alone"]))
    run = ratio(rates(found["run"]), rates(found["run alone"]))
    return [
        Row(
            "drain beside a CPU-bound thread in the same process, as in any program",
            "≥ 0.2 of the rate without it",
            held.said("×"),
            f"{spread(rates(found['beside']))}; without {spread(rates(found['alone']))}; "
            f"R beside one {spread(rates(found['R']))}",
            reached=held.middle >= 0.2,
        ),
        Row(
            "the same in a process of `workqueue run`, where threads that compute give way after 0.5 ms",
            "≥ 0.2 of the rate without it",
            run.said("×"),
            f"{spread(rates(found['run']))}; without {spread(rates(found['run alone']))}",
            reached=run.middle >= 0.2,
        ),
    ]
