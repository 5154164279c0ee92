"""What a store may hold after some of its calls raised: the store in plain Python, once for each way it may have gone.

A call that returned happened, and gave just that answer. One that raised happened whole or not at all; until the store
can be asked, both are possible. It may even happen late: a commit that failed can stand in the log, whole and unseen,
until somebody recovers the log, if no other commit has overwritten it since.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from workqueue.store.contract import Store
from workqueue.store.memory.engine import MemoryStore
from workqueue.store.paging import Find, walk

from prove.powercut.calls import Answer, Call, perform
from prove.powercut.states import Clock

Contents = tuple[object, ...]
_Happened = tuple[int, Call, Answer | None]
_WAYS: Final = 256
_SURELY_WRITE: Final = frozenset({"push", "enlist"})


class TooManyWaysError(Exception):
    """More calls raised than can be followed."""


class _Way:
    """One way it may have gone."""

    def __init__(self, calls: Sequence[_Happened] = (), surprises: int = 0) -> None:
        self.calls: list[_Happened] = []
        self.surprises = surprises
        self.skipped: list[_Happened] = []  # the calls that raised and have not happened, since the last that wrote
        self._clock = Clock()
        self._store = MemoryStore(self._clock)
        for at, call, answer in calls:
            self.happened(at, call, answer)

    def happened(self, at: int, call: Call, answer: Answer | None) -> Answer:
        """answer: what the store under test answered; None if it raised."""
        self.calls.append((at, call, answer))
        self._clock.now = at
        if call.verb == "enlist" and isinstance(answer, int):  # no promise tells which number comes next
            self._store._last_runner = max(self._store._last_runner, answer - 1)
        last_id = self._store._last_id
        answer = perform(self._store, call)
        if call.verb == "transact" and isinstance(answer, str):  # rolled back: SQLite gives the same ids again
            self._store._last_id = last_id
        return answer

    def contents(self) -> Contents:
        return contents(self._store)

    def but_late(self) -> list[_Way]:
        """Give this way with a call that was skipped happening now, for each of them."""
        return [_Way([*self.calls, call], self.surprises + 1) for call in self.skipped]


class Model:
    """All the ways that fit what was answered so far."""

    def __init__(self) -> None:
        self._ways = [_Way([])]

    def answered(self, at: int, call: Call, answer: Answer) -> str:
        """Keep the ways that give this answer; say what they would have answered, if there are none."""
        late = [other for way in self._ways for other in way.but_late()]
        expected = [way.happened(at, call, answer) for way in self._ways]
        fitting = [way for way, other in zip(self._ways, expected, strict=True) if other == answer]
        if not fitting or call.verb in _SURELY_WRITE:  # from then on it cannot be late any more
            fitting += [way for way in late if way.happened(at, call, answer) == answer]
        if len(fitting) > _WAYS:
            raise TooManyWaysError
        if fitting:
            self._ways = fitting
            if call.verb in _SURELY_WRITE:
                for way in fitting:
                    way.skipped.clear()
            return ""
        return f"expected {call.verb} to answer {expected[0]!r:.300}, got: {answer!r:.300}"

    def raised(self, at: int, call: Call) -> None:
        """Follow both ways: it happened, or it did not."""
        if 2 * len(self._ways) > _WAYS:
            raise TooManyWaysError
        happened = [_Way([*way.calls, (at, call, None)], way.surprises + 1) for way in self._ways]
        for way in self._ways:
            way.skipped.append((at, call, None))
        self._ways += happened

    def all_contents(self) -> list[Contents]:
        """Give what the store may hold; the first is what it holds if nothing that raised came about."""
        late = [other for way in self._ways for other in way.but_late()]
        return [way.contents() for way in (*self._ways, *late)]

    def happened_though_raised(self, seen: Contents) -> int:
        """Count the calls that raised, and yet must have happened for the store to look like this."""
        return min((way.surprises for way in self._ways if way.contents() == seen), default=0)


def contents(store: Store) -> Contents:
    """Give all that people could see in a store: jobs, histories, and effects of transactional handlers."""
    jobs = list(walk(store.find, Find(limit=1_000_000)))
    histories = [store.history(job.id) for job in jobs]
    with store.transaction() as transaction:
        known = transaction.execute("SELECT count(*) FROM sqlite_master WHERE name = 'effects'").fetchone()
        effects = transaction.execute("SELECT * FROM effects ORDER BY 1, 2").fetchall() if known != (0,) else []
    return tuple(jobs), tuple(map(tuple, histories)), tuple(effects)


def difference(possible: Sequence[Contents], seen: Contents) -> str:
    """Say what is seen and not possible; "" when it is."""
    return "" if seen in possible else _difference(possible[0], seen)


def _difference(expected: Contents, seen: Contents) -> str:
    for one, other in zip(expected, seen, strict=True):
        ours, theirs = list(one), list(other)  # type: ignore[call-overload]
        if ours != theirs:
            missing = [item for item in ours if item not in theirs]
            more = [item for item in theirs if item not in ours]
            return f"expected {str(missing):.300}, got: {str(more):.300}"
    return "nothing"
