"""What handlers tell of their progress, on its way to the store: as it comes, and the last word of jobs that stay."""

from __future__ import annotations

from collections.abc import Iterable

from workqueue.context import Context
from workqueue.job import JobStatus
from workqueue.lifecycle import Settlement
from workqueue.store.contract import Store


class Progress:
    """Belongs to the runner's thread."""

    def __init__(self, store: Store, runner: int) -> None:
        self._store = store
        self._runner = runner
        self._told: dict[int, bytes] = {}  # of jobs in hand, as the store has it
        self._last: dict[int, bytes] = {}  # of jobs that ended, and are not settled yet

    def note(self, in_hand: Iterable[Context]) -> None:
        """Keep what handlers said since the last time."""
        said = {context.job.id: context.progress_data for context in in_hand if context.progress_data is not None}
        new = {job: data for job, data in said.items() if self._told.get(job) != data}
        if new:
            self._store.note_progress(self._runner, new)
        self._told = said

    def ended(self, context: Context, settlement: Settlement) -> None:
        """Take the last word of a job; where it stays, `note_last` keeps it."""
        data, job_id = context.progress_data, context.job.id
        stays = settlement.keep and settlement.to is not JobStatus.COMPLETED
        if data is not None and stays and self._told.get(job_id) != data:
            self._last[job_id] = data

    def note_last(self) -> None:
        """Keep the last words, before their jobs are settled: only of jobs in a runner's hand anything is kept."""
        if self._last:
            self._store.note_progress(self._runner, self._last)
            self._last = {}
