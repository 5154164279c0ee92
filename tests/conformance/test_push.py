"""push: all or none, in order, with every byte as it was."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from workqueue.backoff import Backoff
from workqueue.job import JobStatus, Size
from workqueue.store.contract import Want
from workqueue.store.paging import Find

from support import LEASE, QUEUE, SECOND, apply, claim_all, claim_one, completed, ids, new_job, push


def test_a_pushed_job_is_stored_as_it_was_given(store, clock):
    backoff = Backoff(factor=3, jitter=True, min=SECOND, max=SECOND * 9, expiration=LEASE, limit=4)
    job_id = push(store, name="resize", data=b"[1]", priority=-3, queue="photos", backoff=backoff)
    job = store.get(job_id)
    assert (job.id, job.queue, job.name, job.data, job.priority) == (job_id, "photos", "resize", b"[1]", -3)
    assert (job.status, job.attempt, job.retry_count, job.lost) == (JobStatus.PENDING, 0, 0, 0)
    assert (job.message, job.cancel_requested, job.settled_at) == ("", False, None)
    assert job.run_at == job.pushed_at == clock.now()
    assert job.backoff == backoff


def test_the_counter_of_the_backoff_is_not_stored(store):
    backoff = Backoff(attempt=7)
    assert store.get(push(store, backoff=backoff)).backoff == Backoff()
    assert claim_one(store).job.backoff == Backoff()


def test_a_later_change_of_the_backoff_does_not_reach_stored_jobs(store):
    backoff = Backoff(min=SECOND)
    job_id = push(store, backoff=backoff)
    backoff.min = SECOND * 2
    assert store.get(job_id).backoff == Backoff(min=SECOND)
    assert claim_one(store).job.backoff == Backoff(min=SECOND)


def test_ids_rise_in_the_order_given(store):
    first = store.push([new_job(name=name) for name in "abc"])
    second = store.push([new_job(name=name) for name in "de"])
    assert first + second == sorted(set(first + second))
    assert min(first) >= 1
    assert [store.get(job_id).name for job_id in first + second] == list("abcde")


def test_ids_of_one_push_follow_its_order_whatever_the_jobs_are(store):
    jobs = [
        new_job(name="a", priority=1),
        new_job(name="b", queue="other"),
        new_job(name="c", delay=SECOND),
        new_job(name="d", priority=9, timing=True),
        new_job(name="e", data=b"x" * 5000),
        new_job(name="f", backoff=Backoff(limit=2)),
        new_job(name="g"),
    ]
    pushed = store.push(jobs)
    assert pushed == sorted(pushed)
    assert [store.get(job_id).name for job_id in pushed] == list("abcdefg")


def test_an_id_is_not_used_again_after_its_job_has_left(store):
    last = push(store)
    apply(store, completed(claim_one(store)))
    store.push([])
    assert push(store) > last


def test_pushing_nothing_stores_nothing(store):
    assert store.push([]) == []
    assert store.size(QUEUE) == Size(waiting=0, failed=0)


def test_a_push_that_fails_midway_stores_none_of_its_jobs(store):
    naive = datetime(2030, 1, 1)
    with pytest.raises(TypeError):
        store.push([new_job(), new_job(name="other"), new_job(run_at=naive)])
    assert store.find(Find()).jobs == []
    assert store.get(push(store)).name == "task"


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"a\x00b\x00", b"\xff\xfe\x80", bytes(range(256)), b"x" * 1024, b"x" * 1025, b"\xf0\x00" * 524_288],
    ids=["empty", "nul", "nuls", "invalid-utf8", "every-byte", "inline", "just-large", "mebibyte"],
)
def test_data_come_back_byte_for_byte(store, data):
    job_id = push(store, data=data)
    assert store.get(job_id).data == data
    assert store.find(Find()).jobs[0].data == data
    assert claim_one(store).job.data == data


def test_data_of_many_sizes_in_one_batch_are_not_mixed_up(store):
    data = [b"", b"\x00", b"a" * 1024, b"", b"b" * 1025, b"\xff" * 3, b"c" * 200_000, b"", b"d"]
    pushed = store.push([new_job(data=item) for item in data])
    assert [store.get(job_id).data for job_id in pushed] == data
    assert [claim.job.data for claim in claim_all(store)] == data


@pytest.mark.parametrize(
    "word", ["Größe", "日本語", "🐙🐙", "'; DROP TABLE jobs; --", '"[1,2]"', "%_*", " ", "ﬃ\u0301"]
)
def test_names_are_kept_letter_for_letter(store, word):
    job_id = push(store, name=word, queue=word)
    job = claim_one(store, queue=word).job
    assert (job.id, job.name, job.queue) == (job_id, word, word)
    assert store.find(Find(queue=word, name=word)).jobs[0].id == job_id
    assert store.size(word).waiting == 1


@pytest.mark.parametrize("priority", [-(2**31), -1, 0, 1, 2**31 - 1])
def test_priorities_are_kept(store, priority):
    push(store, priority=priority)
    assert claim_one(store).job.priority == priority


def test_a_delay_counts_from_the_stores_now(store, clock):
    clock.advance(timedelta(hours=5))
    job = store.get(push(store, delay=SECOND * 90))
    assert job.run_at == clock.now() + SECOND * 90
    assert job.pushed_at == clock.now()


def test_a_delay_beyond_the_end_of_the_calendar_ends_there(store, clock):
    job_id = push(store, delay=timedelta.max)
    assert store.get(job_id).run_at > clock.now() + timedelta(days=1_000_000)
    assert claim_all(store) == []


def test_run_at_is_kept_to_the_microsecond_in_the_past_too(store, clock):
    for run_at in (clock.now() + timedelta(microseconds=1), clock.now() - timedelta(days=9000, microseconds=1)):
        assert store.get(push(store, run_at=run_at)).run_at == run_at


def test_a_pushed_job_can_be_claimed_in_the_same_instant(store):
    job_id = push(store)
    assert ids(claim_all(store)) == [job_id]


def test_a_thousand_jobs_in_one_push_all_arrive(store):
    pushed = store.push([new_job(data=b"%d" % number) for number in range(1000)])
    runner = store.enlist(QUEUE, "tests")
    claims = store.turn([], Want(QUEUE, runner, LEASE, 1000)).claims
    assert ids(claims) == pushed
    assert [claim.job.data for claim in claims] == [b"%d" % number for number in range(1000)]
