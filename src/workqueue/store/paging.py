"""Going through pages: which jobs are meant, and all of them one after another, to look at them or to change them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from workqueue.arguments import LARGEST_ID
from workqueue.job import Job, JobStatus
from workqueue.lifecycle import FINAL, WAITING


class Find(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs are meant, in the order of their ids: upwards, or `newest_first`. None means any.

    text: stands so, upper and lower case told apart, in the job's message, or as UTF-8 in its data. batch: the one that
    it was added to. after, before: only ids above, or below. limit: jobs in one page.
    """

    queue: str | None = None
    status: JobStatus | None = None
    name: str | None = None
    text: str | None = None
    batch: int | None = None
    after: int = 0
    before: int | None = None
    newest_first: bool = False
    limit: int = 100

    @classmethod
    def only(cls, job: int, *, queue: str | None = None) -> Find:
        """Mean one job."""
        return cls(queue=queue, after=job - 1, before=min(job + 1, LARGEST_ID), limit=1)

    def beyond(self, last: int) -> Find:
        """Give what is left to be found after a page that ended at this id (`Page.next`)."""
        if self.newest_first:
            return msgspec.structs.replace(self, before=last)
        return msgspec.structs.replace(self, after=last)


class Page(msgspec.Struct, frozen=True):
    """Some of the jobs that were meant. next: what to go on from, by `Find.beyond`; None at the end, and only there."""

    jobs: list[Job]
    next: int | None


Deed: TypeAlias = Literal["cancel", "retry", "restore", "delete"]
"""cancel: as `Store.cancel`. restore: as `Store.restore`, failed and cancelled ones. delete: what is settled.

retry: as restore; and what waits for its time is due now, with its counters as they are."""

_RESTORABLE: Final = frozenset({JobStatus.FAILED, JobStatus.CANCELLED})
DONE_TO: Final[Mapping[Deed, frozenset[JobStatus]]] = {
    "cancel": WAITING | {JobStatus.RUNNING},
    "retry": WAITING | _RESTORABLE,
    "restore": _RESTORABLE,
    "delete": FINAL,
}
"""To jobs of which status each can be done."""


class Changed(msgspec.Struct, frozen=True):
    """What came of a page. count: jobs of it that were changed. next: as of a Page."""

    count: int
    next: int | None


def walk(find: Callable[[Find], Page], which: Find, *, at_once: int = 1000) -> Iterator[Job]:
    """Give the jobs that are meant, as many as `which.limit`, in pages of `at_once`. find: the store's."""
    left = which.limit
    while left > 0:
        page = find(msgspec.structs.replace(which, limit=min(at_once, left)))
        yield from page.jobs
        left -= len(page.jobs)
        if page.next is None:
            return
        which = which.beyond(page.next)


def look_on(find: Callable[[Find], Page], which: Find, seconds: float) -> Page:
    """Give a page, as full as it can be within so many seconds; `next` says how far that came. find: the store's."""
    until = time.monotonic() + seconds
    jobs: list[Job] = []
    while True:
        page = find(msgspec.structs.replace(which, limit=which.limit - len(jobs)))
        jobs += page.jobs
        if page.next is None or len(jobs) >= which.limit or time.monotonic() >= until:
            return Page(jobs, page.next)
        which = which.beyond(page.next)


def changes(change: Callable[[Find, Deed], Changed], which: Find, deed: Deed) -> Iterator[Changed]:
    """Do it to all that are meant, `which.limit` in a page, and give what came of each page. change: the store's."""
    while True:
        changed = change(which, deed)
        yield changed
        if changed.next is None:
            return
        which = which.beyond(changed.next)
