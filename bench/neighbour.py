"""Draining beside a thread of the same process that computes without a pause."""

from pathlib import Path

from bench.drain import rate
from bench.samples import Effort, ratio, spread
from bench.table import Row


def cpu_bound(effort: Effort, folder: Path) -> list[Row]:
    """With such a thread, against without."""
    rates = effort.in_turn(
        {
            "beside": lambda: rate("ours", folder, effort(15_000), busy=True),
            "alone": lambda: rate("ours", folder, effort(60_000)),
        }
    )
    middle, lowest, highest = ratio(rates["beside"], rates["alone"])
    return [
        Row(
            "drain beside a CPU-bound thread in the same process",
            "≥ 0.2 of the rate without it",
            f"{middle:.2f} × ({lowest:.2f} to {highest:.2f})",
            f"{spread(rates['beside'])}; without {spread(rates['alone'])}",
            reached=middle >= 0.2,
        )
    ]
