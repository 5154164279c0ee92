"""Copying a whole store into another, whatever their engines, so that an end at any instant loses and doubles nothing.

    the source is shut   a trigger refuses new jobs and runners in every process, until somebody reopens it
    → the target begins  its ids go on above the source's; it takes runners in when all is done
    → pages of rows      each in one transaction with the note how far the copy is
    → compared           where that is asked: counts and checksums, of both sides
    → handed back        jobs that ran wait again, by the same step as those of a runner that stops
    → done               the target opens; the source keeps the mark, and stays shut

A copy said again goes on at its note. A snapshot, of a source that others go on using, is all of one moment; said again
it begins anew.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from workqueue.errors import UsageError
from workqueue.job import JobStatus
from workqueue.lifecycle import handing_back
from workqueue.store.contract import Store
from workqueue.store.paging import Find
from workqueue.store.relational.rows import BY_NAME, JOBS, TABLES, Reader
from workqueue.store.relational.verbs import Verbs
from workqueue.store.relational.whole import Copy, Move, Whole

_ALL_HERE, _HANDING_BACK = "all here", "handing back"  # steps after the tables
_AT_ONCE: Final = 500
_STOP: Final = "stop them, or say --while-running to copy what there is just now, and leave the source as it is"
_LATE: Final = "stop them: a target takes workers in when all is there"
_DYING: Final = 4.0  # seconds within which a runner that was killed is seen to be dead
_LOOK_AGAIN: Final = 0.2


class Sum(msgspec.Struct, frozen=True, kw_only=True):
    """What one table holds of one queue ('' where it is not divided by queue), on both sides."""

    table: str
    queue: str
    rows: int
    checksum: str
    rows_copied: int
    checksum_copied: str

    @property
    def is_alike(self) -> bool:
        return (self.rows, self.checksum) == (self.rows_copied, self.checksum_copied)


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a copy. jobs: copied now. before: it was done already. sums: None where nothing was compared."""

    jobs: int = 0
    handed_back: int = 0
    went_on: bool = False
    before: bool = False
    sums: list[Sum] | None = None


def copy(
    source: Store,
    target: Store,
    *,
    while_running: bool = False,
    verify: bool = False,
    tell: Callable[[str, int, int], object] = lambda _what, _done, _total: None,
) -> Copied:
    """Copy all of `source` into `target`. tell: hears what is done, and how many jobs of how many it is at.

    Raises UsageError where that cannot be done as they are; nothing has changed then, or what was begun can be gone on
    with. Where sums differ, the target is not opened.
    """
    return _Copying(_side(source), _side(target), tell, while_running=while_running).run(verify=verify)


def reopen(store: Store) -> bool:
    """Let a store that was moved be used again; False when it was not moved."""
    return _side(store).whole.reopen()


class _Side(NamedTuple):
    store: Store
    whole: Whole


def _side(store: Store) -> _Side:
    if not isinstance(store, Verbs):
        raise UsageError("expected a file or a database to copy, got a queue in memory")
    return _Side(store, store.whole)


