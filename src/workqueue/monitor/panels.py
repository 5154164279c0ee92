"""What the monitor shows, as rows: of queues and their tasks, of who runs what, of failures, of jobs. Pure.

A row says what it is of, so that a key pressed on it knows whom it means. How it is drawn is for others to know.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

import msgspec

from workqueue.duration import span
from workqueue.job import Job, JobStatus
from workqueue.monitor.desk import Failure, Frame, Running
from workqueue.redaction import clean, usual
from workqueue.report import Sight, TaskFigures
from workqueue.store.contract import Standing, TaskStanding
from workqueue.store.situation import Enlisted
from workqueue.words import ago, count, printable, seconds

Tone: TypeAlias = Literal["plain", "strong", "faint", "good", "bad", "busy", "wait"]

_MOST_ROWS: Final = 1000
_MINUTE: Final = timedelta(minutes=1)
_SOONEST: Final = timedelta(seconds=15)
NOTHING: Final = "·"  # a zero, so that the eye finds what is none
STATUS_TONES: Final[Mapping[JobStatus, Tone]] = {
    JobStatus.PENDING: "plain",
    JobStatus.RETRYING: "wait",
    JobStatus.RUNNING: "busy",
    JobStatus.FAILED: "bad",
    JobStatus.CANCELLED: "faint",
    JobStatus.COMPLETED: "good",
}


class Subject(msgspec.Struct, frozen=True):
    """What a row is of: a queue, its jobs of one name, or one job."""

    queue: str
    name: str | None = None
    job: int | None = None

    def __str__(self) -> str:
        if self.job is not None:
            return f"job {self.job} {self.name!r} of queue {self.queue!r}"
        return f"queue {self.queue!r}" if self.name is None else f"task {self.name!r} of queue {self.queue!r}"


class Cell(msgspec.Struct, frozen=True):
    """What stands in a column of a row."""

    text: str
    tone: Tone = "plain"


class Column(msgspec.Struct, frozen=True):
    """A column. width: of its cells, None: what is left; narrow: where there is little room.

    least: columns of a terminal below which it is not shown.
    """

    title: str
    width: int | None = None
    right: bool = False
    least: int = 0
    narrow: int | None = None


class Row(msgspec.Struct, frozen=True):
    """A line of a panel. key: the same from frame to frame."""

    key: str
    subject: Subject | None
    cells: list[Cell]


WORK: Final = [
    Column("QUEUES AND TASKS"),
    Column("WAITING", 9, right=True),
    Column("NOT DUE", 9, right=True, least=100),
    Column("RUNNING", 7, right=True),
    Column("FAILED", 8, right=True),
    Column("OLDEST", 8, right=True),
    Column("DONE 1H", 9, right=True),
    Column("RETRIED", 7, right=True, least=100),
    Column("P50", 6, right=True, least=110),
    Column("P95", 6, right=True, least=100),
]
RUNNERS: Final = [
    Column("RUNNERS", 22, narrow=18),
    Column("QUEUE", 14, least=100),
    Column("JOB", 9, right=True, narrow=7),
    Column("TASK", 24, narrow=18),
    Column("FOR", 7, right=True),
    Column("TRY", 3, right=True, least=90),
    Column("PROGRESS"),
]
FAILURES: Final = [
    Column("FAILURES", 9),
    Column("JOB", 9, right=True, narrow=7),
    Column("QUEUE", 14, least=130),
    Column("TASK", 20, narrow=15),
    Column("TRY", 3, right=True, least=90),
    Column("THEN", 9, narrow=8),
    Column("MESSAGE"),
]
JOBS: Final = [
    Column("JOB", 9, right=True),
    Column("STATUS", 9),
    Column("QUEUE", 14, least=130),
    Column("TASK", 24, narrow=18),
    Column("TRY", 3, right=True),
    Column("PUSHED", 9, least=90),
    Column("RUN AT", 9),
    Column("MESSAGE"),
]


def work(frame: Frame, wanted: str = "") -> list[Row]:
    """Give a row for each queue, and below it one for each of its tasks. wanted: stands in the name of either."""
    sight = frame.sight
    if sight is None:
        return []
    standings = {standing.queue: standing for standing in sight.overview.queues}
    tasks = _tasks(frame, sight)
    rows: list[Row] = []
    for queue in sorted(standings.keys() | tasks.keys() | sight.paused.keys()):
        shown = [task for task in tasks[queue] if wanted in queue or wanted in task.name]
        if shown or wanted in queue:
            standing = standings.get(queue, Standing(queue=queue))
            rows.append(_queue_row(standing, tasks[queue], frame.now, sight))
            rows += [_task_row(task) for task in shown]
    return rows[:_MOST_ROWS]


class _Task(msgspec.Struct, frozen=True):
    """A task of a queue, with all that is known of it. more: there may be more jobs than the standing says."""

    name: str
    done: TaskFigures
    standing: TaskStanding
    running: int
    paused: bool
    more: bool


def _tasks(frame: Frame, sight: Sight) -> defaultdict[str, list[_Task]]:
    """Give the tasks of each queue: those that did something, have jobs, or are paused."""
    done = {(task.queue, task.name): task for task in frame.tasks}
    standings = {(standing.queue, standing.name): standing for standing in frame.standings}
    running = Counter((one.job.queue, one.job.name) for one in frame.running)
    paused = {(queue, name) for queue, names in sight.paused.items() for name in names if name is not None}
    found: defaultdict[str, list[_Task]] = defaultdict(list)
    for queue, name in sorted(done.keys() | standings.keys() | running.keys() | paused):
        key = queue, name
        found[queue].append(
            _Task(
                name,
                done.get(key, TaskFigures(queue=queue, name=name)),
                standings.get(key, TaskStanding(queue=queue, name=name)),
                running[key],
                key in paused,
                not frame.counted_all,
            )
        )
    return found


def _queue_row(standing: Standing, tasks: Sequence[_Task], now: datetime, sight: Sight) -> Row:
    paused = None in sight.paused.get(standing.queue, [])
    alone = standing.due > 0 and not sight.runners(standing.queue)
    note = "  paused" if paused else "  no runner" if alone else ""
    return Row(
        f"queue {standing.queue}",
        Subject(standing.queue),
        [
            Cell(f"{printable(standing.queue)}{note}", "wait" if note else "strong"),
            _number(standing.due, "plain"),
            _number(standing.later, "faint"),
            _number(standing.running, "busy"),
            _number(standing.failed, "bad"),
            _oldest(standing.oldest_due, now),
            _number(sum(task.done.completed for task in tasks), "good"),
            _number(sum(task.done.retried for task in tasks), "wait"),
            Cell(""),
            Cell(""),
        ],
    )


def _task_row(task: _Task) -> Row:
    standing, done = task.standing, task.done
    return Row(
        f"task {standing.queue} {task.name}",
        Subject(standing.queue, task.name),
        [
            Cell(f"  {printable(task.name)}{'  paused' if task.paused else ''}", "wait" if task.paused else "plain"),
            _number(standing.due, "plain", more=task.more),
            _number(standing.later, "faint", more=task.more),
            _number(max(task.running, standing.running), "busy"),
            _number(standing.failed, "bad", more=task.more),
            Cell(""),
            _number(done.completed, "good"),
            _number(done.retried, "wait"),
            Cell(seconds(done.run.p50), "faint"),
            Cell(seconds(done.run.p95), "faint"),
        ],
    )


def runners(frame: Frame, wanted: str = "") -> list[Row]:
    """Give a row for each job that runs, by runner, and for each runner that has none."""
    listed = [] if frame.sight is None else frame.sight.overview.runners
    jobs: defaultdict[tuple[str, str], list[Running]] = defaultdict(list)
    for one in frame.running:
        if wanted in one.job.queue or wanted in one.job.name:
            jobs[one.job.queue, one.job.runner].append(one)
    rows: list[Row] = []
    for runner in listed:
        its = jobs.pop((runner.queue, runner.label), [])
        rows += [_running_row(one, frame.now, runner if place == 0 else None) for place, one in enumerate(its)]
        if not its and not (wanted and wanted not in runner.queue):
            rows.append(_idle_row(runner))
    for left in jobs.values():  # their runners are not on the list any more
        rows += [_running_row(one, frame.now, None, gone=True) for one in left]
    return rows


def _running_row(one: Running, now: datetime, runner: Enlisted | None, *, gone: bool = False) -> Row:
    job = one.job
    who = _runner_cell(runner) if runner is not None else Cell(printable(job.runner) if gone else "", "bad")
    said = "asked to stop" if job.cancel_requested else _progress(one.progress)
    return Row(
        f"job {job.id}",
        Subject(job.queue, job.name, job.id),
        [
            who,
            Cell(printable(job.queue), "faint"),
            Cell(str(job.id), "faint"),
            Cell(printable(job.name), "busy"),
            Cell(_lasts(job, now)),
            Cell(str(job.attempt), "faint" if job.attempt == 1 else "wait"),
            Cell(said, "wait" if job.cancel_requested else "faint"),
        ],
    )


def _lasts(job: Job, now: datetime) -> str:
    """Say for how long it runs, to the second, where that is known."""
    if job.claimed_at is None:
        return ""
    whole = timedelta(seconds=int((now - job.claimed_at).total_seconds()))
    return span(whole) if whole > timedelta(0) else "0s"


def _idle_row(runner: Enlisted) -> Row:
    doing = "ended" if not runner.alive else "idle" if not runner.running else "starting"
    return Row(
        f"runner {runner.id}",
        Subject(runner.queue),
        [
            _runner_cell(runner),
            Cell(printable(runner.queue), "faint"),
            Cell(""),
            Cell(doing, "faint" if runner.alive else "bad"),
            Cell(""),
            Cell(""),
            Cell(""),
        ],
    )


def _runner_cell(runner: Enlisted) -> Cell:
    return Cell(f"{runner.id} {printable(runner.label)}", "plain" if runner.alive else "bad")


def _progress(said: object) -> str:
    if isinstance(said, str):
        return printable(clean(said))
    return "" if said is None else " ".join(line.strip() for line in usual.shown(msgspec.json.encode(said)))


def failures(frame: Frame, wanted: str = "") -> list[Row]:
    """Give a row for each attempt that failed, the newest first."""
    return [
        _failure_row(one, frame.now)
        for one in frame.failures
        if wanted in one.job.queue or wanted in one.job.name or wanted in one.job.message
    ]


def _failure_row(one: Failure, now: datetime) -> Row:
    job = one.job
    if job.status is JobStatus.FAILED:
        then, tone = Cell("for good", "bad"), "bad"
    else:
        soon = job.run_at - now < timedelta(seconds=1)
        then, tone = Cell("again" if soon else ago(job.run_at, now), "wait"), "wait"
    return Row(
        f"failure {job.id}",
        Subject(job.queue, job.name, job.id),
        [
            Cell(ago(one.at, now) or "?", "faint"),
            Cell(str(job.id), "faint"),
            Cell(printable(job.queue), "faint"),
            Cell(printable(job.name)),
            Cell(str(job.attempt), "faint"),
            then,
            Cell(printable(clean(job.message)), "bad" if tone == "bad" else "plain"),
        ],
    )


def jobs(found: Iterable[Job], now: datetime) -> list[Row]:
    """Give a row for each of these jobs."""
    return [
        Row(
            f"job {job.id}",
            Subject(job.queue, job.name, job.id),
            [
                Cell(str(job.id)),
                Cell(str(job.status), STATUS_TONES[job.status]),
                Cell(printable(job.queue), "faint"),
                Cell(printable(job.name)),
                Cell(str(job.attempt) if job.attempt else "", "faint"),
                Cell(ago(job.pushed_at, now), "faint"),
                Cell(ago(job.run_at, now) if job.status in (JobStatus.PENDING, JobStatus.RETRYING) else "", "faint"),
                Cell(printable(clean(job.message)), "faint"),
            ],
        )
        for job in found
    ]


def figures(frame: Frame) -> list[tuple[str, Cell]]:
    """Give the figures of the whole store, each with its word."""
    sight = frame.sight
    if sight is None:
        return [("counting …", Cell(""))]
    total = sight.total
    alive = sum(runner.alive for runner in sight.overview.runners)
    return [
        ("waiting", _figure(total.due, "plain")),
        ("running", _figure(total.running, "busy")),
        ("failed", _figure(total.failed, "bad")),
        ("oldest", Cell(_oldest(total.oldest_due, frame.now).text or "–")),
        ("runners" if alive != 1 else "runner", Cell(count(alive), "strong" if alive else "bad")),
        ("retrying", _figure(total.retrying, "wait")),
        ("not due", _figure(total.later, "plain")),
    ]


def minutes(frame: Frame) -> tuple[list[float], list[float]]:
    """Give how many jobs completed, and how many attempts failed, in each minute; the one that is not over, as if."""
    points = frame.points
    if not points:
        return [], []
    gone = max(timedelta(0), frame.now - points[-1].at)
    if gone < _SOONEST:  # too little of it to tell
        points, gone = points[:-1], _MINUTE
    scale = [1.0] * (len(points) - 1) + [max(1.0, _MINUTE / gone)]
    return (
        [point.completed * by for point, by in zip(points, scale, strict=True)],
        [(point.failed + point.retried + point.lost) * by for point, by in zip(points, scale, strict=True)],
    )


def notes(frame: Frame) -> list[str]:
    """Give what is to be known of the whole store, as sentences."""
    sight = frame.sight
    return [] if sight is None else [printable(move) for move in sight.overview.moves]


def _figure(value: int, tone: Tone) -> Cell:
    return Cell(count(value), tone if value and tone != "plain" else "strong" if value else "plain")


def _number(value: int, tone: Tone, *, more: bool = False) -> Cell:
    """Give a count. more: or more than that."""
    return Cell(f"{value:,}{'+' if more else ''}", tone) if value else Cell("?" if more else NOTHING, "faint")


def _oldest(at: datetime | None, now: datetime) -> Cell:
    if at is None:
        return Cell("")
    waits = max(timedelta(0), now - at)
    return Cell(
        span(waits) if waits >= timedelta(seconds=1) else "now", "plain" if waits < timedelta(minutes=1) else "wait"
    )
