"""What one can do: each form that was sent is acted on, and answered by a way back to a page."""

from __future__ import annotations

import time
from collections.abc import Mapping
from shlex import quote
from typing import Final, cast, get_args
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from workqueue import payload
from workqueue.arguments import one_of
from workqueue.dashboard import filters, guard
from workqueue.dashboard.desk import Desk
from workqueue.dashboard.filters import Filter, address
from workqueue.dashboard.pages import LARGEST_EDIT, Looking
from workqueue.dashboard.rendering import Pages
from workqueue.errors import InvalidOption, InvalidPayload, UsageError
from workqueue.job import Job, JobStatus
from workqueue.redaction import Redaction
from workqueue.report import Sight
from workqueue.store.paging import Deed, Find, Page, changes

_STEP: Final = 1.0  # seconds that one request may spend on changing many jobs
_AT_ONCE: Final = 1000  # jobs changed in one transaction
_DONE: Final = {"retry": "retried", "restore": "restored", "cancel": "cancelled", "delete": "deleted"}
_VERBS: Final = {"retry": "Retry", "restore": "Restore", "cancel": "Cancel", "delete": "Delete"}
_MEANING: Final = {
    "retry": "Failed and cancelled jobs wait again, with fresh counters; those that wait for their time are due now. "
    "Others are left as they are.",
    "restore": "Failed and cancelled jobs wait again, due now, with fresh counters. Others are left as they are.",
    "cancel": "Jobs that wait are cancelled at once; those that run are told to stop. Others are left as they are.",
    "delete": "Failed, cancelled and completed jobs go away for good, with their data and their history. This cannot "
    "be undone. Those that wait or run are left as they are.",
}
_SAMPLE: Final = 5


