"""How much is measured, and how: short slices in turn, and what is said of them.

On a shared machine the speed of everything drifts by the second. So a ratio is that of two slices that ran one after
the other; what is reported is the median of the rounds' own ratios, with the lowest and the highest. The order of the
contenders turns round at each round, so that none always runs in the other's wake. CPU time (user and system, of all
threads) stands beside the rates, because it says what was spent even where the wall clock says who else was there.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Sample(NamedTuple):
    """One slice. rate: jobs per second; cpu: seconds of CPU per job."""

    rate: float
    cpu: float


class Ratio(NamedTuple):
    """The median of the rounds' ratios, the lowest and the highest."""

    middle: float
    lowest: float
    highest: float

    def said(self, unit: str, digits: int = 2) -> str:
        return f"{self.middle:.{digits}f} {unit} ({self.lowest:.{digits}f} to {self.highest:.{digits}f})"


@dataclass(frozen=True)
class Effort:
    """share: of the full number of jobs; one_round: of each contender, whatever the scenario would like."""

    share: float = 1.0
    one_round: bool = False

    def __call__(self, number: int) -> int:
        """Give how many to measure instead of `number`."""
        return max(20, round(number * self.share))

    def rounds(self, number: int) -> int:
        return 1 if self.one_round else number

    def in_turn(self, contenders: Mapping[str, Callable[[], T]], *, rounds: int) -> dict[str, list[T]]:
        """Run each contender once per round; give what each gave, a figure for each round."""
        found: dict[str, list[T]] = {name: [] for name in contenders}
        order = list(contenders.items())
        for _ in range(self.rounds(rounds)):
            for name, run in order:
                found[name].append(run())
            order.reverse()
        return found


FULL = Effort()
QUICK = Effort(share=0.002, one_round=True)


def timed(work: Callable[[], object], count: int) -> Sample:
    """Run `work`, which does `count` jobs in this process."""
    began, cpu = time.perf_counter(), time.process_time()
    work()
    cpu, took = time.process_time() - cpu, time.perf_counter() - began
    return Sample(count / took, cpu / count)


def ratio(ours: list[float], theirs: list[float]) -> Ratio:
    each = [a / b for a, b in zip(ours, theirs, strict=True)]
    return Ratio(statistics.median(each), min(each), max(each))


def rates(samples: list[Sample]) -> list[float]:
    return [sample.rate for sample in samples]


def percentile(values: list[float], percent: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def spread(values: list[float], unit: str = "/s", digits: int | None = None) -> str:
    """Say the median and the range: `31,000/s (30,500 to 31,900)`."""
    middle = statistics.median(values)
    if digits is None:
        digits = 0 if middle >= 100 else 2
    said = f"{middle:,.{digits}f}{unit}"
    if len(values) == 1:
        return said
    return f"{said} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def costs(samples: list[Sample]) -> str:
    """Say the rate and the CPU of a job: `31,000/s (30,500 to 31,900), CPU 24 µs a job`."""
    return f"{spread(rates(samples))}, CPU {statistics.median(s.cpu for s in samples) * 1e6:.1f} µs a job"
