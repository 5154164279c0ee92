"""status, jobs, show, why, check: what is in a file. They change nothing, and make no file."""

from __future__ import annotations

from datetime import datetime, timedelta

import click
import msgspec

from workqueue import report
from workqueue.backoff import Backoff
from workqueue.cli.codes import Code
from workqueue.cli.command import Command, examples
from workqueue.cli.filters import Filters, filter_options
from workqueue.cli.options import ID, existing, file_argument, id_option, json_option, queue_option
from workqueue.cli.output import complain, facts, job_record, say, say_json, table
from workqueue.cli.pausing import pause_said
from workqueue.duration import span, times
from workqueue.job import Attempt, Job, JobStatus, Terms
from workqueue.redaction import SECRETS, Redaction, clean
from workqueue.store import is_url
from workqueue.store.contract import Overview
from workqueue.store.paging import walk
from workqueue.words import moment, printable, shortened


@click.command(
    cls=Command,
    short_help="Count jobs by queue and status; list runners.",
    epilog=examples(
        "workqueue status jobs.db",
        "workqueue status --queue mail        # of the store that WORKQUEUE_URL or pyproject.toml names",
        "workqueue status jobs.db --json | jq '.queues[].failed'",
    ),
)
@file_argument
@queue_option
@json_option
def status(file: str, *, queue: str | None, as_json: bool) -> None:
    """Count the jobs of FILE by queue and status, and list who runs them."""
    with existing(file) as store:
        found = report.overview(store, queue)
        pauses = report.paused(store, [standing.queue for standing in found.queues])
        path = store.path
    if as_json:
        say_json({"path": printable(path), **_figures(found), "paused": pauses})
        return
    for move in found.moves:
        say(f"note: {move}")
    if not found.queues:
        say(f"{path} has no jobs and no runners")
        return
    say(path)
    kept = any(standing.completed for standing in found.queues)
    table(
        [
            *("QUEUE", "PENDING", "RETRYING", "RUNNING", "FAILED", "CANCELLED"),
            *(["COMPLETED"] if kept else []),
            *("NOT YET DUE", "OLDEST DUE"),
        ],
        [
            [
                *(q.queue, q.pending, q.retrying, q.running, q.failed, q.cancelled),
                *([q.completed] if kept else []),
                *(q.later, _since(found, q.oldest_due)),
            ]
            for q in found.queues
        ],
        paint={"FAILED": "red", "RETRYING": "yellow", "RUNNING": "cyan"},
    )
    for pause in pauses:
        say(f"paused: {pause_said(pause.queue, pause.name)}")
    say()
    if found.runners:
        table(
            ["RUNNER", "QUEUE", "PROCESS", "SINCE", "STATE", "RUNNING"],
            [
                [r.id, r.queue, r.label, moment(r.started_at), "alive" if r.alive else "dead", r.running]
                for r in found.runners
            ],
        )
    else:
        say("no runners")


def _figures(found: Overview) -> dict[str, object]:
    return {
        "now": found.now,
        "queues": found.queues,
        "runners": found.runners,
        "moves": found.moves,
        "engine": found.engine,
    }


def _since(found: Overview, at: datetime | None) -> str:
    return "" if at is None else span(found.now - at)


@click.command(
    cls=Command,
    short_help="List jobs, a page at a time.",
    epilog=examples(
        "workqueue jobs jobs.db --status failed",
        "workqueue jobs jobs.db --name mail --text ada@example.org --newest",
        "workqueue jobs jobs.db --limit 20 --after 1040",
        "workqueue jobs jobs.db --json | jq '.[].id'",
    ),
)
@file_argument
@filter_options(*JobStatus)
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="At most so many.")
@id_option("--after", "Only ids above this one.")
@id_option("--before", "Only ids below this one.")
@click.option("--newest", is_flag=True, help="The newest first.")
@json_option
def jobs(
    file: str, *, filters: Filters, limit: int, after: int | None, before: int | None, newest: bool, as_json: bool
) -> None:
    """List the jobs of FILE by id, upwards, or the newest first. Completed jobs have left it, unless they are kept."""
    which = msgspec.structs.replace(filters.find(), after=after or 0, before=before, newest_first=newest, limit=limit)
    with existing(file) as store:
        found = list(walk(store.find, which))
    if as_json:
        say_json([job_record(job) for job in found])
    elif found:
        runs = any(job.status is JobStatus.RUNNING for job in found)
        table(
            [
                *("ID", "QUEUE", "STATUS", "NAME", "PRIORITY", "ATTEMPT", "RUN AT"),
                *(["SINCE", "RUNNER"] if runs else []),
                "MESSAGE",
            ],
            [
                [
                    *(j.id, j.queue, j.status, shortened(j.name), j.priority, j.attempt, moment(j.run_at)),
                    *([moment(j.claimed_at), j.runner] if runs else []),
                    shortened(clean(j.message)),
                ]
                for j in found
            ],
        )
    else:
        complain("no such jobs")
    if len(found) == limit:
        complain(f"there may be more; the next page is {'--before' if newest else '--after'} {found[-1].id}")


