"""Verdict: what one harness did and saw, as figures."""

from __future__ import annotations

import msgspec


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one harness did and saw.

    counts: in the order to be told, by the words to be told: {"processes killed": 312, "lost": 0}.
    failures: each broken promise as a sentence that ends with the command which repeats it. [] is a pass.
    remarks: what could not be run here, and why.
    """

    harness: str
    seed: int
    seconds: float
    counts: dict[str, int]
    failures: list[str] = []
    remarks: list[str] = []

    def __str__(self) -> str:
        told = ", ".join(f"{number:,} {words}" for words, number in self.counts.items())
        ending = "" if not self.failures else f"; {len(self.failures)} BROKEN"
        return f"{self.harness}: {told}{ending} (seed {self.seed}, {self.seconds:.0f} s)"
