"""What a database holds beyond what is to be kept; see `store.surplus.Surplus` for what each verb promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from workqueue.retention import Keep
from workqueue.store.clock import micros
from workqueue.store.relational.session import Database, Session
from workqueue.store.surplus import Kept, Mark

_BYTES: Final = 4 * 1024 * 1024  # of data in one step: a page that is given up is a page that is written
_LAST: Final = 2**63 - 1
_encode = msgspec.json.encode
_sizes = msgspec.json.Decoder(list[tuple[int, int]])


class StoredSurplus:
    """database: gives the one of this process."""

    def __init__(self, database: Callable[[], Database]) -> None:
        self._database = database

    def find(self, queue: str, what: Kept, keep: Keep) -> Mark | None:
        database = self._database()
        kind = _KINDS[what]
        now = database.clock()

        def look(session: Session) -> Mark | None:
            marks: list[Mark] = []
            if keep.count is not None:
                nth = session.ask(kind.nth, {"queue": queue, "count": keep.count}).fetchone()
                marks += [] if nth is None else [Mark(*nth)]
            if keep.age is not None and kind.ages:
                mark = Mark(now - micros(keep.age), _LAST)
                marks += [mark] if _old(session, kind, queue, mark, 1) else []
            return max(marks, default=None)

        return database.read(look)

    def prune(self, queue: str, what: Kept, mark: Mark, limit: int) -> int:
        database = self._database()
        kind = _KINDS[what]
        found = database.read(lambda session: _old(session, kind, queue, mark, limit))
        if not found:
            return 0
        row = {"ids": _encode(_fitting(found)).decode(), "at": mark.at}

        def work(session: Session, now: int) -> int:
            del now
            deleted = [job for (job,) in session.ask(kind.delete, row).fetchall()]
            if deleted and what == "failed":
                session.ask("drop_terms", {"ids": _encode(deleted).decode()})
            return len(deleted)

        return database.write(work, lambda _session, _count: False)

    def shrink(self, limit: int, *, whole: bool = False) -> int:
        del limit, whole
        return 0


class _Kind(NamedTuple):
    """The statements for one kind. nth: the first beyond a count; old: up to a mark. ages: whether it has an age."""

    nth: str
    old: str
    delete: str
    ages: bool = True


_KINDS: Final[dict[Kept, _Kind]] = {
    "completed": _Kind("nth_completed", "old_completed", "delete_completed"),
    "failed": _Kind("nth_failed", "old_failed", "prune_failed"),
    "results": _Kind("nth_result", "old_results", "prune_results", ages=False),
}


def _old(session: Session, kind: _Kind, queue: str, mark: Mark, limit: int) -> list[tuple[int, int]]:
    """Give up to so many that stand up to the mark, with how many bytes they hold."""
    row = {"queue": queue, "at": mark.at, "last": mark.last, "limit": limit}
    return _sizes.decode(session.ask(kind.old, row).fetchone()[0])


def _fitting(found: Sequence[tuple[int, int]]) -> list[int]:
    """Give as many as fit into one step, at least one."""
    ids: list[int] = []
    total = 0
    for job, size in found:
        total += size
        if ids and total > _BYTES:
            break
        ids.append(job)
    return ids
