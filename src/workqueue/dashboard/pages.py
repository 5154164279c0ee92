"""What one can look at: each page reads what it shows, and renders it. Nothing here changes anything."""

from __future__ import annotations

from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from workqueue import report, story
from workqueue.dashboard import filters
from workqueue.dashboard.desk import Desk
from workqueue.dashboard.filters import Filter
from workqueue.dashboard.notes import note
from workqueue.dashboard.rendering import Pages
from workqueue.errors import InvalidOption, JobNotFound
from workqueue.job import Attempt, Job, JobStatus
from workqueue.redaction import Redaction
from workqueue.report import Sight
from workqueue.store.contract import Outlook
from workqueue.store.paging import Find
from workqueue.words import bounded, clipped

SIGHT: Final = "workqueue.sight"  # in the scope
LARGEST_EDIT: Final = 128 * 1024  # bytes of data that a form takes; more than that belongs into a program
_MOST_LINES: Final = 2000
_LONGEST_LINE: Final = 4000
_FAILURES: Final = Find(status=JobStatus.FAILED, newest_first=True, limit=6)
_EDITABLE: Final = (JobStatus.PENDING, JobStatus.RETRYING, JobStatus.FAILED, JobStatus.CANCELLED)


class Looking:
    """The pages."""

    def __init__(self, desk: Desk, pages: Pages, redaction: Redaction) -> None:
        self._desk = desk
        self._pages = pages
        self._redaction = redaction

    def _sight(self, request: Request) -> Sight | None:
        """Give the figures that this request was answered with."""
        sight: Sight | None = request.scope[SIGHT]
        return sight

    async def overview(self, request: Request) -> Response:
        """Show how all is going: figures, charts, queues, the last failures."""
        desk, stretch = self._desk, filters.stretch(request.query_params)
        return self._pages.page(
            request,
            "overview.html",
            sight=self._sight(request),
            stretch=stretch,
            charts=await desk.charts(stretch),
            failures=(await desk.find(_FAILURES)).jobs,
            note=note(request.query_params),
        )

    async def queue(self, request: Request) -> Response:
        """Show one queue: its figures, its charts, its tasks, its schedules."""
        desk, told = self._desk, request.query_params
        queue, stretch = filters.required_name(told, "id"), filters.stretch(told)
        sight = self._sight(request)
        return self._pages.page(
            request,
            "queue.html",
            queue=queue,
            sight=sight,
            standing=None if sight is None else sight.standing(queue),
            paused=await desk.ask(desk.store.paused, queue),
            stretch=stretch,
            charts=await desk.charts(stretch, queue),
            tasks=await desk.tasks(stretch, queue),
            schedules=await desk.schedules(queue),
            note=note(told),
        )

    async def tasks(self, request: Request) -> Response:
        """Show what the tasks of all queues did."""
        desk, stretch = self._desk, filters.stretch(request.query_params)
        sight = self._sight(request)
        return self._pages.page(
            request,
            "tasks.html",
            tasks=await desk.tasks(stretch),
            paused={} if sight is None else sight.paused,
            stretch=stretch,
            note=note(request.query_params),
        )

    async def jobs(self, request: Request) -> Response:
        """List jobs, newest first, a page at a time."""
        desk, told = self._desk, request.query_params
        chosen = Filter.read(told)
        found = await desk.find(chosen.find())
        return self._pages.page(
            request,
            "jobs.html",
            chosen=chosen,
            jobs=found.jobs,
            next=found.next,
            sight=self._sight(request),
            now=await desk.ask(desk.store.now),
            statuses=list(dict.fromkeys(JobStatus)),
            note=note(told),
        )

    async def job(self, request: Request) -> Response:
        """Tell the whole story of one job."""
        job_id = _id(request)
        try:
            found = await self._desk.ask(self.read, job_id)
        except JobNotFound:
            return await self._gone(request, job_id)
        return await self.shown(request, *found)

    async def _gone(self, request: Request, job_id: int) -> Response:
        """Say what is known of a job that has left. Raises JobNotFound for an id that was never given out."""
        desk = self._desk
        why = await desk.ask(report.why, desk.store, job_id)
        outlook = (await desk.ask(desk.store.outlook, [job_id])).get(job_id, Outlook(status=None))
        result = None if outlook.result is None else _bounded(self._redaction.shown(outlook.result))
        return self._pages.page(
            request, "gone.html", 404, id=job_id, why=why.sentences, result=result, note=note(request.query_params)
        )

    async def shown(
        self, request: Request, job: Job, attempts: list[Attempt], outlook: Outlook, why: list[str], **changes: object
    ) -> Response:
        """Show a job; changes: what an edit that was refused adds to it."""
        desk = self._desk
        now = await desk.ask(desk.store.now)
        told: dict[str, object] = {
            "job": job,
            "events": story.told(job, attempts, now),
            "now": now,
            "why": why,
            "last_traceback": max((attempt.attempt for attempt in attempts if attempt.traceback), default=None),
            "error": "",
            "note": note(request.query_params),
            **await desk.ask(self._without_secrets, job, outlook),
        }
        return self._pages.answer(request, "job.html", told | changes, 400 if changes.get("error") else 200)

    def _without_secrets(self, job: Job, outlook: Outlook) -> dict[str, object]:
        """Give what may be seen of a job's data; of large ones that takes a while."""
        redaction = self._redaction
        may_edit = job.status in _EDITABLE and len(job.data) <= LARGEST_EDIT
        return {
            "data": _bounded(redaction.shown(job.data)),
            "result": None if outlook.result is None else _bounded(redaction.shown(outlook.result)),
            "progress": None if outlook.progress is None else _bounded(redaction.shown(outlook.progress)),
            "editing": redaction.editable(job.data) if may_edit else None,
            "mark": redaction.mark(job.data),
        }

    def read(self, job_id: int) -> tuple[Job, list[Attempt], Outlook, list[str]]:
        """Read all that is known of a job. Raises JobNotFound."""
        store = self._desk.store
        job = store.get(job_id)
        return (
            job,
            store.history(job_id),
            store.outlook([job_id]).get(job_id, Outlook(status=None)),
            report.why(store, job_id).sentences,
        )

    async def runners(self, request: Request) -> Response:
        """Show who runs jobs, and which."""
        desk = self._desk
        sight = self._sight(request)
        running = await desk.find(Find(status=JobStatus.RUNNING, newest_first=True, limit=filters.PER_PAGE))
        return self._pages.page(
            request,
            "runners.html",
            sight=sight,
            running=running.jobs,
            now=await desk.ask(desk.store.now),
            note=note(request.query_params),
        )

    async def schedules(self, request: Request) -> Response:
        """Show the periodic tasks: when they ran, and when they will."""
        desk = self._desk
        return self._pages.page(
            request, "schedules.html", schedules=await desk.schedules(), note=note(request.query_params)
        )

    async def batches(self, request: Request) -> Response:
        """List the batches, newest first."""
        desk, told = self._desk, request.query_params
        before = filters.whole(told, "before") if told.get("before") else None
        found = await desk.ask(desk.store.batches.newest, filters.PER_PAGE, before=before)
        return self._pages.page(
            request,
            "batches.html",
            batches=found,
            before=before,
            next=found[-1].id if len(found) == filters.PER_PAGE else None,
            note=note(told),
        )

    async def batch(self, request: Request) -> Response:
        """Show how one batch stands, and its jobs, newest first."""
        desk, number = self._desk, _id(request)
        batch = await desk.ask(desk.store.batches.get, number)
        found = await desk.find(Filter(batch=number).find())
        return self._pages.page(
            request,
            "batch.html",
            batch=batch,
            jobs=found.jobs,
            next=found.next,
            now=await desk.ask(desk.store.now),
            note=note(request.query_params),
        )


def _id(request: Request) -> int:
    """Give the id in the address. Raises HTTPException where none can be like that."""
    try:
        return filters.whole(request.path_params, "id")
    except InvalidOption as error:
        raise HTTPException(404) from error


def _bounded(lines: list[str]) -> list[str]:
    """Give no more than a page can bear, and say what is left out."""
    return [clipped(line, _LONGEST_LINE) for line in bounded(lines, _MOST_LINES)]
