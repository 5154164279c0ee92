"""Why a job stands as it does: each thing that keeps one from running, seen from each engine, as a sentence."""

from __future__ import annotations

from datetime import timedelta

import pytest
from prove.clock import FakeClock
from workqueue import Backoff, JobNotFound, JobStatus, report
from workqueue.job import Lane, Terms
from workqueue.lifecycle import Postponed, Returned
from workqueue.schedule import Schedule
from workqueue.store.contract import Store
from workqueue.store.situation import LONGEST_LINE

from support import (
    LEASE,
    QUEUE,
    SECOND,
    a_failed_job,
    a_suspect,
    again,
    apply,
    claim_all,
    claim_one,
    completed,
    lost,
    new_job,
    push,
    raised,
    settled_at_once,
    verdict,
)

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
NOW = "2023-11-14 22:13:20Z"  # where the clock stands


@pytest.fixture
def runner(store: Store) -> int:
    """A live one, which can run jobs of any name."""
    return store.enlist(QUEUE, "host:1")


def said(store: Store, job: int) -> dict[str, str]:
    """The sentences by their words."""
    found = report.why(store, job)
    assert found.job == job
    assert len(set(found.reasons)) == len(found.reasons)
    return dict(zip(found.reasons, found.sentences, strict=True))


def test_a_job_that_is_due_is_next_in_line(store, runner):
    job = push(store)
    assert said(store, job) == {
        "waiting": f"Job {job} 'task' of queue 'default' waits.",
        "in line": "It is due, and is the next in line.",
        "runners": "1 live runner of the queue may take it; it has 0 jobs in hand.",
    }
    assert report.why(store, job).status is JobStatus.PENDING
    assert report.why(store, job).not_before is None


def test_those_that_are_claimed_before_it_are_counted(store, runner):
    push(store), push(store, queue="other"), push(store, delay=HOUR)
    job = push(store)
    push(store, priority=1), push(store)
    claimed = claim_one(store, runner)
    assert claimed.job.priority == 1
    found = said(store, job)
    assert found["in line"] == "It is due, and stands in line behind 1 other."
    assert found["runners"] == "1 live runner of the queue may take it; it has 1 job in hand."


def test_a_long_line_is_not_counted_to_its_end(store, runner):
    store.push([new_job()] * LONGEST_LINE)
    last = push(store)
    assert store.situation(last).before == LONGEST_LINE
    assert said(store, last)["in line"] == "It is due, and stands in line behind more than 1,000 others."


def test_an_id_that_was_never_given_out(store):
    with pytest.raises(JobNotFound):
        report.why(store, push(store) + 1)


def test_a_job_that_has_left(store, runner):
    job = push(store)
    apply(store, completed(claim_one(store, runner)))
    found = report.why(store, job)
    assert (found.status, found.reasons) == (None, ["gone"])
    assert found.sentences == [
        f"Job {job} has left: it completed, or was deleted after its end. Nothing of it was kept."
    ]


def test_a_job_of_which_the_result_is_kept(store, runner):
    job = push(store)
    apply(store, verdict(claim_one(store, runner), Returned(b"1", HOUR)))
    found = report.why(store, job)
    assert (found.status, found.reasons) == (JobStatus.COMPLETED, ["gone"])
    assert found.sentences == [f"Job {job} completed, and left; its result is kept for a while."]


# time


def test_not_due(store, runner, clock):
    job = push(store, delay=timedelta(hours=2, minutes=3))
    found = said(store, job)
    assert list(found) == ["waiting", "not due", "runners"]
    assert found["not due"] == "It is not due before 2023-11-15 00:16:20Z, in 2h 3m."
    assert report.why(store, job).not_before == clock.now() + timedelta(hours=2, minutes=3)


