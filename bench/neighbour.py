"""Draining beside a thread of the same process that computes without a pause."""

from pathlib import Path

from bench.drain import drain
from bench.samples import Effort, rates, ratio, spread
from bench.table import Row


def cpu_bound(effort: Effort, folder: Path) -> list[Row]:
    """With such a thread, against without; and R's with one, which shows what Python leaves to be had."""
    found = effort.in_turn(
        {
            "beside": lambda: drain("ours", folder, effort(12_000), busy=True),
            "alone": lambda: drain("ours", folder, effort(30_000)),
            "R": lambda: drain("raw", folder, effort(12_000), busy=True),
        },
        rounds=5,
    )
    held = ratio(rates(found["beside"]), rates(found["alone"]))
    return [
        Row(
            "drain beside a CPU-bound thread in the same process",
            "≥ 0.2 of the rate without it",
            held.said("×"),
            f"{spread(rates(found['beside']))}; without {spread(rates(found['alone']))}; "
            f"R beside one {spread(rates(found['R']))}",
            reached=held.middle >= 0.2,
        )
    ]
