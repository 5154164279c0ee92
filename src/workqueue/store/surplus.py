"""Surplus: what a store holds beyond what is to be kept; see `contract` for what holds for every verb."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

import msgspec

from workqueue.retention import Keep

Kept: TypeAlias = Literal["completed", "failed", "results"]


class Mark(msgspec.Struct, frozen=True, order=True):
    """A place in the order in which jobs ended, or in which results are to be forgotten; the store's own numbers."""

    at: int
    last: int


class Surplus(Protocol):
    """What is over and kept for too long, or too much of it: found in one look, and deleted in small steps; and room.

    Results have a time of their own, so of those only the count is judged, of those that were kept to be counted.
    """

    def find(self, queue: str, what: Kept, keep: Keep) -> Mark | None:
        """Say up to where there is too much of the queue; None where there is not. Takes longer, the more is kept."""
        ...

    def prune(self, queue: str, what: Kept, mark: Mark, limit: int) -> int:
        """Delete up to so many of the queue up to the mark, fewer where they are large, in one short transaction.

        Gives how many: 0 when there are no more. Safe to do twice, and by several at once.
        """
        ...

    def shrink(self, limit: int, *, whole: bool = False) -> int:
        """Give back about so many bytes of room that nothing uses any more, in one short transaction; say how many.

        It leaves as much as is used, and some more; whole: nothing. 0 when there is no more to give back, or the engine
        does not: what it deletes leaves room for what comes.
        """
        ...
