"""Finding jobs: ids in their order, from what has that order, window by window; then those of them that are meant.

No index knows what may be asked for (a name, a text), so a page looks at a bounded number of jobs, however few are
meant. Where an index leads to few, as for those that failed, or of a batch, only these are looked at; else all, by
their ids.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from workqueue.job import JobStatus
from workqueue.lifecycle import WAITING
from workqueue.store.paging import Find, Page
from workqueue.store.relational import records
from workqueue.store.relational.session import Session

MOST: Final = 10_000  # jobs that a page looks at
_FEW: Final = 5_000  # jobs of a queue that wait or run, up to which they are looked at one and all
_FEW_QUEUES: Final = 100
_NARROW: Final = 200  # the first window, where not all that is in it may be meant
_WIDENING: Final = 7
_BYTES: Final = 32 * 1024 * 1024  # of data that a page searches, or consists of
_LAST: Final = 2**63 - 1
_OPEN: Final = WAITING | {JobStatus.RUNNING}
_SETTLED: Final = frozenset({JobStatus.FAILED, JobStatus.CANCELLED})
ALL: Final = _OPEN | _SETTLED | {JobStatus.COMPLETED}
_encode = msgspec.json.encode
_ids = msgspec.json.Decoder(list[int])
_names = msgspec.json.Decoder(list[str])
_sizes = msgspec.json.Decoder(list[tuple[int, int]])


class Match(NamedTuple):
    """A job that is meant. size: bytes of its data."""

    id: int
    size: int
    queue: str


_matches = msgspec.json.Decoder(list[Match])


class Matches(NamedTuple):
    """Those of a page, in its order. next: see `Page`."""

    jobs: list[Match]
    next: int | None


def find(session: Session, which: Find) -> Page:
    """Give a page of the jobs that are meant."""
    found = look(session, which, ALL)
    jobs = records.jobs_of(session, [match.id for match in found.jobs])
    return Page(sorted(jobs, key=lambda job: job.id, reverse=which.newest_first), found.next)


def look(session: Session, which: Find, statuses: Collection[JobStatus]) -> Matches:
    """Say which jobs make the page, of those that are in one of these statuses."""
    wanted = frozenset(statuses if which.status is None else {which.status} & frozenset(statuses))
    if not wanted or which.limit < 1:
        return Matches([], None)
    sources = _sources(session, which, wanted)
    found: list[Match] = []
    size = looked = searched = 0
    width = max(_NARROW, which.limit + 1)
    while True:
        window = _window(session, sources, which, min(width, MOST - looked))
        if which.text is not None:
            window, searched = _searchable(session, window, searched)
        matches = {match.id: match for match in matching(session, window.ids, which, wanted)}
        for place, job in enumerate(window.ids, start=1):
            if job in matches:
                found.append(matches[job])
                size += matches[job].size
                if len(found) == which.limit or size > _BYTES:
                    return Matches(found, None if window.is_last and place == len(window.ids) else job)
        if window.is_last:
            return Matches(found, None)
        looked += len(window.ids)
        if looked >= MOST or searched > _BYTES:
            return Matches(found, window.ids[-1])
        which = which.beyond(window.ids[-1])
        width *= _WIDENING


def matching(session: Session, ids: Iterable[int], which: Find, statuses: Collection[JobStatus]) -> list[Match]:
    """Say which of these jobs are meant, and are in one of these statuses, just now."""
    row = {
        "ids": _encode(list(ids)).decode(),
        "statuses": _encode([int(status) for status in statuses]).decode(),
        "queue": which.queue,
        "name": which.name,
        "text": None if which.text is None else which.text.encode("utf-8", "surrogatepass"),
    }
    return _matches.decode(session.ask("matching", row).fetchone()[0])


# windows


class _Window(NamedTuple):
    """The next ids in the order that is asked for. is_last: there are no more."""

    ids: Sequence[int]
    is_last: bool


class _Source(Protocol):
    """Knows ids in their order."""

    def next(self, session: Session, which: Find, most: int) -> list[int]:
        """Give the next ids between those that `which` names, in its order, at most so many."""
        ...


class _Ordered(NamedTuple):
    """What a statement finds."""

    statement: str
    row: dict[str, object]

    def next(self, session: Session, which: Find, most: int) -> list[int]:
        row = {
            "up": not which.newest_first,
            "after": which.after,
            "before": _LAST if which.before is None else which.before,
            "most": most,
        }
        found = _ids.decode(session.ask(self.statement, self.row | row).fetchone()[0])
        return sorted(found, reverse=which.newest_first)


class _Few(NamedTuple):
    """All there are."""

    ids: list[int]

    def next(self, session: Session, which: Find, most: int) -> list[int]:
        del session
        before = _LAST if which.before is None else which.before
        found = [job for job in self.ids if which.after < job < before]
        return sorted(found, reverse=which.newest_first)[:most]


def _sources(session: Session, which: Find, wanted: Collection[JobStatus]) -> list[_Source]:
    """Give what knows the ids of all jobs that may be meant; of others, too, but not of those of another batch."""
    if which.batch is not None:
        return _of_batch(which.batch, wanted)
    queue = which.queue
    few = _completed(queue) if JobStatus.COMPLETED in wanted else []
    everything: list[_Source] = [_Ordered("walk", {}), *few]  # in this order: a job leaves the first for the second
    if not _OPEN.isdisjoint(wanted):
        if wanted == {JobStatus.RUNNING}:
            found = _ids.decode(session.ask("running_ids").fetchone()[0])
        elif queue is None:
            return everything
        else:
            found = _ids.decode(session.ask("open_ids", {"queue": queue, "most": _FEW + 1}).fetchone()[0])
            if len(found) > _FEW:
                return everything
        few.append(_Few(found))
    settled = _SETTLED.intersection(wanted)
    if settled:
        queues = [] if queue is None else [queue]
        if queue is None:
            queues = _names.decode(session.ask("settled_queues", {"most": _FEW_QUEUES + 1}).fetchone()[0])
            if len(queues) > _FEW_QUEUES:
                return everything
        few += [
            _Ordered("settled_ids", {"queue": name, "status": int(status)}) for name in queues for status in settled
        ]
    return few


def _of_batch(batch: int, wanted: Collection[JobStatus]) -> list[_Source]:
    row: dict[str, object] = {"batch": batch}
    sources: list[_Source] = []  # in this order, as above
    if not _OPEN.isdisjoint(wanted):
        sources.append(_Ordered("batch_ids", row | {"open": True}))
    if not _SETTLED.isdisjoint(wanted):
        sources.append(_Ordered("batch_ids", row | {"open": False}))
    if JobStatus.COMPLETED in wanted:
        sources.append(_Ordered("batch_completed_ids", row))
    return sources


def _completed(queue: str | None) -> list[_Source]:
    return [_Ordered("walk_completed", {}) if queue is None else _Ordered("completed_ids", {"queue": queue})]


def _window(session: Session, sources: Sequence[_Source], which: Find, most: int) -> _Window:
    """Give the next ids of all sources, as far as none of them may have more in between."""
    known: set[int] = set()
    ends: list[int] = []
    for source in sources:
        found = source.next(session, which, most)
        known.update(found)
        if len(found) == most:
            ends.append(found[-1])
    ids = sorted(known, reverse=which.newest_first)
    if ends:
        end = max(ends) if which.newest_first else min(ends)
        ids = ids[: ids.index(end) + 1]
    return _Window(ids[:most], not ends and len(ids) <= most)


def _searchable(session: Session, window: _Window, searched: int) -> tuple[_Window, int]:
    """Give as much of the window as its data may be searched, at least one; and how many bytes that makes in all."""
    sizes = dict(_sizes.decode(session.ask("sizes", {"ids": _encode(list(window.ids)).decode()}).fetchone()[0]))
    for place, job in enumerate(window.ids, start=1):
        searched += sizes.get(job, 0)
        if searched > _BYTES and place < len(window.ids):
            return _Window(window.ids[:place], is_last=False), searched
    return window, searched