def test_waiting_for_another_try(store, runner, clock):
    job = push(store)
    apply(store, again(claim_one(store, runner), MINUTE))
    found = said(store, job)
    assert list(found) == ["retrying", "retry at", "runners"]
    assert found["retrying"] == (
        f"Job {job} 'task' of queue 'default' waits for another try: its handler failed 1 time, last with "
        "'RecoverableWorkerError: later'."
    )
    assert found["retry at"] == "It is tried again at 2023-11-14 22:14:20Z, in 1m."
    assert report.why(store, job).not_before == clock.now() + MINUTE


def test_put_off(store, runner):
    job = push(store)
    apply(store, verdict(claim_one(store, runner), Postponed(MINUTE, "they open at nine")))
    found = said(store, job)
    assert found["waiting"] == f"Job {job} 'task' of queue 'default' waits; it was put off: they open at nine."
    assert "not due" in found


def test_a_time_after_which_it_is_not_run(store, runner, clock):
    job = push(store, expires=MINUTE)
    assert said(store, job)["expires"] == "It is cancelled if it has not started by 2023-11-14 22:14:20Z, in 1m."
    clock.advance(MINUTE)
    assert said(store, job)["expired"] == "Its time was over at 2023-11-14 22:14:20Z: who comes to it next cancels it."


# pauses and lanes


def test_a_queue_that_is_paused(store, runner):
    job = push(store)
    store.pause(QUEUE, None)
    assert claim_all(store, runner) == []
    found = said(store, job)
    assert list(found) == ["waiting", "queue paused", "in line", "runners"]
    assert found["queue paused"] == (
        "Queue 'default' is paused: nothing of it starts until somebody says `workqueue resume --queue default`."
    )
    assert found["in line"] == "It is the next in line."
    store.resume(QUEUE, None)
    assert list(said(store, job)) == ["waiting", "in line", "runners"]


@pytest.mark.parametrize("noticed", [False, True])
def test_jobs_of_a_name_that_are_paused(store, runner, noticed):
    job, other = push(store), push(store, name="other")
    store.pause(QUEUE, "task")
    store.pause("elsewhere", "other")
    if noticed:
        apply(store, *map(completed, claim_all(store, runner)))
    found = said(store, job)
    assert "task paused" in found and ("in line" in found) is not noticed
    assert found["task paused"] == (
        "Jobs called 'task' are paused: none starts until somebody says `workqueue resume --queue default --name task`."
    )
    assert "queue paused" not in found
    assert "task paused" not in said(store, other)


def limited(most: int) -> Terms:
    return Terms(limit=Lane("visit host=a", most=most))


@pytest.mark.parametrize("noticed", [False, True])
def test_a_limit_without_room_and_who_holds_it(store, runner, noticed):
    first, second = push(store, terms=limited(2)), push(store, terms=limited(2))
    claim_all(store, runner)
    job = push(store, terms=limited(2))
    if noticed:
        assert claim_all(store, runner) == []
    found = said(store, job)
    assert found["limited"] == (f"The limit 'visit host=a' lets 2 run at once, and 2 do: jobs {first}, {second}.")
    assert ("in line" in found) is not noticed
    assert "let in soon" not in found
    assert "limited" not in said(store, push(store, terms=Terms(limit=Lane("visit host=b", most=2))))


def test_more_holders_of_a_limit_than_are_named(store, runner):
    store.push([new_job(terms=limited(7))] * 7)
    claim_all(store, runner)
    job = push(store, terms=limited(7))
    assert said(store, job)["limited"].endswith("jobs 1, 2, 3, 4, 5 and 2 more.")


def test_a_limit_with_room(store, runner):
    push(store, terms=limited(2))
    claim_all(store, runner)
    assert list(said(store, push(store, terms=limited(2)))) == ["waiting", "in line", "runners"]


