"""What some jobs of a MemoryStore ask for beyond their turn: keys, lanes, orders, batches; kept back, and let go."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Final

import msgspec

from workqueue import payload
from workqueue.arguments import checked_terms
from workqueue.errors import BatchNotFound, DuplicateJob, InvalidPayload, UsageError
from workqueue.job import JobStatus, Lane, NewJob, Terms
from workqueue.store.batching import BatchStanding
from workqueue.store.clock import instant, later, micros
from workqueue.store.gate import Gate, Kept
from workqueue.store.memory.beside import Beside, Key
from workqueue.store.memory.rows import Row, Rows

_LOOK_AGAIN: Final = timedelta(seconds=1)
_BATCHES_STAY: Final = timedelta(days=7)
_EXPIRED: Final = "expired before it could run"
_COUNTS: Final = {JobStatus.COMPLETED: "completed", JobStatus.FAILED: "failed", JobStatus.CANCELLED: "cancelled"}


class Keeping:
    """See the module. Its caller holds the store's lock."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.beside = Beside()
        self._before: list[Beside] = []
        self._last_batch = 0

    # a transaction, to be undone

    def begin(self) -> None:
        known = {each.name: getattr(self.beside, each.name) for each in fields(self.beside)}
        self._before.append(Beside(**{name: value.copy() for name, value in known.items()}))

    def commit(self) -> None:
        self._before.pop()

    def roll_back(self) -> None:
        self.beside = self._before.pop()

    # store

    def holder(self, new: NewJob, now: int) -> int | None:
        """Give the job that has the key of the new one, if it is not to be stored; what it replaces is cancelled.

        One that waits past its time has it no more, whether or not a sweep has come by: it is cancelled too.
        """
        if new.terms is None or new.terms.key is None:
            return None
        place = new.queue, new.name, new.terms.key
        found = next((row for row in self._open(new.queue) if _key(row) == place), None)
        if found is not None and _is_late(found, now) and self.expire(found, now):
            found = None
        job, until, _ = self.beside.taken.get(place, (0, 0, 0))
        holder = found.job.id if found is not None else job if until > now else None
        if holder is None:
            return None
        if new.on_conflict == "error":
            raise DuplicateJob(new.terms.key, holder)
        if new.on_conflict == "keep":
            return holder
        if found is not None and not self.cancel(found, now, "replaced by a later job"):
            return holder  # it runs
        self.beside.taken.pop(place, None)
        return None

    def resolved(self, new: NewJob, now: int, before: int | None) -> Terms | None:
        """Give the terms of a new job as they are stored. before: the job before it in the same push."""
        if new.terms is None and new.expires is None:
            return None
        terms = checked_terms(new.terms or Terms())
        if new.expires is not None:
            terms = msgspec.structs.replace(terms, expires_at=instant(later(now, new.expires)))
        if terms.follows is not None:
            if terms.follows != -1 or before is None:
                raise UsageError("expected a job to follow the one before it in the same push (follows=-1)")
            terms = msgspec.structs.replace(terms, follows=before)
        return terms

    def add(self, row: Row, new: NewJob, now: int) -> None:
        """Note what the terms of a new job change beside it."""
        terms = row.job.terms
        if terms is None:
            return
        row.following = terms.follows is not None or terms.follows_batch is not None
        if new.unique_for is not None and terms.key is not None:
            self.beside.taken[new.queue, new.name, terms.key] = row.job.id, later(now, new.unique_for), now
        if terms.batch is not None:
            standing = self.beside.batches.get(terms.batch)
            if standing is None or standing.sealed:
                raise UsageError(f"expected a batch that is open, but batch {terms.batch} is sealed or there is none")
            self._count(terms.batch, total=1)

    # claim

    def gate(self, queue: str, now: int) -> Gate:
        return Gate(
            _Facts(self, queue, now), instant(now), {name for where, name in self.beside.pauses if where == queue}
        )

    def is_paused(self, queue: str) -> bool:
        return (queue, "") in self.beside.pauses

    def next_opening(self, queue: str) -> int | None:
        return min(
            (opens_at for (where, _), (_, opens_at, _) in self.beside.closed.items() if where == queue), default=None
        )

    def open_lanes(self, queue: str, now: int) -> None:
        """Let go of what lanes of a rate keep back, where it is time to look again."""
        for (where, lane), (most, opens_at, _) in list(self.beside.closed.items()):
            if where == queue and opens_at <= now:
                self.let_go(queue, Kept.BY_RATE, lane, most)
                self.beside.closed[where, lane] = most, later(now, _LOOK_AGAIN), now
                if not self._kept(queue, Kept.BY_RATE, lane):
                    del self.beside.closed[where, lane]

    def note_starts(self, queue: str, gate: Gate, claimed: Iterable[Row], now: int) -> None:
        """Count the starts, and close the lanes that keep jobs back until they have room again."""
        for row in claimed:
            terms = row.job.terms
            if terms is not None and terms.rate is not None:
                place = queue, terms.rate.name
                self.beside.starts[place] = (*self.beside.starts.get(place, ()), now)
        for lane in gate.rates.values():
            place = queue, lane.name
            since = now - micros(lane.per)
            starts = self.beside.starts[place] = tuple(a for a in self.beside.starts.get(place, ()) if since < a <= now)
            most = lane.starts or 0
            if self._kept(queue, Kept.BY_RATE, lane.name):
                nth = sorted(starts, reverse=True)[most - 1 : most]
                self.beside.closed[place] = most, nth[0] + micros(lane.per) if nth else now, now

    def let_others_come(self, queue: str, gate: Gate) -> None:
        """Where a lane has room, because who was let go is kept back by something else, the next of it may come."""
        for lane in gate.limits.values():
            self.let_go(queue, Kept.BY_LIMIT, lane.name, gate.room(lane))

    def let_go(self, queue: str, by: Kept, lane: str, limit: int) -> None:
        """Let the best that the lane keeps back stand in line again."""
        kept = self._kept(queue, by, lane)  # by id, as an order wants it
        for row in (kept if by is Kept.BY_ORDER else sorted(kept, key=Row.order))[: max(0, limit)]:
            self._rows.change(row).kept = None

    def _kept(self, queue: str, by: Kept, lane: str) -> list[Row]:
        return [row for row in self._rows.of(queue) if row.kept is by and _lane(row.job.terms, by) == lane]

    # the end of jobs

    def stop(self, *rows: Row) -> None:
        """These jobs do not run any more, and may not be over: who waits for their slots, or their order, may come."""
        lanes = Counter(
            (row.job.queue, by, lane)
            for row in rows
            for by in (Kept.BY_ORDER, Kept.BY_LIMIT)  # of an order an earlier one may have become due meanwhile
            if (lane := _lane(row.job.terms, by)) is not None
        )
        for (queue, by, lane), count in lanes.items():
            self.let_go(queue, by, lane, count)

    def end(self, row: Row, now: int, status: JobStatus, result: bytes | None = None) -> None:
        """The job is over, as what, and with what result: let come what waited for it, and cancel what does in vain.

        Link by link, and what they have in common at the end: a chain may be longer than the stack.
        """
        if row.job.terms is None:
            return
        followers: Mapping[int, list[Row]] = self._followers() if row.job.terms.followed else {}
        over: list[tuple[Row, JobStatus]] = []
        ended = [(row, status)]
        while ended:
            for one, _ in ended:
                one.kept, one.following = None, False
            over += ended
            ended = [
                (follower, JobStatus.CANCELLED)
                for one, came_to in ended
                for follower in followers.get(one.job.id, ())
                if not self._call_follower(follower, one.job.id, now, came_to, result)
            ]
        self.stop(*(one for one, _ in over))
        counts = Counter((one.job.terms.batch, came_to) for one, came_to in over if one.job.terms is not None)
        for (batch, came_to), count in counts.items():
            if batch in self.beside.batches:
                self._count(batch, **{_COUNTS[came_to]: count})
                self.finish_batch(batch, now)

    def _followers(self) -> Mapping[int, list[Row]]:
        """Give what waits for other jobs to end, by the id of the job."""
        found: defaultdict[int, list[Row]] = defaultdict(list)
        for row in self._rows:
            if row.following and row.job.terms is not None and row.job.terms.follows is not None:
                found[row.job.terms.follows].append(row)
        return found

    def _call_follower(self, follower: Row, job: int, now: int, status: JobStatus, result: bytes | None) -> bool:
        """Let it come, now that the job before it has ended; False when it waited in vain and was cancelled."""
        if status is not JobStatus.COMPLETED:
            return not self._cancel(follower, now, f"job {job}, which it follows, is {status}")
        terms, data = follower.job.terms, follower.job.data
        if terms is not None and terms.into is not None:
            try:
                data = payload.with_member(data, terms.into, result or b"null")
            except InvalidPayload as error:  # a person may have edited it
                return not self._cancel(follower, now, str(error))
        self._call(follower, now)
        follower.job = msgspec.structs.replace(follower.job, data=data)
        return True

    def _call(self, follower: Row, now: int) -> None:
        self._rows.change(follower).following = False
        follower.ready = micros(follower.job.run_at) <= now

    def cancel(self, row: Row, now: int, reason: str) -> bool:
        """Cancel a job that waits, with all that follows from it; False when it does not wait."""
        if not self._cancel(row, now, reason):
            return False
        self.end(row, now, JobStatus.CANCELLED)
        return True

    def _cancel(self, row: Row, now: int, reason: str) -> bool:
        if not row.waits():
            return False
        row = self._rows.change(row)
        row.ready = False
        row.job = msgspec.structs.replace(row.job, status=JobStatus.CANCELLED, settled_at=instant(now), message=reason)
        return True

    def expire(self, row: Row, now: int) -> bool:
        return self.cancel(row, now, _EXPIRED)

    def may_reopen(self, row: Row) -> bool:
        """Say whether a job that has ended can be under way again: not where another one has its key by now."""
        return self.key_holder(row) is None

    def reopen(self, row: Row) -> None:
        """Count a job of a batch as under way again; called before it is."""
        batch = None if row.job.terms is None else row.job.terms.batch
        if batch is not None and batch in self.beside.batches:
            self._count(batch, **{_COUNTS[row.job.status]: -1})
            self.beside.done_at.pop(batch, None)

    # batches

    def open_batch(self, queue: str) -> int:
        self._last_batch += 1
        self.beside.batches[self._last_batch] = BatchStanding(id=self._last_batch, queue=queue)
        return self._last_batch

    def batch(self, batch: int) -> BatchStanding:
        standing = self.beside.batches.get(batch)
        if standing is None:
            raise BatchNotFound(batch)
        return standing

    def seal(self, batch: int, now: int) -> None:
        self.beside.batches[batch] = msgspec.structs.replace(self.batch(batch), sealed=True)
        self.finish_batch(batch, now)

    def members(self, batch: int) -> list[Row]:
        return [row for row in self._rows if row.job.terms is not None and row.job.terms.batch == batch]

    def finish_batch(self, batch: int, now: int) -> None:
        """Call what follows the batch, if its last job has ended."""
        if self.beside.batches[batch].is_done:
            self.beside.done_at.setdefault(batch, now)
            for row in self._rows:
                if row.following and row.job.terms is not None and row.job.terms.follows_batch == batch:
                    self._call(row, now)

    def _count(self, batch: int, **counts: int) -> None:
        standing = self.batch(batch)
        changed = {name: getattr(standing, name) + count for name, count in counts.items()}
        self.beside.batches[batch] = msgspec.structs.replace(standing, **changed)

    # pausing and sweeping

    def resume(self, queue: str, name: str) -> None:
        """Let jobs of this name (empty: the queue) be claimed again."""
        self.beside.pauses.discard((queue, name))
        for row in self._rows.of(queue):
            if row.kept is Kept.BY_PAUSE and row.job.name == name:
                self._rows.change(row).kept = None

    def sweep(self, queue: str, now: int, limit: int) -> int:
        """End waiting jobs past their time, and forget what was kept for long enough; give how many jobs it ended.

        Where the clock was set back, what was to last for a time lasts for that from now on, and no longer.
        """
        expired = [row for row in self._open(queue) if row.waits() and _is_late(row, now)]
        ended = sum(self.expire(row, now) for row in expired[:limit])
        beside = self.beside
        beside.results = {job: kept for job, kept in beside.results.items() if kept[1] > now}
        beside.taken = {
            place: (job, until, since) if since <= now else (job, now + until - since, now)
            for place, (job, until, since) in beside.taken.items()
            if until > now
        }
        for place, (most, _, since) in beside.closed.items():
            if since > now:
                beside.closed[place] = most, now, now
        gone = {job for job in beside.progress if not self._is_under_way_or_failed(job)}
        beside.progress = {job: data for job, data in beside.progress.items() if job not in gone}
        for batch, at in list(beside.done_at.items()):
            if at <= now - micros(_BATCHES_STAY):
                del beside.done_at[batch], beside.batches[batch]
        return ended

    def _is_under_way_or_failed(self, job: int) -> bool:
        row = self._rows.get(job)
        return row is not None and row.job.status is not JobStatus.COMPLETED

    def _open(self, queue: str) -> list[Row]:
        return [row for row in self._rows.of(queue) if row.waits() or row.runs()]

    def holders(self, queue: str, lane: str) -> list[int]:
        """Give the jobs of a lane that run."""
        ours = self._rows.of(queue)
        return [row.job.id for row in ours if row.runs() and _lane(row.job.terms, Kept.BY_LIMIT) == lane]

    def ahead(self, queue: str, order: str, job: int) -> Row | None:
        """Give the first job that one must wait for in its order."""
        others = [
            row
            for row in self._open(queue)
            if row.job.id != job and _lane(row.job.terms, Kept.BY_ORDER) == order
            if row.runs() or (row.job.id < job and (row.job.status is JobStatus.RETRYING or row.is_due_now()))
        ]
        return next(iter(others), None)

    def key_holder(self, row: Row) -> Row | None:
        """Give the job that waits or runs with the key of this one."""
        key = _key(row)
        return None if key is None else next((one for one in self._open(row.job.queue) if _key(one) == key), None)


class _Facts:
    """See `gate.Facts`."""

    def __init__(self, keeping: Keeping, queue: str, now: int) -> None:
        self._keeping = keeping
        self._queue = queue
        self._now = now

    def running(self, lane: str) -> int:
        return len(self._keeping.holders(self._queue, lane))

    def started(self, lane: Lane) -> int:
        since = self._now - micros(lane.per)
        return sum(at > since for at in self._keeping.beside.starts.get((self._queue, lane.name), ()))

    def is_behind(self, order: str, job: int) -> bool:
        return self._keeping.ahead(self._queue, order, job) is not None


def _lane(terms: Terms | None, by: Kept) -> str | None:
    if terms is None:
        return None
    if by is Kept.BY_ORDER:
        return terms.order
    lane = terms.limit if by is Kept.BY_LIMIT else terms.rate
    return None if lane is None else lane.name


def _is_late(row: Row, now: int) -> bool:
    """Say whether it was not to run any more."""
    terms = row.job.terms
    return terms is not None and terms.expires_at is not None and micros(terms.expires_at) <= now


def _key(row: Row) -> Key | None:
    terms = row.job.terms
    return None if terms is None or terms.key is None else (row.job.queue, row.job.name, terms.key)
