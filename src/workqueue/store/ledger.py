"""Ledger: where a store keeps its figures; see `contract` for what holds for every verb."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, Protocol

from workqueue.figures import Counted, Figures, Span, total

MINUTES_STAY: Final = timedelta(days=2)
HOURS_STAY: Final = timedelta(days=90)
"""The total of a task stays as long, too, from when it was heard of last."""


class Ledger(Protocol):
    """What became of jobs, by the minute, by the hour, and of all time. Figures are for people: nothing rests on them.

    So they give way to the work where the two would meet: a commit of unknown fate is not made again, and what may be
    missing is not looked for.
    """

    def add(self, queue: str, counted: Mapping[str, Counted]) -> None:
        """Add what became of jobs of the queue just now, by their names."""
        ...

    def note_backlog(self, queue: str) -> None:
        """Note how many jobs of the queue are due and do not run, if nobody has in this minute."""
        ...

    def figures(self, queue: str | None, since: datetime, until: datetime, *, span: Span = "minute") -> list[Figures]:
        """Give the figures of a queue, or of all, by the time they begin at (`until` not among them), queue and name.

        Those of minutes are kept for two days, those of hours for 90.
        """
        ...

    def totals(self, queue: str | None = None) -> dict[tuple[str, str], Counted]:
        """Give what became of all jobs, by queue and name. It only grows, until a task was gone for 90 days."""
        ...


def tellable(name: str) -> str:
    """Give a name as figures have it: every engine's text can hold it, so that figures can be copied anywhere."""
    return name.replace("\0", "\ufffd")


def by_name(counted: Mapping[str, Counted]) -> dict[str, Counted]:
    """Give what was counted by the names that figures have, in their order."""
    found: defaultdict[str, list[Counted]] = defaultdict(list)
    for name, one in counted.items():
        found[tellable(name)].append(one)
    return {name: total(found[name]) for name in sorted(found)}