@pytest.mark.parametrize("noticed", [False, True])
def test_a_rate_without_room_and_when_it_opens(store, runner, clock, noticed):
    rate = Terms(rate=Lane("mail", starts=2, per=MINUTE))
    for _ in range(2):
        push(store, terms=rate)
        apply(store, completed(claim_one(store, runner)))
        clock.advance(SECOND)
    job = push(store, terms=rate)
    if noticed:
        assert claim_all(store, runner) == []
    found = said(store, job)
    assert found["rate"] == (
        "The rate 'mail' lets 2 start within 1m, and 2 did; the next may at 2023-11-14 22:14:20Z, in 58s."
    )
    assert report.why(store, job).not_before == clock.now() + timedelta(seconds=58)
    clock.advance(timedelta(seconds=58))
    found = said(store, job)
    assert "rate" not in found
    assert ("let in soon" in found) is noticed, "nobody has claimed since"
    assert [claim.job.id for claim in claim_all(store, runner)] == [job]


@pytest.mark.parametrize("noticed", [False, True])
def test_an_order_and_what_comes_before(store, runner, noticed):
    order = Terms(order="account n=7")
    first = push(store, terms=order)
    claim = claim_one(store, runner)
    job, other = push(store, terms=order), push(store, terms=Terms(order="account n=8"))
    if noticed:
        apply(store, *map(completed, claim_all(store, runner)))
    found = said(store, job)
    assert found["ordered"] == f"It keeps the order 'account n=7', one after another: job {first} runs."
    assert ("in line" in found) is not noticed
    apply(store, again(claim, MINUTE))
    assert said(store, job)["ordered"].endswith(f"job {first} waits for another try.")
    if not noticed:
        assert "ordered" not in said(store, other)


def test_an_order_in_which_a_later_job_runs(store, runner, clock):
    order = Terms(order="account n=7")
    job = push(store, terms=order, delay=SECOND)
    later = push(store, terms=order)
    claim = claim_one(store, runner)
    assert claim.job.id == later
    clock.advance(SECOND)
    assert said(store, job)["ordered"].endswith(f"job {later} runs.")
    apply(store, completed(claim))
    assert "ordered" not in said(store, job)


# what comes before


def test_following_a_job(store, runner):
    first, job = store.push([new_job(terms=Terms(followed=True)), new_job(terms=Terms(follows=-1))])
    assert said(store, job)["follows"] == (
        f"It follows job {first}, which is due, or will be before it: it starts when that has completed, and is "
        "cancelled if that does not."
    )
    claim = claim_one(store, runner)
    assert f"job {first}, which runs:" in said(store, job)["follows"]
    apply(store, completed(claim))
    assert list(said(store, job)) == ["waiting", "in line", "runners"]


def test_a_follower_that_was_restored_follows_nobody_any_more(store, runner):
    first, job = store.push([new_job(terms=Terms(followed=True)), new_job(terms=Terms(follows=-1))])
    apply(store, raised(claim_one(store, runner)))
    assert said(store, job)["cancelled"].endswith(f": job {first}, which it follows, is failed.")
    assert store.restore(QUEUE, [job]) == 1
    assert list(said(store, job)) == ["waiting", "in line", "runners"]


def test_following_a_batch(store, runner):
    batch = store.batches.open(QUEUE)
    store.push([new_job(terms=Terms(batch=batch))] * 3)
    job = push(store, terms=Terms(follows_batch=batch))
    apply(store, completed(claim_one(store, runner)))
    sentence = f"It follows batch {batch}: of its 3 jobs 2 have not ended"
    assert said(store, job)["follows batch"] == f"{sentence}, and more may come."
    store.batches.seal(batch)
    assert said(store, job)["follows batch"] == f"{sentence}."
    apply(store, *map(completed, claim_all(store, runner)))
    assert "follows batch" not in said(store, job)


def test_a_key_that_another_job_has_by_now(store, runner):
    job = settled_at_once(store, raised, terms=Terms(key="k"))
    assert "key held" not in said(store, job)
    holder = push(store, terms=Terms(key="k"))
    assert said(store, job)["key held"] == (
        f"Job {holder} has its key 'k' by now: it cannot be restored while that waits or runs."
    )
    assert "key held" not in said(store, holder)
    assert store.situation(holder).key_holder is None


# who may take it


