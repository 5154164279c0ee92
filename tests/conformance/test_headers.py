"""headers: what a job carries for its way goes with it, wherever it goes, and steers nothing."""

from __future__ import annotations

import pytest
from workqueue.job import Job, JobStatus, Terms
from workqueue.lifecycle import Lost
from workqueue.store.paging import Find

from support import SECOND, again, apply, claim_all, claim_one, completed, new_job, push, raised, verdict

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "baggage": 'who=Ana%C3%AFs,ü="\\'}


def test_a_job_without_headers_has_an_empty_mapping(store):
    job_id = push(store)
    assert dict(store.get(job_id).headers) == {}
    assert dict(claim_one(store).job.headers) == {}


def test_headers_are_kept_and_come_with_the_claim(store):
    job_id = push(store, headers=TRACE)
    assert dict(store.get(job_id).headers) == TRACE
    assert dict(claim_one(store).job.headers) == TRACE
    assert dict(store.get(job_id).headers) == TRACE


def test_the_headers_of_a_stored_job_cannot_be_changed(store):
    push(store, headers=TRACE)
    job = claim_one(store).job
    with pytest.raises(TypeError):
        job.headers["a"] = "b"
    with pytest.raises(TypeError):
        store.get(job.id).headers.update(a="b")
    assert dict(store.get(job.id).headers) == TRACE


def test_each_of_many_has_its_own(store):
    jobs = [new_job(data=b"%d" % n, headers={"n": str(n)} if n % 3 else {}) for n in range(7)]
    pushed = store.push([*jobs, new_job(data=b"x" * 5000, headers={"n": "large"}), new_job(data=b"")])
    expected = ["", "1", "2", "", "4", "5", "", "large", ""]
    assert [store.get(job_id).headers.get("n", "") for job_id in pushed] == expected
    claims = claim_all(store)
    assert [claim.job.id for claim in claims] == pushed
    assert [claim.job.headers.get("n", "") for claim in claims] == expected
    assert [len(claim.job.data) for claim in claims] == [1] * 7 + [5000, 0]


def test_many_that_share_theirs(store):
    pushed = store.push([new_job(data=b"%d" % n, headers=TRACE) for n in range(5)])
    assert [dict(claim.job.headers) for claim in claim_all(store)] == [TRACE] * 5
    assert pushed == list(range(pushed[0], pushed[0] + 5))


def test_they_do_not_make_a_job_special(store):
    push(store, headers=TRACE)
    assert claim_one(store).job.terms is None


def test_jobs_with_terms_have_them_too(store):
    pushed = store.push([new_job(terms=Terms(order="a"), headers={"n": str(n)}) for n in range(2)])
    first = claim_one(store)
    assert (first.job.id, first.job.headers["n"]) == (pushed[0], "0")
    apply(store, completed(first))
    assert claim_one(store).job.headers["n"] == "1"


def test_they_last_through_retries_failure_and_restoring(store, clock):
    job_id = push(store, headers=TRACE)
    apply(store, again(claim_one(store), SECOND))
    clock.advance(SECOND)
    claim = claim_one(store)
    assert dict(claim.job.headers) == TRACE
    apply(store, raised(claim))
    assert store.get(job_id).status is JobStatus.FAILED
    assert dict(store.get(job_id).headers) == TRACE
    store.restore("default", [job_id])
    assert dict(claim_one(store).job.headers) == TRACE


def test_a_job_that_is_claimed_alone_has_them(store):
    push(store, headers=TRACE)
    apply(store, verdict(claim_one(store), Lost("gone")))
    assert dict(claim_one(store, alone=True).job.headers) == TRACE


def test_a_completed_job_that_is_kept_keeps_them(store):
    job_id = push(store, headers=TRACE)
    apply(store, completed(claim_one(store), stays=True))
    assert store.get(job_id).status is JobStatus.COMPLETED
    assert dict(store.get(job_id).headers) == TRACE
    [found] = store.find(Find(queue="default")).jobs
    assert dict(found.headers) == TRACE


def test_a_special_job_that_is_kept_keeps_them(store):
    job_id = push(store, headers=TRACE, terms=Terms(order="a"))
    apply(store, completed(claim_one(store), stays=True))
    assert dict(store.get(job_id).headers) == TRACE


def test_they_go_through_the_bytes_of_a_job(store):
    job = store.get(push(store, headers=TRACE))
    assert Job.from_bytes(bytes(job)) == job
    assert dict(Job.from_bytes(bytes(job)).headers) == TRACE
