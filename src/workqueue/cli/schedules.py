"""schedules: the periodic jobs of a store: listed, paused, resumed, triggered."""

from __future__ import annotations

import click
import msgspec

from workqueue import report
from workqueue.cli.codes import Code
from workqueue.cli.command import LIST, Command, Listing, examples
from workqueue.cli.loading import app_named, load
from workqueue.cli.options import existing, file_argument, its_queue_option, json_option, queue_option
from workqueue.cli.output import complain, say, say_json, table
from workqueue.duration import span
from workqueue.errors import InvalidOption
from workqueue.store.timetable import ScheduleStanding
from workqueue.words import moment


@click.group(
    cls=Listing,
    short_help="List, pause, resume or trigger periodic jobs.",
    epilog=examples(
        "workqueue schedules jobs.db",
        "workqueue schedules pause jobs.db report",
        "workqueue schedules trigger report --app app.tasks:queue",
    ),
)
def schedules() -> None:
    """List the periodic jobs of a file; or pause, resume, trigger one.

    What is periodic is said in the program, by `@queue.task(every=…)`, and stands in the file once it has run.
    """


@schedules.command(
    LIST,
    cls=Command,
    short_help="List them; what `schedules` alone does.",
    epilog=examples("workqueue schedules jobs.db --json"),
)
@file_argument
@queue_option
@json_option
def list_schedules(file: str, *, queue: str | None, as_json: bool) -> None:
    """List the schedules of FILE: when the next slot comes, and what ran last. It is what `schedules` alone does."""
    with existing(file) as store:
        found = report.schedules(store, queue)
        now, path = store.now(), store.path
    if as_json:
        say_json([_record(one) for one in found])
    elif not found:
        say(f"{path} has no schedules")
    else:
        table(
            ["QUEUE", "NAME", "EVERY", "NEXT AT", "IN", "LAST SLOT", "ITS JOB"],
            [
                [
                    one.queue,
                    one.name,
                    _every(one),
                    "paused" if one.paused else moment(one.next_at),
                    "" if one.paused else span(one.next_at - now) if one.next_at > now else "due",
                    moment(one.last_at),
                    "" if one.last_job is None else one.last_job,
                ]
                for one in found
            ],
        )


def _record(standing: ScheduleStanding) -> dict[str, object]:
    record: dict[str, object] = msgspec.structs.asdict(standing)
    del record["text"]
    return record | msgspec.json.decode(standing.text, type=dict[str, object])


def _every(standing: ScheduleStanding) -> str:
    try:
        schedule = standing.schedule
    except InvalidOption as error:
        return str(error)
    if isinstance(schedule.every, str):
        return f"{schedule.every} ({schedule.timezone})"
    return span(schedule.every)


@schedules.command(
    "pause",
    cls=Command,
    short_help="Let the slots of one pass.",
    epilog=examples("workqueue schedules pause jobs.db report --queue mail"),
)
@file_argument
@click.argument("name")
@its_queue_option
def pause_schedule(file: str, *, name: str, queue: str) -> None:
    """Let the slots of the schedule NAME pass, until it is resumed."""
    with existing(file) as store:
        store.schedules.pause(queue, name)
    say(f"paused: schedule {name!r} of queue {queue!r}; its slots pass")


@schedules.command(
    "resume",
    cls=Command,
    short_help="Run one again, from its next slot on.",
    epilog=examples("workqueue schedules resume jobs.db report --queue mail"),
)
@file_argument
@click.argument("name")
@its_queue_option
@click.pass_context
def resume_schedule(ctx: click.Context, file: str, *, name: str, queue: str) -> None:
    """Run the schedule NAME again, from its next slot on."""
    with existing(file) as store:
        if any(one.name == name and not one.paused for one in store.schedules.standings(queue)):
            complain(f"schedule {name!r} of queue {queue!r} was not paused")
            ctx.exit(Code.NO)
        store.schedules.resume(queue, name)
        next_at = next(one.next_at for one in store.schedules.standings(queue) if one.name == name)
    say(f"resumed: schedule {name!r} of queue {queue!r}; its next slot is {moment(next_at)}")


@schedules.command(
    "trigger",
    short_help="Push the job of one now.",
    epilog=examples("workqueue schedules trigger report --app app.tasks:queue"),
)
@click.argument("name")
@click.option("--app", metavar="MODULE:QUEUE", help="What has the task.  [default: app in pyproject.toml]")
def trigger(name: str, *, app: str | None) -> None:
    """Push the job of the periodic task NAME now, beside its slots; print its id.

    Only the program knows what that job is like, so its module is imported, as `workqueue run` does.
    """
    queue = load(app_named(app))
    try:
        say(str(queue.trigger(name).id))
    finally:
        queue.close()
