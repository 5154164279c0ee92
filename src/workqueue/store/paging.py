"""Going through pages: all that is meant, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from workqueue.job import Job
from workqueue.store.contract import Find, Page


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
