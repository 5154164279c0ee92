"""Which jobs a command means, where it means all that match: --status, --name, --text, --batch, --queue."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from typing import Final

import click
import msgspec

from workqueue.arguments import checked_text
from workqueue.cli.options import ID, name_option, queue_option
from workqueue.duration import times
from workqueue.job import JobStatus
from workqueue.store.contract import Store
from workqueue.store.paging import Find, walk

_COUNTED: Final = 1000  # jobs, before somebody is asked about them


class Filters(msgspec.Struct, frozen=True):
    """What was said of the jobs that are meant; nothing means any."""

    status: JobStatus | None = None
    name: str | None = None
    text: str | None = None
    batch: int | None = None
    queue: str | None = None

    def find(self, status: JobStatus | None = None) -> Find:
        """Give what the store is asked for. status: where none was said."""
        meant = status if self.status is None else self.status
        return Find(queue=self.queue, status=meant, name=self.name, text=self.text, batch=self.batch)

    def check(self, ids: Collection[int], *, alone: bool, but_queue: bool = False) -> None:
        """Raise UsageError if both were said, ids and filters; or neither, unless `alone` the command means something.

        but_queue: a queue may stand beside ids.
        """
        told = msgspec.structs.replace(self, queue=None) if ids and but_queue else self
        if bool(ids) and told != Filters():
            raise click.UsageError(
                "expected ids, or which jobs are meant by --status, --name, --text, --batch, --queue; got both"
            )
        if not (ids or alone or told != Filters()):  # all there are may be more than was meant
            raise click.UsageError(
                "expected ids, or which jobs are meant by --status, --name, --text, --batch, --queue; got none"
            )

    def question(self, store: Store, statuses: Collection[JobStatus]) -> str:
        """Say how many jobs these are, and which, as far as that is soon known. statuses: where none was said."""
        meant = statuses if self.status is None else [self.status]
        parts = [" or ".join(map(str, sorted(meant)))]
        parts += [
            f"{word} {value!r}" for word, value in (("name", self.name), ("text", self.text)) if value is not None
        ]
        parts += [] if self.batch is None else [f"batch {self.batch}"]
        parts += [] if self.queue is None else [f"queue {self.queue!r}"]
        return f"{self.count(store, meant)} of {store.path} ({', '.join(parts)})"

    def count(self, store: Store, statuses: Collection[JobStatus]) -> str:
        """Say how many jobs these are, exactly where that is soon known."""
        if self.name is None and self.text is None and self.batch is None:
            queues = [one for one in store.overview().queues if self.queue in (None, one.queue)]
            return times(sum(int(getattr(one, str(status), 0)) for one in queues for status in statuses), "job")
        found = 0
        for status in statuses:
            found += sum(1 for _ in walk(store.find, msgspec.structs.replace(self.find(status), limit=_COUNTED)))
        return times(found, "job") if found < _COUNTED else f"{_COUNTED:,} jobs or more"


def filter_options(*statuses: JobStatus) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add these options to a command, which gets what they say as `filters`. statuses: that make sense for it."""
    status_option = click.option(
        "--status", type=click.Choice([str(status) for status in statuses]), help="Only jobs of this status."
    )
    batch_option = click.option("--batch", type=ID, metavar="ID", help="Only jobs that were added to this batch.")
    text_option = click.option("--text", help="Only jobs with this in their message, or their data, just so.")

    def add(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def with_filters(
            *arguments: object,
            status: str | None,
            name: str | None,
            text: str | None,
            batch: int | None,
            queue: str | None,
            **others: object,
        ) -> None:
            for option, value in (("--name", name), ("--text", text), ("--queue", queue)):
                if value == "":  # of a variable that is not set, and each text has it
                    raise click.UsageError(f"expected something to look for after {option}, got: ''; else leave it out")
            meant = None if status is None else JobStatus[status.upper()]
            checked = None if text is None else checked_text(text, "--text")
            function(*arguments, filters=Filters(meant, name, checked, batch, queue), **others)

        return status_option(name_option(text_option(batch_option(queue_option(with_filters)))))

    return add