class _Copying:
    def __init__(
        self,
        source: _Side,
        target: _Side,
        tell: Callable[[str, int, int], object],
        *,
        while_running: bool,
    ) -> None:
        self._source = source
        self._target = target
        self._tell = tell
        self._snapshot = while_running

    def run(self, *, verify: bool) -> Copied:
        source_id = self._source.whole.id()
        if source_id == self._target.whole.id():
            raise UsageError(f"expected two stores, got the same one twice: {self._source.store.path}")
        begun = self._found(source_id)
        if begun is not None and begun.done:
            if begun.move:
                self._source.whole.note_moved()
            return Copied(before=True)
        move = "" if self._snapshot else self._shut(begun)
        went_on = begun is not None and bool(begun.move) and begun.move == move
        with self._source.whole.look() as reader:
            if begun is None or not went_on:
                begun = self._begin(source_id, move, reader, begun)
            now, jobs = self._pages(reader, begun)
            sums = self._compare(reader, now) if verify and now.step == _ALL_HERE else None
        if sums is not None and not all(found.is_alike for found in sums):
            return Copied(jobs=jobs, went_on=went_on, sums=sums)
        if now.step == _ALL_HERE:
            now = self._target.whole.take(now, None, [], _HANDING_BACK, ())
        handed_back = self._hand_back(now)
        self._target.whole.finish(now)
        if move:
            self._source.whole.note_moved()
        return Copied(jobs=jobs, handed_back=handed_back, went_on=went_on, sums=sums)

    def _found(self, source_id: str) -> Copy | None:
        """Give what the target knows of this copy. Raises UsageError where it has other things."""
        ours: Copy | None = None
        for known in self._target.whole.copies():
            if known.source_id == source_id:
                ours = known
            elif not known.done:
                raise UsageError(
                    f"expected {self._target.store.path} to be no target yet, but the copy of {known.source} into it "
                    "is not done; finish it, or begin with a new target"
                )
        if ours is None:
            self._refuse_full()
        if ours is None or not ours.done:
            self._refuse_alive(self._target.store, _LATE)
        return ours

    def _refuse_full(self) -> None:
        if self._target.whole.move() is not None:
            raise UsageError(
                f"expected a target that is in use, but the jobs of {self._target.store.path} were moved away"
            )
        if not self._target.whole.is_empty():
            raise UsageError(
                f"expected a target without jobs, schedules, batches and pauses, but {self._target.store.path} has "
                "some; give a new file, or another ?schema="
            )

    def _refuse_alive(self, store: Store, advice: str) -> None:
        """Raise UsageError while somebody runs jobs there; one that was killed just now is waited for."""
        until = time.monotonic() + _DYING
        while alive := [runner for runner in store.overview().runners if runner.alive]:
            if time.monotonic() > until:
                named = ", ".join(f"{runner.label} (queue {runner.queue!r})" for runner in alive)
                raise UsageError(f"expected no runners of {store.path}, but these are alive: {named}; {advice}")
            time.sleep(_LOOK_AGAIN)

    def _shut(self, begun: Copy | None) -> str:
        """Shut the source; give the id of its move."""
        known = self._source.whole.move()
        if known is None:
            self._refuse_alive(self._source.store, _STOP)
            move = Move(secrets.token_hex(16), self._target.store.path, done=False)
            self._source.whole.shut(move)
            try:
                self._refuse_alive(self._source.store, _STOP)  # one may have come while we looked
            except UsageError:
                self._source.whole.reopen()
                raise
            return move.id
        if known.target != self._target.store.path and (begun is None or begun.move != known.id):
            raise UsageError(
                f"expected a source whose jobs are its own, but those of {self._source.store.path} "
                f"{'were' if known.done else 'are being'} moved to {known.target}; name that as the source or the "
                f"target, or say `workqueue reopen {self._source.store.path}` first"
            )
        return known.id

    def _begin(self, source_id: str, move: str, reader: Reader, before: Copy | None) -> Copy:
        if before is not None:
            self._target.whole.drop(before)
        first = Copy(
            source_id=source_id,
            source=self._source.store.path,
            move=move,
            step=TABLES[0].name,
            after=tuple(TABLES[0].start()),
            last_job=reader.last_job,
            last_batch=reader.last_batch,
        )
        self._target.whole.begin(first)
        try:
            self._refuse_alive(self._target.store, _LATE)  # one may have come while we looked
        except UsageError:
            self._target.whole.drop(first)
            raise
        return first

    def _pages(self, reader: Reader, now: Copy) -> tuple[Copy, int]:
        """Copy from where the copy is to the last row; give how far it is then, and how many jobs these were."""
        done, total = 0, reader.count(now.after) if now.step == JOBS.name else 0
        while now.step in BY_NAME:
            table = BY_NAME[now.step]
            rows = reader.page(table, now.after)
            if rows:
                now = self._target.whole.take(now, table, rows, table.name, table.key_of(rows[-1]))
                done += len(rows) if table is JOBS else 0
                self._tell("copying", done, total)
                continue
            place = TABLES.index(table) + 1
            if place < len(TABLES):
                now = self._target.whole.take(now, None, [], TABLES[place].name, TABLES[place].start())
            else:
                now = self._target.whole.take(now, None, [], _ALL_HERE, ())
        return now, done

    def _compare(self, reader: Reader, now: Copy) -> list[Sum]:
        """Compare all rows of both sides, before the first of them is changed."""
        total = 2 * reader.count(JOBS.start())
        done = 0

        def tell(more: int) -> None:
            nonlocal done
            done += more
            self._tell("comparing", done, total)

        here = reader.sums(tell)
        with self._target.whole.look((now.last_job, now.last_batch)) as copied:
            there = copied.sums(tell)
        nothing = (0, f"{0:016x}")
        order = [table.name for table in TABLES]
        return [
            Sum(
                table=table,
                queue=queue,
                rows=here.get((table, queue), nothing)[0],
                checksum=here.get((table, queue), nothing)[1],
                rows_copied=there.get((table, queue), nothing)[0],
                checksum_copied=there.get((table, queue), nothing)[1],
            )
            for table, queue in sorted({*here, *there}, key=lambda place: (order.index(place[0]), place[1]))
        ]

    def _hand_back(self, now: Copy) -> int:
        """Let the jobs that ran in the source wait again."""
        count = 0
        following: int | None = 0
        while following is not None:
            page = self._target.store.find(Find(status=JobStatus.RUNNING, after=following, limit=_AT_ONCE))
            following = page.next
            ours = [job for job in page.jobs if job.id <= now.last_job]
            self._target.store.turn([handing_back(job) for job in ours], None)
            count += len(ours)
        return count