def test_nobody_runs_the_queue(store):
    gone = store.enlist(QUEUE, "host:1")
    store.enlist("other", "host:2")
    job = push(store)
    store.retire(gone)
    assert said(store, job)["no runner"] == (
        "Nobody runs queue 'default': no live runner is enlisted. `workqueue run module:queue` starts one."
    )


def test_a_name_that_no_live_runner_knows(store):
    mail, both = store.enlist(QUEUE, "host:1"), store.enlist(QUEUE, "host:2")
    store.introduce(mail, LEASE, ["mail"])
    store.introduce(both, LEASE, {"visit", "mail"})
    job, known = push(store, name="mial"), push(store, name="visit")
    assert said(store, job)["unknown name"] == (
        "No live runner knows the name 'mial'; they know 'mail', 'visit'. Whoever takes it puts it off, by 5 s at "
        "first and 5 minutes at most, until somebody knows it."
    )
    assert said(store, known)["runners"].startswith("1 live runner of the queue may take it;")
    store.introduce(mail, LEASE, None)
    assert "unknown name" not in said(store, job)
    assert [(runner.id, runner.knows) for runner in store.overview().runners] == [
        (mail, None),
        (both, ["mail", "visit"]),
    ]


def test_a_runner_without_tasks_knows_no_name(store, runner):
    store.introduce(runner, LEASE, [])
    assert "they know none." in said(store, push(store))["unknown name"]


def test_a_runner_that_is_gone_is_not_introduced(store, runner):
    store.retire(runner)
    store.introduce(runner, LEASE, ["task"])
    assert store.overview().runners == []


def test_what_was_lost_runs_alone(store, runner):
    job = a_suspect(store)
    found = said(store, job)
    assert found["retrying"] == (
        f"Job {job} 'task' of queue 'default' waits for another try: its runner ended under it 1 time, last with "
        "'runner ended (loss 1 of 3)'."
    )
    assert found["alone"] == (
        "It runs with nothing beside it, because its runner ended under it: a runner takes it when it has nothing "
        "else in hand."
    )
    assert "in line" not in found
    assert store.situation(job).before is None


# what runs


def test_leased_by_a_runner_that_was_last_seen(store, runner, clock):
    store.introduce(runner, LEASE, None)
    job = push(store)
    claim_one(store, runner)
    clock.advance(SECOND * 3)
    store.beat(runner, LEASE)
    clock.advance(SECOND * 5)
    assert said(store, job) == {
        "running": f"Job {job} 'task' runs since 2023-11-14 22:13:20Z, 8s ago, as attempt 1, leased by runner {runner} "
        "(host:1) until 2023-11-14 22:14:23Z; that was last seen at 2023-11-14 22:13:23Z, 5s ago."
    }
    assert report.why(store, job).not_before is None


def test_leased_by_a_runner_that_has_not_said_for_how_long(store, runner):
    job = push(store)
    claim_one(store, runner)
    assert said(store, job)["running"].endswith(f"leased by runner {runner} (host:1) until 2023-11-14 22:14:20Z.")


def test_asked_to_stop(store, runner):
    job = push(store)
    claim_one(store, runner)
    store.cancel(job)
    assert list(said(store, job)) == ["running", "asked to stop"]


def test_a_lease_that_is_over(store, runner, clock):
    job = push(store)
    claim_one(store, runner)
    clock.advance(LEASE + SECOND)
    found = said(store, job)
    assert list(found) == ["running", "lease over", "loss"]
    assert found["lease over"] == (
        "The lease ended 1s ago: unless it is renewed, the job is taken back by the next runner of queue 'default': "
        "none is alive just now."
    )
    assert found["loss"] == "That is loss 1 of 3: it runs again, with nothing beside it."
    store.enlist(QUEUE, "host:2")
    assert "taken back by another runner of the queue, at its next look." in said(store, job)["lease over"]