@click.command(
    cls=Command,
    short_help="Show all about one job.",
    epilog=examples("workqueue show jobs.db 17", "workqueue show 17 --json | jq -r '.history[-1].traceback'"),
)
@file_argument
@click.argument("job_id", type=ID, metavar="ID")
@click.option("--secrets", is_flag=True, help="Show what is called like a secret, too.")
@json_option
def show(file: str, job_id: int, *, secrets: bool, as_json: bool) -> None:
    """Show all that FILE knows of job ID: its data, and its attempts that did not complete.

    What is called like a secret (password, token, api_key …) is hidden, but not from programs, which ask by --json.
    """
    with existing(file) as store:
        job = store.get(job_id)
        history = store.history(job_id)
    if as_json:
        say_json({**job_record(job), "history": history})
        return
    redaction = Redaction([] if secrets else SECRETS)
    _show(job, redaction)
    for attempt in history:
        _show_attempt(attempt, redaction)


def _show(job: Job, redaction: Redaction) -> None:
    facts(
        [
            ("id", job.id),
            ("name", job.name),
            ("queue", job.queue),
            ("status", f"{job.status}, asked to stop" if job.cancel_requested else job.status),
            ("priority", job.priority),
            ("pushed at", moment(job.pushed_at)),
            ("run at", moment(job.run_at)),
            ("claimed at", moment(job.claimed_at)),
            ("settled at", moment(job.settled_at)),
            ("took", "" if job.duration is None else span(job.duration)),
            ("runner", job.runner),
            ("attempts", f"{job.attempt} (handler failed {times(job.retry_count)}, runner died {times(job.lost)})"),
            ("message", redaction.text(job.message)),
            ("backoff", _rule(job.backoff)),
            *([] if job.terms is None else _asked(job.terms)),
            ("data", f"{len(job.data):,} bytes"),
        ]
    )
    for line in redaction.shown(job.data):
        say(f"  {line}")


def _rule(backoff: Backoff) -> str:
    expiration = "none" if backoff.expiration is None else span(backoff.expiration)
    limit = "none" if backoff.limit is None else str(backoff.limit)
    return (
        f"factor {backoff.factor:g}, min {span(backoff.min)}, max {span(backoff.max)}, "
        f"jitter {'on' if backoff.jitter else 'off'}, limit {limit}, expiration {expiration}"
    )


def _asked(terms: Terms) -> list[tuple[str, object]]:
    """Give what the job asks for beyond its turn; nothing of what it does not."""
    limit, rate = terms.limit, terms.rate
    follows = "" if terms.follows is None else f"job {terms.follows}"
    return [
        ("key", "" if terms.key is None else terms.key),
        ("expires at", moment(terms.expires_at)),
        ("limit", "" if limit is None else f"{limit.most} at once in {limit.name!r}"),
        ("rate", "" if rate is None else f"{rate.starts} within {span(rate.per)} in {rate.name!r}"),
        ("order", "" if terms.order is None else terms.order),
        ("batch", "" if terms.batch is None else terms.batch),
        ("follows", follows if terms.follows_batch is None else f"batch {terms.follows_batch}"),
    ]


def _show_attempt(attempt: Attempt, redaction: Redaction) -> None:
    say()
    took = "" if attempt.duration == timedelta(0) else f" after {span(attempt.duration)}"
    runner = f" by {attempt.runner}" if attempt.runner else ""
    error, traceback = redaction.text(attempt.error), redaction.text(attempt.traceback)
    say(f"attempt {attempt.attempt} at {moment(attempt.started_at)}{runner}: {attempt.outcome}{took}: {error}")
    for line in traceback.rstrip("\n").split("\n") if traceback else []:
        say(f"  {line}")


@click.command(
    cls=Command,
    short_help="Say when a job will run, or why it does not.",
    epilog=examples("workqueue why jobs.db 17", "workqueue why 17 --json | jq -r '.reasons[]'"),
)
@file_argument
@click.argument("job_id", type=ID, metavar="ID")
@json_option
def why(file: str, job_id: int, *, as_json: bool) -> None:
    """Say in sentences what will happen to job ID and when, or why it does not run."""
    with existing(file) as store:
        found = report.why(store, job_id)
    if as_json:
        standing = None if found.status is None else str(found.status)
        say_json(
            {
                "job": found.job,
                "status": standing,
                "reasons": found.reasons,
                "sentences": found.sentences,
                "not_before": found.not_before,
            }
        )
        return
    for sentence in found.sentences:
        say(clean(sentence))


@click.command(
    cls=Command,
    short_help="Examine a file or a database.",
    epilog=examples("workqueue check jobs.db", "workqueue check jobs.db --json"),
)
@file_argument
@json_option
@click.pass_context
def check(ctx: click.Context, file: str, *, as_json: bool) -> None:
    """Examine FILE: SQLite's integrity check (of a file), our own invariants, and what it stands on.

    Exits with 1 when it finds something wrong.
    """
    with existing(file) as store:
        found = report.health(store)
    engine = found.engine
    if as_json:
        health: dict[str, object] = {"path": printable(found.path), "problems": found.problems, "engine": engine}
        say_json({**health, "files": {printable(name): size for name, size in found.files.items()}})
    else:
        facts(
            [
                ("database" if is_url(found.path) else "file", found.path),
                *[(f"  {name}", f"{size:,} bytes") for name, size in found.files.items()],
                ("file system", "" if is_url(found.path) else engine.file_system or "unknown"),
                (engine.name, engine.version),
                *[(f"  {name}", value) for name, value in engine.settings.items()],
            ]
        )
        for note in engine.notes:
            say(f"note: {note}")
        for problem in found.problems:
            say(f"wrong: {problem}")
        say(f"found {len(found.problems)} things wrong" if found.problems else "found nothing wrong")
    if found.problems:
        ctx.exit(Code.NO)