class Acting:
    """The forms."""

    def __init__(self, desk: Desk, pages: Pages, looking: Looking, redaction: Redaction) -> None:
        self._desk = desk
        self._pages = pages
        self._looking = looking
        self._redaction = redaction

    async def jobs(self, request: Request) -> Response:
        """Do one thing to the jobs that were chosen; deleting is asked about first."""
        told = _told(request)
        deed, back = _deed(told), filters.back(told, "/jobs")
        ids = [filters.whole({"id": value}, "id") for name, value in guard.entrance(request).form if name == "id"]
        if deed == "delete" and told.get("sure") != "yes":
            return self._ask_about(request, ids, back)
        done = await self._desk.ask(self._change_each, ids, deed)
        if deed == "delete" and back.startswith("/jobs/"):  # it is gone from there
            back = "/jobs"
        return self._back(request, back, _DONE[deed] if done else "nothing", done)

    def _change_each(self, ids: list[int], deed: Deed) -> int:
        return sum(self._desk.store.change(Find.only(job_id), deed).count for job_id in dict.fromkeys(ids))

    def _ask_about(self, request: Request, ids: list[int], back: str) -> Response:
        if not ids:
            return self._back(request, back, "nothing")
        return self._pages.page(
            request,
            "confirm.html",
            title=f"Delete {len(ids):,} {'job' if len(ids) == 1 else 'jobs'}?",
            lines=[_MEANING["delete"]],
            facts=[("Jobs", ", ".join(map(str, ids)))],
            action="/act/jobs",
            fields=[("deed", "delete"), ("sure", "yes"), ("back", back), *(("id", str(job_id)) for job_id in ids)],
            verb="Delete for good",
            destroys=True,
            back=back,
            jobs=[],
        )

    async def confirm(self, request: Request) -> Response:
        """Say what would be done to all jobs that match, before it is."""
        desk, told = self._desk, request.query_params
        deed, chosen = _deed(told), Filter.read(told).with_()
        found = await desk.find(chosen.find())
        first = found.jobs[0].id + 1 if found.jobs else found.next
        back = address("/jobs", **chosen.fields())
        if first is None:
            return self._back(request, back, "nothing")
        return self._pages.page(
            request,
            "confirm.html",
            title=f"{_VERBS[deed]} all jobs that match?",
            lines=[_MEANING[deed], "What is pushed from now on is not meant."],
            facts=[*_described(chosen), ("How many", _how_many(chosen, found, await desk.sight()))],
            action="/act/all",
            fields=[("deed", deed), ("done", "0"), ("before", str(first)), *chosen.fields().items()],
            verb=f"{_VERBS[deed]} {'for good' if deed == 'delete' else 'them'}",
            destroys=deed in ("cancel", "delete"),
            back=back,
            jobs=found.jobs[:_SAMPLE],
            now=await desk.ask(desk.store.now),
        )

    async def all(self, request: Request) -> Response:
        """Do one thing to all jobs that match, for a second; then say how far that came."""
        told = _told(request)
        deed, chosen, done = _deed(told), Filter.read(told), _number(told, "done")
        changed, following = await self._desk.ask(self._change_some, chosen, deed)
        done += changed
        back = address("/jobs", **chosen.with_().fields())
        if following is None:
            return self._back(request, back, _DONE[deed] if done else "nothing", done)
        self._desk.outdate()
        return self._pages.page(
            request,
            "confirm.html",
            title=f"{done:,} jobs so far",
            lines=[f"The rest, from job {following:,} downwards, is still to be looked at."],
            facts=_described(chosen),
            action="/act/all",
            fields=[("deed", deed), ("done", str(done)), ("before", str(following)), *chosen.with_().fields().items()],
            verb="Go on",
            destroys=False,
            back=back,
            leave="Stop here",
            goes_on=True,
            jobs=[],
        )

    def _change_some(self, chosen: Filter, deed: Deed) -> tuple[int, int | None]:
        until = time.monotonic() + _STEP
        done, following = 0, None
        for changed in changes(self._desk.store.change, chosen.find(_AT_ONCE), deed):
            done, following = done + changed.count, changed.next
            if time.monotonic() >= until:
                break
        return done, following

    async def edit(self, request: Request) -> Response:
        """Give a job other data, and try it again if that is wanted; what is wrong with them is said beside them."""
        told, desk = _told(request), self._desk
        job_id, typed = filters.whole(told, "id"), told.get("data", "")
        found = await desk.ask(self._looking.read, job_id)
        job = found[0]
        error = await desk.ask(self._edit, job, told.get("mark", ""), typed)
        if error:
            return await self._looking.shown(request, *found, error=error, typed=typed)
        if told.get("then") != "retry":
            return self._back(request, f"/jobs/{job_id}", "edited")
        retried = await desk.ask(desk.store.restore, job.queue, [job_id])
        return self._back(request, f"/jobs/{job_id}", "edited-retried" if retried else "edited")

    def _edit(self, job: Job, mark: str, typed: str) -> str:
        """Give a job the data that were typed; say what is wrong where that cannot be."""
        if mark != self._redaction.mark(job.data):
            return "Somebody else changed the data of the job meanwhile: reload the page, and edit what is there now."
        try:
            data = self._redaction.edited(typed, job.data)
            payload.check_size(data, limit=LARGEST_EDIT)
        except InvalidPayload as error:
            return str(error)
        except RecursionError:
            return "Expected data that are nested less deep: what they hide cannot be put back into them."
        if not self._desk.store.edit(job.id, data, was=job.data):
            return "The job runs or has ended, or somebody else changed its data just now: reload the page, and see."
        return ""

    async def pause(self, request: Request) -> Response:
        """Pause or resume a queue, or one task of it."""
        told, store = _told(request), self._desk.store
        queue, name = (
            filters.required_name(told, "queue"),
            filters.required_name(told, "name") if told.get("name") else None,
        )
        deed = one_of(told.get("deed", ""), ("pause", "resume"), "deed")
        await self._desk.ask(store.pause if deed == "pause" else store.resume, queue, name)
        return self._back(request, filters.back(told), "paused" if deed == "pause" else "resumed")

    async def schedule(self, request: Request) -> Response:
        """Pause, resume or trigger a schedule."""
        told, desk = _told(request), self._desk
        queue, name = filters.required_name(told, "queue"), filters.required_name(told, "name")
        deed, back = (
            one_of(told.get("deed", ""), ("pause", "resume", "trigger"), "deed"),
            filters.back(told, "/schedules"),
        )
        if deed == "trigger":
            if desk.queue is None or desk.queue.id != queue:
                raise UsageError(
                    f"expected a dashboard of the program that has {name!r} of queue {queue!r}, which alone knows what "
                    "its job is like, got one of the store; say `workqueue serve module:queue --allow-write`, or "
                    f"`workqueue schedules trigger {quote(name)} --app module:queue`"
                )
            await desk.ask(desk.queue.trigger, name)
            return self._back(request, back, "triggered")
        schedules = desk.store.schedules
        await desk.ask(schedules.pause if deed == "pause" else schedules.resume, queue, name)
        return self._back(request, back, "paused" if deed == "pause" else "resumed")

    async def confirm_batch(self, request: Request) -> Response:
        """Say what of a batch would be cancelled, before it is."""
        desk, batch = self._desk, filters.whole(request.query_params, "id")
        standing = await desk.ask(desk.store.batches.get, batch)
        return self._pages.page(
            request,
            "confirm.html",
            title=f"Cancel batch {batch}?",
            lines=[_MEANING["cancel"], "No more jobs can be added to it."],
            facts=[("Queue", standing.queue), ("Left", f"{standing.left:,} of {standing.total:,} jobs")],
            action="/act/batch",
            fields=[("id", str(batch))],
            verb="Cancel the batch",
            destroys=True,
            back=f"/batches/{batch}",
            jobs=[],
        )

    async def batch(self, request: Request) -> Response:
        """Cancel what is left of a batch."""
        batch = filters.whole(_told(request), "id")
        done = await self._desk.ask(self._desk.store.batches.cancel, batch)
        return self._back(request, f"/batches/{batch}", "batch-cancelled", done)

    def _back(self, request: Request, path: str, said: str, number: int | None = None) -> Response:
        """Lead back to a page, which says what was done."""
        self._desk.outdate()
        root = request.scope.get("root_path", "").rstrip("/")
        note = urlencode({"said": said, **({} if number is None else {"n": number})})
        return RedirectResponse(f"{root}{path}{'&' if '?' in path else '?'}{note}", 303)