def test_a_runner_whose_process_has_ended(store, runner):
    job = push(store)
    claim_one(store, runner)
    store.retire(runner)
    found = said(store, job)
    assert list(found) == ["running", "runner ended", "loss"]
    assert found["runner ended"] == (
        "The process of that runner has ended, so it is taken back by the next runner of queue 'default': none is "
        "alive just now."
    )


def test_the_second_loss_and_the_third(store, clock):
    job = a_suspect(store)
    for losses, said_then in ((2, "runs again after 10s, with nothing beside it"), (3, "fails then")):
        runner = store.enlist(QUEUE, "host:1")
        claim = claim_one(store, runner, alone=True)
        store.retire(runner)
        sentence = said(store, job)["loss"]
        assert sentence.startswith(f"That is loss {losses} of 3: it ") and said_then in sentence
        apply(store, lost(claim))
        clock.advance(SECOND * 10)
    found = said(store, job)
    assert list(found) == ["failed", "lost", "kept"]
    assert found["lost"] == "Its runner ended under it 3 times, and it is not let end another."


# what is over


def test_completed_and_kept(store, runner, clock):
    terms = Terms(limit=Lane("one", most=1), rate=Lane("r", starts=1, per=MINUTE), order="o", key="k")
    job = push(store, terms=terms)
    claim = claim_one(store, runner)
    clock.advance(SECOND * 5)
    apply(store, completed(claim, stays=True))
    assert said(store, job) == {
        "completed": f"Job {job} 'task' completed at 2023-11-14 22:13:25Z, just now, at attempt 1, by host:1, "
        "after 5s.",
        "kept": "It stays for as long as its queue keeps what completed (keep_completed=).",
    }
    assert report.why(store, job).status is JobStatus.COMPLETED


def test_failed(store, clock):
    job = a_failed_job(store)
    clock.advance(HOUR)
    assert said(store, job) == {
        "failed": f"Job {job} 'task' failed for good at {NOW}, 1h ago, at attempt 1: ValueError: bad",
        "kept": f"It stays until somebody restores it (`workqueue restore {job}`) or deletes it (`workqueue clean`), "
        "or its queue has kept it for long enough (keep_failed=).",
    }


def test_failed_because_its_tries_are_used_up(store, runner):
    job = push(store, backoff=Backoff(limit=2))
    for _ in range(2):
        apply(store, again(claim_one(store, runner)))
    assert said(store, job)["tries used up"] == "Its backoff allows 2 attempts, and that was the last."


def test_cancelled(store):
    job = push(store)
    store.cancel(job)
    found = said(store, job)
    assert found["cancelled"] == f"Job {job} 'task' was cancelled at {NOW}, just now."
    assert found["kept"].endswith("or deletes it (`workqueue clean`).")


# and beside all that


def test_the_job_of_a_schedule(store, runner, clock: FakeClock):
    slot = clock.now() + MINUTE
    store.schedules.put(QUEUE, "report", Schedule(every=MINUTE), slot)
    other = push(store)
    clock.advance(MINUTE)
    [job] = (
        store.schedules.fire(QUEUE, "report", seen=slot, then=slot + MINUTE, jobs={slot: new_job(name="report")}) or []
    )
    assert said(store, job)["schedule"] == "It is the job of schedule 'report' for 2023-11-14 22:14:20Z."
    assert "schedule" not in said(store, other)


def test_several_things_at_once(store):
    store.pause(QUEUE, None)
    store.pause(QUEUE, "task")
    job = push(store, delay=HOUR, terms=limited(1), expires=HOUR * 2)
    assert list(said(store, job)) == ["waiting", "not due", "queue paused", "task paused", "no runner", "expires"]


def test_it_is_all_of_one_moment_and_changes_nothing(store, runner):
    job = push(store)
    before = store.situation(job)
    assert store.situation(job) == before
    assert before.job == store.get(job)


def test_inside_a_transaction_its_own_work_is_seen(store, runner):
    with store.transaction():
        job = push(store)
        store.pause(QUEUE, None)
        assert {"waiting", "queue paused"} <= said(store, job).keys()
