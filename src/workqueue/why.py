"""Why: what is known of a job, as sentences: what keeps it from running, and what will happen to it, and when.

Pure: a `Situation` comes in, as the store tells it. Each sentence has a word for programs beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from shlex import quote
from typing import Final, NamedTuple

import msgspec

from workqueue.duration import span, times
from workqueue.job import Job, JobStatus
from workqueue.lifecycle import MAX_LOST, SECOND_LOSS_PAUSE, WAITING
from workqueue.store.contract import Outlook
from workqueue.store.situation import LONGEST_LINE, Enlisted, Room, Situation
from workqueue.words import moment


class Said(NamedTuple):
    """A word and its sentence."""

    word: str
    sentence: str


_VERBS: Final = {
    JobStatus.RUNNING: "runs",
    JobStatus.PENDING: "is due, or will be before it",
    JobStatus.RETRYING: "waits for another try",
}


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """How a job stands, and why. sentences: the first says how; the others what keeps it, and what comes.

    status: None where it has left. reasons: a word for each sentence. not_before: it does not start sooner; None: it
    may at any moment, or nobody knows when.
    """

    job: int
    status: JobStatus | None
    sentences: list[str]
    reasons: list[str]
    not_before: datetime | None = None


def explain(found: Situation) -> Why:
    """Say why the job stands as it does."""
    job = found.job
    if job.status is JobStatus.RUNNING:
        said = list(_running(found))
    elif job.status in WAITING:
        said = list(_waiting(found))
    else:
        said = list(_settled(found))
    if found.schedule is not None and found.schedule.last_at is not None:
        slot = moment(found.schedule.last_at)
        said.append(Said("schedule", f"It is the job of schedule {found.schedule.name!r} for {slot}."))
    return Why(
        job=job.id,
        status=job.status,
        sentences=[sentence for _, sentence in said],
        reasons=[word for word, _ in said],
        not_before=_not_before(found) if job.status in WAITING else None,
    )


def explain_gone(job_id: int, outlook: Outlook) -> Why:
    """Say what is known of a job that is not there any more."""
    if outlook.status is JobStatus.COMPLETED:
        sentence = f"Job {job_id} completed, and left; its result is kept for a while."
    else:
        sentence = f"Job {job_id} has left: it completed, or was deleted after its end. Nothing of it was kept."
    return Why(job=job_id, status=outlook.status, sentences=[sentence], reasons=["gone"])


# what runs


def _running(found: Situation) -> Iterator[Said]:
    job, held = found.job, found.held
    if held is None:
        yield Said("running", f"Job {job.id} {job.name!r} runs, as attempt {job.attempt}.")
        return
    runner = next((runner for runner in found.runners if runner.id == held.runner), None)
    label = "" if runner is None else f" ({runner.label})"
    since = "" if job.claimed_at is None else f" since {_at(found, job.claimed_at)}"
    seen = "" if held.seen_at is None else f"; that was last seen at {_at(found, held.seen_at)}"
    yield Said(
        "running",
        f"Job {job.id} {job.name!r} runs{since}, as attempt {job.attempt}, leased by runner {held.runner}{label} until "
        f"{moment(held.until)}{seen}.",
    )
    if job.cancel_requested:
        yield Said(
            "asked to stop",
            "It was asked to stop: its handler is told, and it ends as cancelled when that gives way.",
        )
    is_dead = runner is None or not runner.alive
    if is_dead:
        yield Said("runner ended", f"The process of that runner has ended, so it is taken back{_by_whom(found)}.")
    elif held.until < found.now:
        yield Said(
            "lease over",
            f"The lease ended {span(found.now - held.until)} ago: unless it is renewed, the job is taken "
            f"back{_by_whom(found)}.",
        )
    if is_dead or held.until < found.now:
        yield Said("loss", _after_a_loss(job))


def _by_whom(found: Situation) -> str:
    others = [runner for runner in _alive(found) if found.held is None or runner.id != found.held.runner]
    if others:
        return " by another runner of the queue, at its next look"
    return f" by the next runner of queue {found.job.queue!r}: none is alive just now"


def _after_a_loss(job: Job) -> str:
    losses = job.lost + 1
    if losses >= MAX_LOST:
        return f"That is loss {losses} of {MAX_LOST}: it fails then, so that it cannot end more processes."
    pause = f" after {span(SECOND_LOSS_PAUSE)}" if losses > 1 else ""
    return f"That is loss {losses} of {MAX_LOST}: it runs again{pause}, with nothing beside it."


# what waits


def _waiting(found: Situation) -> Iterator[Said]:
    yield _how_it_waits(found.job)
    obstacles = [*_elsewhere(found), *_awaited(found), *_time(found), *_pauses(found), *_lanes(found)]
    yield from obstacles
    if found.kept and not obstacles:
        yield Said(
            "let in soon", "It stood aside until there was room, which there is by now: the next claim lets it in."
        )
    yield from _line(found, has_obstacles=bool(obstacles))
    yield from _hands(found)
    expires_at = None if found.job.terms is None else found.job.terms.expires_at
    if expires_at is not None:
        if expires_at <= found.now:
            yield Said("expired", f"Its time was over at {moment(expires_at)}: who comes to it next cancels it.")
        else:
            yield Said("expires", f"It is cancelled if it has not started by {_at(found, expires_at)}.")


def _how_it_waits(job: Job) -> Said:
    tries: list[str] = []
    if job.retry_count:
        tries.append(f"its handler failed {times(job.retry_count)}")
    if job.lost:
        tries.append(f"its runner ended under it {times(job.lost)}")
    how = f": {', and '.join(tries)}" if tries else ""
    last = f", last with {job.message!r}" if tries and job.message else ""
    word = "retrying" if job.status is JobStatus.RETRYING else "waiting"
    what = "waits for another try" if tries else "waits"
    put_off = f"; it was put off: {job.message}" if job.message and not tries else ""
    sentence = f"Job {job.id} {job.name!r} of queue {job.queue!r} {what}{how}{last}{put_off}."
    return Said(word, sentence)


def _elsewhere(found: Situation) -> Iterator[Said]:
    for move in found.moves:
        yield Said("moved", f"Nothing is run here: {move}.")


def _awaited(found: Situation) -> Iterator[Said]:
    if found.follows is not None:
        other = found.follows
        yield Said(
            "follows",
            f"It follows job {other.id}, which {_stands(other.status)}: it starts when that has completed, and is "
            "cancelled if that does not.",
        )
    if found.awaits is not None:
        batch = found.awaits
        more = "" if batch.sealed else ", and more may come"
        left = f"{batch.left} ha{'s' if batch.left == 1 else 've'} not ended"
        yield Said("follows batch", f"It follows batch {batch.id}: of its {times(batch.total, 'job')} {left}{more}.")


def _time(found: Situation) -> Iterator[Said]:
    run_at = found.job.run_at
    if run_at <= found.now:
        return
    if found.job.status is JobStatus.RETRYING:
        yield Said("retry at", f"It is tried again at {_at(found, run_at)}.")
    else:
        yield Said("not due", f"It is not due before {_at(found, run_at)}.")


def _pauses(found: Situation) -> Iterator[Said]:
    job = found.job
    if None in found.paused:
        yield Said(
            "queue paused",
            f"Queue {job.queue!r} is paused: nothing of it starts until somebody says `workqueue resume --queue "
            f"{quote(job.queue)}`.",
        )
    if job.name in found.paused:
        yield Said(
            "task paused",
            f"Jobs called {job.name!r} are paused: none starts until somebody says `workqueue resume --queue "
            f"{quote(job.queue)} --name {quote(job.name)}`.",
        )


def _lanes(found: Situation) -> Iterator[Said]:
    terms = found.job.terms
    if found.behind is not None and terms is not None:
        other = found.behind
        yield Said(
            "ordered",
            f"It keeps the order {terms.order!r}, one after another: job {other.id} {_stands(other.status)}.",
        )
    if found.limit is not None and _is_full(found.limit):
        most, taken = found.limit.lane.most or 0, found.limit.taken
        yield Said(
            "limited",
            f"The limit {found.limit.lane.name!r} lets {most} run at once, and {taken} do: "
            f"{_jobs(found.limit.jobs, taken)}.",
        )
    if found.rate is not None and _is_full(found.rate):
        lane = found.rate.lane
        then = "" if found.rate.opens_at is None else f"; the next may at {_at(found, found.rate.opens_at)}"
        yield Said(
            "rate",
            f"The rate {lane.name!r} lets {lane.starts} start within {span(lane.per)}, and {found.rate.taken} "
            f"did{then}.",
        )


def _line(found: Situation, *, has_obstacles: bool) -> Iterator[Said]:
    job = found.job
    if job.lost:
        yield Said(
            "alone",
            "It runs with nothing beside it, because its runner ended under it: a runner takes it when it has nothing "
            "else in hand.",
        )
    elif found.before is not None:
        many = f"more than {LONGEST_LINE:,}" if found.before >= LONGEST_LINE else f"{found.before:,}"
        place = f"stands in line behind {many} other{_s(found.before)}" if found.before else "is the next in line"
        yield Said("in line", f"It {place}." if has_obstacles else f"It is due, and {place}.")


def _hands(found: Situation) -> Iterator[Said]:
    """Say who may take it."""
    job, alive = found.job, _alive(found)
    if not alive:
        yield Said(
            "no runner",
            f"Nobody runs queue {job.queue!r}: no live runner is enlisted. `workqueue run module:queue` starts one.",
        )
        return
    able = [runner for runner in alive if runner.knows is None or job.name in runner.knows]
    if not able:
        known = sorted({name for runner in alive for name in runner.knows or ()})
        yield Said(
            "unknown name",
            f"No live runner knows the name {job.name!r}; they know {', '.join(map(repr, known)) or 'none'}. Whoever "
            "takes it puts it off, by 5 s at first and 5 minutes at most, until somebody knows it.",
        )
        return
    has, busy = "it has" if len(able) == 1 else "they have", sum(runner.running for runner in able)
    yield Said(
        "runners",
        f"{times(len(able), 'live runner')} of the queue may take it; {has} {times(busy, 'job')} in hand.",
    )


# what is over


def _settled(found: Situation) -> Iterator[Said]:
    job = found.job
    at = "" if job.settled_at is None else f" at {_at(found, job.settled_at)}"
    match job.status:
        case JobStatus.COMPLETED:
            by = f", by {job.runner}" if job.runner else ""
            took = "" if job.duration is None else f", after {span(job.duration)}"
            yield Said("completed", f"Job {job.id} {job.name!r} completed{at}, at attempt {job.attempt}{by}{took}.")
            yield Said("kept", "It stays for as long as its queue keeps what completed (keep_completed=).")
            return
        case JobStatus.FAILED:
            yield Said(
                "failed", f"Job {job.id} {job.name!r} failed for good{at}, at attempt {job.attempt}: {job.message}"
            )
            yield from _why_for_good(job)
        case _:
            reason = "" if job.message in ("", "cancelled") else f": {job.message}"
            yield Said("cancelled", f"Job {job.id} {job.name!r} was cancelled{at}{reason}.")
    if found.key_holder is not None:
        key = None if job.terms is None else job.terms.key
        yield Said(
            "key held",
            f"Job {found.key_holder} has its key {key!r} by now: it cannot be restored while that waits or runs.",
        )
    unless = ", or its queue has kept it for long enough (keep_failed=)" if job.status is JobStatus.FAILED else ""
    yield Said(
        "kept",
        f"It stays until somebody restores it (`workqueue restore {job.id}`) or deletes it (`workqueue clean`)"
        f"{unless}.",
    )


def _why_for_good(job: Job) -> Iterator[Said]:
    if job.lost >= MAX_LOST:
        yield Said("lost", f"Its runner ended under it {times(job.lost)}, and it is not let end another.")
    elif job.backoff.limit is not None and job.retry_count >= job.backoff.limit:
        yield Said("tries used up", f"Its backoff allows {times(job.backoff.limit, 'attempt')}, and that was the last.")


# words


def _not_before(found: Situation) -> datetime | None:
    times = [found.job.run_at]
    if found.rate is not None and _is_full(found.rate) and found.rate.opens_at is not None:
        times.append(found.rate.opens_at)
    latest = max(times)
    return latest if latest > found.now else None


def _is_full(room: Room) -> bool:
    most = room.lane.starts if room.lane.most is None else room.lane.most
    return most is not None and room.taken >= most


def _alive(found: Situation) -> list[Enlisted]:
    return [runner for runner in found.runners if runner.alive]


def _stands(status: JobStatus) -> str:
    return _VERBS.get(status, f"is {status}")


def _jobs(jobs: Sequence[int], count: int) -> str:
    named = ", ".join(map(str, jobs))
    more = f" and {count - len(jobs):,} more" if count > len(jobs) else ""
    return f"job{_s(count)} {named}{more}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _at(found: Situation, at: datetime) -> str:
    """Give an instant, and how far it is from now."""
    if at == found.now:
        return f"{moment(at)}, just now"
    if at > found.now:
        return f"{moment(at)}, in {span(at - found.now)}"
    return f"{moment(at)}, {span(found.now - at)} ago"
