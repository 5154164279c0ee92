"""What people ask of a queue's jobs, and what they do to them: one by one, or all that match."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

import msgspec

from workqueue import arguments
from workqueue.arguments import LARGEST_ID, as_status, between, checked_name, checked_text
from workqueue.errors import InvalidOption
from workqueue.job import Attempt, Job, JobStatus, Size
from workqueue.store.contract import Store
from workqueue.store.paging import DONE_TO, Deed, Find, changes, walk

_AT_ONCE: Final = 500  # jobs in one transaction
_DONE: Final = {"cancel": "cancelled", "retry": "let run again", "restore": "restored", "delete": "deleted"}


class Steering(ABC):
    """See the module; `Queue` is one."""

    id: str

    @abstractmethod
    def _open_store(self) -> Store:
        """Give the store. Raises QueueClosed."""

    @abstractmethod
    def _encode(self, obj: object) -> bytes:
        """Give the data of a job. Raises InvalidPayload."""

    # look

    def size(self) -> Size:
        """Count this queue's jobs."""
        return self._open_store().size(self.id)

    def get(self, job_id: int) -> Job:
        """Give one job. Raises JobNotFound; a completed job has left the file, unless such jobs are kept."""
        return self._open_store().get(arguments.job_id(job_id))

    def jobs(
        self,
        *,
        status: JobStatus | str | None = None,
        name: str | None = None,
        text: str | None = None,
        batch: int | None = None,
        limit: int = 100,
        after: int = 0,
        before: int | None = None,
        newest_first: bool = False,
    ) -> list[Job]:
        """List this queue's jobs by id, upwards, or the newest first.

        text: stands in the job's message, or in its data, just so. batch: the id of the one it was added to. after,
        before: only ids above, or below, such as the last id of the page before. Without an index for what is asked it
        goes through all jobs until it has enough.
        """
        which = msgspec.structs.replace(
            self._meant(None if status is None else as_status(status), name, text, batch),
            after=between(after, 0, LARGEST_ID, "after"),
            before=None if before is None else between(before, 0, LARGEST_ID, "before"),
            newest_first=newest_first,
            limit=between(limit, 1, 1_000_000, "limit"),
        )
        return list(walk(self._open_store().find, which))

    def history(self, job_id: int) -> list[Attempt]:
        """Give the attempts of a job that did not complete: error, traceback, runner, duration."""
        return self._open_store().history(job_id) if arguments.may_be_job_id(job_id) else []

    def check(self) -> list[str]:
        """Give each broken invariant of the file as a sentence; [] when all is well."""
        return self._open_store().check()

    # one by one

    def cancel(self, job_id: int) -> bool:
        """Cancel a waiting job at once, or tell a running one (`ctx.cancelled`); False when it was settled already."""
        return self._open_store().cancel(arguments.job_id(job_id))

    def restore(self, *job_ids: int) -> int:
        """Make these failed or cancelled jobs wait again, with fresh counters; gives how many of them there were."""
        known = [job_id for job_id in job_ids if arguments.may_be_job_id(job_id)]
        return self._open_store().restore(self.id, known)

    def retry(self, *job_ids: int) -> int:
        """Run these jobs again now: those that wait for their time are due, the others are restored; gives how many."""
        store = self._open_store()
        known = [job_id for job_id in dict.fromkeys(job_ids) if arguments.may_be_job_id(job_id)]
        return sum(store.change(Find.only(job_id, queue=self.id), "retry").count for job_id in known)

    def edit(self, job_id: int, obj: object) -> bool:
        """Give a job that waits, failed or was cancelled other data; False for another one. Raises JobNotFound."""
        return self._open_store().edit(arguments.job_id(job_id), self._encode(obj))

    # all that match

    def cancel_jobs(
        self,
        *,
        status: JobStatus | str | None = None,
        name: str | None = None,
        text: str | None = None,
        batch: int | None = None,
    ) -> int:
        """Cancel the jobs that match, as `cancel` does, in steps of some hundred; gives how many.

        status: pending, retrying or running; any of them, if not said. name, text, batch: as for `jobs`. When it
        raises, the steps before are done, and the error's `__notes__` say how many jobs those were.
        """
        return self._change("cancel", self._meant(_status("cancel", status), name, text, batch))

    def retry_jobs(
        self,
        *,
        status: JobStatus | str | None,
        name: str | None = None,
        text: str | None = None,
        batch: int | None = None,
    ) -> int:
        """Run the jobs that match again now, as `retry` does, in steps as `cancel_jobs`; gives how many.

        status: retrying, pending, failed or cancelled; None for all of these.
        """
        return self._change("retry", self._meant(_status("retry", status), name, text, batch))

    def restore_jobs(
        self,
        *,
        status: JobStatus | str | None = JobStatus.FAILED,
        name: str | None = None,
        text: str | None = None,
        batch: int | None = None,
    ) -> int:
        """Make the jobs that match wait again, as `restore` does, in steps as `cancel_jobs`; gives how many.

        status: failed or cancelled; None for both. A completed job is not restored: push it again.
        """
        return self._change("restore", self._meant(_status("restore", status), name, text, batch))

    def clean_jobs(
        self,
        *,
        status: JobStatus | str | None,
        name: str | None = None,
        text: str | None = None,
        batch: int | None = None,
    ) -> int:
        """Delete the jobs that match, in steps as `cancel_jobs`; gives how many.

        status: failed, cancelled or completed; None for all of these.
        """
        return self._change("delete", self._meant(_status("delete", status), name, text, batch))

    def restore_failed_jobs(self) -> int:
        """Make all failed jobs wait again, with fresh counters; gives how many."""
        return self._open_store().restore(self.id, None)

    def clean_failed_jobs(self) -> int:
        """Delete all failed jobs; gives how many."""
        return self._open_store().clean(self.id, JobStatus.FAILED)

    def clean_cancelled_jobs(self) -> int:
        """Delete all cancelled jobs; gives how many."""
        return self._open_store().clean(self.id, JobStatus.CANCELLED)

    def _meant(self, status: JobStatus | None, name: str | None, text: str | None, batch: int | None) -> Find:
        return Find(
            queue=self.id,
            status=status,
            name=None if name is None else checked_name(name, "name"),
            text=None if text is None else checked_text(text, "text"),
            batch=None if batch is None else between(batch, 1, LARGEST_ID, "batch"),
        )

    def _change(self, deed: Deed, which: Find) -> int:
        which = msgspec.structs.replace(which, newest_first=True, limit=_AT_ONCE)  # what is pushed meanwhile is not met
        store = self._open_store()
        count = 0
        try:
            for changed in changes(store.change, which, deed):
                count += changed.count
        except BaseException as error:
            error.add_note(f"{count:,} jobs had been {_DONE[deed]} before this")
            raise
        return count

    # all of them

    def pause(self, name: str | None = None) -> None:
        """Let no more jobs be started, or only none of this name; those that run go on. Holds until `resume`."""
        self._open_store().pause(self.id, None if name is None else checked_name(name, "name"))

    def resume(self, name: str | None = None) -> None:
        """Undo the `pause` of the same name, or of the whole queue."""
        self._open_store().resume(self.id, None if name is None else checked_name(name, "name"))

    def paused(self) -> list[str | None]:
        """Give the names that are paused; None, which comes first, means the whole queue."""
        return self._open_store().paused(self.id)


def _status(deed: Deed, status: JobStatus | str | None) -> JobStatus | None:
    """Give the status of the jobs that are meant. Raises InvalidOption for one to whose jobs that cannot be done."""
    meant = None if status is None else as_status(status)
    if meant is not None and meant not in DONE_TO[deed]:
        words = ", ".join(map(str, sorted(DONE_TO[deed])))
        raise InvalidOption(
            f"expected status to be one of {words}, whose jobs can be {_DONE[deed]}, got: {meant}",
            name="status",
            value=status,
        )
    return meant