def _told(request: Request) -> dict[str, str]:
    return dict(guard.entrance(request).form)


def _deed(told: Mapping[str, str]) -> Deed:
    return cast("Deed", one_of(told.get("deed", ""), get_args(Deed), "deed"))


def _number(told: Mapping[str, str], name: str) -> int:
    text = told.get(name, "0")
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise InvalidOption(f"expected {name} to be a number, got: {text!r:.40}", name=name, value=text)
    return int(text)


def _described(chosen: Filter) -> list[tuple[str, str]]:
    """Say in words which jobs are meant."""
    words = {"status": "Status", "queue": "Queue", "name": "Task", "text": "Contains", "batch": "Batch"}
    fields = chosen.with_().fields()
    return [(words[name], value) for name, value in fields.items()] or [("Jobs", "all of them, in every queue")]


def _how_many(chosen: Filter, found: Page, sight: Sight | None) -> str:
    """Say how many jobs match, as far as that can be told without counting all of them."""
    if found.next is None:
        return f"{len(found.jobs):,}"
    if sight is None or chosen.name or chosen.text or chosen.batch or chosen.status in (None, JobStatus.COMPLETED):
        return f"more than {len(found.jobs):,}" if found.jobs else "none among the newest; the rest is looked through"
    standing = sight.total if chosen.queue is None else sight.standing(chosen.queue)
    known: dict[JobStatus, int] = {
        JobStatus.PENDING: standing.pending,
        JobStatus.RETRYING: standing.retrying,
        JobStatus.RUNNING: standing.running,
        JobStatus.FAILED: standing.failed,
        JobStatus.CANCELLED: standing.cancelled,
    }
    return f"{known[chosen.status]:,} a moment ago"
