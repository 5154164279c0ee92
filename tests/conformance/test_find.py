"""find and change: all jobs that match, page by page, looked at and acted upon."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta

import pytest
from workqueue.job import Job, JobStatus, Lane, Terms
from workqueue.lifecycle import WAITING
from workqueue.store.contract import Store
from workqueue.store.paging import Changed, Deed, Find
from workqueue.store.relational import finding

from support import (
    QUEUE,
    SECOND,
    a_failed_job,
    again,
    all_jobs,
    apply,
    claim_all,
    claim_one,
    completed,
    new_job,
    push,
    raised,
    settled_at_once,
)

CANCELLED, FAILED = JobStatus.CANCELLED, JobStatus.FAILED
HOSTILE = ["%", "_", "a%", "'", '"', "\\", "' OR 1=1 --", "\0", "\x1b[31m", "é", "日本", "*", "[a-z]", "a\nb"]


@pytest.fixture(params=["", "narrow"])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is, and with windows so narrow that a few jobs are as good as a million."""
    if request.param:
        narrow = {"MOST": 6, "_FEW": 2, "_FEW_QUEUES": 1, "_NARROW": 2, "_WIDENING": 2, "_BYTES": 60}
        for name, most in narrow.items():
            monkeypatch.setattr(finding, name, most)


def mixed(store: Store) -> list[Job]:
    """Jobs of two queues and two names, in each status there is; all but a quarter are of two batches, 1 and 2."""
    runners = {queue: store.enlist(queue, "tests") for queue in ("a", "b")}
    first, second = store.batches.open("a"), store.batches.open("b")
    terms = [Terms(batch=first), Terms(batch=second), Terms(batch=first), None]

    def push_both(queue: str, place: int, size: int = 0) -> list[int]:
        data = b"%d" % place + b" " * size
        return store.push([new_job(queue=queue, name=name, data=data, terms=terms[place]) for name in ("x", "y")])

    for place in range(4):
        for queue, runner in runners.items():
            push_both(queue, place)
            failing, retrying = claim_all(store, runner, queue=queue)
            apply(store, raised(failing, f"error {place}"), again(retrying, timedelta(days=1)))
            push_both(queue, place, 1500 * (place == 2))
            apply(store, *(completed(claim, stays=True) for claim in claim_all(store, runner, queue=queue)))
    for place in range(4):
        for queue in runners:
            cancelled, _ = push_both(queue, place)
            store.cancel(cancelled)
    for queue, runner in runners.items():
        claim_one(store, runner, queue=queue)
    push(store, queue="b", name="x", data=b"7" * 3000, delay=SECOND)
    push(store, queue="b", name="x", terms=Terms(limit=Lane("one", most=1)))
    return all_jobs(store)


def pages(store: Store, which: Find) -> Iterator[list[Job]]:
    while True:
        page = store.find(which)
        assert len(page.jobs) <= which.limit
        yield page.jobs
        if page.next is None:
            return
        which = which.beyond(page.next)


def fits(job: Job, which: Find) -> bool:
    return (
        which.queue in (None, job.queue)
        and which.status in (None, job.status)
        and which.name in (None, job.name)
        and (which.batch is None or (job.terms is not None and job.terms.batch == which.batch))
        and (which.text is None or which.text in job.message or which.text.encode() in job.data)
        and which.after < job.id < (which.before or 2**63)
    )


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_the_pages_of_a_search_have_what_is_meant_once_each_and_in_order(store, width, limit):
    jobs = mixed(store)
    searches = [
        {},
        *({"status": status} for status in JobStatus),
        {"queue": "a"},
        {"queue": "c"},
        *({"queue": "b", "status": status} for status in JobStatus),
        {"name": "x"},
        {"queue": "a", "name": "y", "status": JobStatus.FAILED},
        {"queue": "a", "name": "y", "status": JobStatus.COMPLETED},
        {"name": "y", "status": JobStatus.CANCELLED},
        {"text": "2"},
        {"text": "error", "queue": "b"},
        {"text": "7777", "status": JobStatus.PENDING},
        {"text": "nothing has it"},
        {"batch": 1},
        {"batch": 3},
        *({"batch": 2, "status": status} for status in JobStatus),
        {"batch": 1, "queue": "b", "name": "y", "text": "2"},
        {"after": jobs[3].id, "before": jobs[-3].id},
        {"queue": "b", "status": JobStatus.FAILED, "after": jobs[3].id},
    ]
    for search, newest_first in itertools.product(searches, (False, True)):
        which = Find(**search, newest_first=newest_first, limit=limit)
        expected = [job for job in jobs if fits(job, which)]
        found = [job for page in pages(store, which) for job in page]
        assert found == (expected[::-1] if newest_first else expected), search


def test_a_page_is_full_as_long_as_there_is_enough_at_hand(store):
    mixed(store)
    for which in (Find(limit=3), Find(queue="a", limit=3), Find(status=JobStatus.FAILED, name="x", limit=3)):
        *full, last = pages(store, which)
        assert all(len(page) == 3 for page in full)
        assert 1 <= len(last) <= 3


def test_a_page_of_none_is_the_end(store):
    push(store)
    assert store.find(Find(limit=0)).next is None


def test_a_page_looks_at_a_bounded_number_of_jobs(store, engine):
    if engine == "memory":
        pytest.skip("looks at all there are")
    store.push([new_job(name="common")] * (finding.MOST + 10))
    last = push(store, name="rare")
    first = store.find(Find(name="rare"))
    assert first.jobs == []
    assert first.next is not None
    assert [job.id for job in store.find(Find(name="rare").beyond(first.next)).jobs] == [last]


def test_a_page_of_a_batch_looks_at_no_jobs_of_others(store, engine, monkeypatch):
    if engine == "memory":
        pytest.skip("looks at all there are")
    monkeypatch.setattr(finding, "MOST", 5)
    batch = store.batches.open(QUEUE)
    [inside, *_] = store.push([new_job(terms=Terms(batch=batch)), *[new_job()] * 10, new_job(terms=Terms(batch=batch))])
    assert [job.id for job in store.find(Find(batch=batch, limit=3)).jobs] == [inside, inside + 11]


# text


def test_what_is_looked_for_is_data_and_no_pattern(store):
    push(store, data=b"something else, a-z")
    store.push([new_job(data=data) for text in HOSTILE for data in (text.encode(), b"y" * 3000 + text.encode())])
    jobs = all_jobs(store)
    for text in HOSTILE:
        there = [job.id for job in jobs if text.encode() in job.data]
        assert len(there) < len(jobs) / 2
        assert [job.id for job in all_jobs(store, text=text)] == there


def test_text_is_found_in_the_message_too_with_upper_and_lower_case_told_apart(store):
    job = push(store)
    apply(store, raised(claim_one(store), "ValueError: Größe 100%"))
    assert [found.id for found in all_jobs(store, text="Größe 100%")] == [job]
    assert all_jobs(store, text="größe") == []


def test_data_that_are_no_text_are_searched_by_their_bytes(store):
    job = push(store, data=b"\xff\xfe caf\xc3\xa9 \x00")
    assert [found.id for found in all_jobs(store, text="café \0")] == [job]
    assert all_jobs(store, text="\ufffd") == []


def test_an_empty_text_is_in_every_job(store):
    job = push(store, data=b"")
    assert [found.id for found in all_jobs(store, text="")] == [job]


@pytest.mark.parametrize("word", ["\0", "x" * 100_000, "'; --"])
def test_names_that_nobody_has_are_not_found(store, word):
    push(store)
    for which in (Find(queue=word), Find(name=word), Find(queue=word, status=JobStatus.FAILED)):
        assert store.find(which).jobs == []
        assert store.change(which, "delete") == Changed(0, None)


# change


def change_all(store: Store, which: Find, deed: Deed) -> int:
    count = 0
    while True:
        changed = store.change(which, deed)
        count += changed.count
        if changed.next is None:
            return count
        which = which.beyond(changed.next)


@pytest.mark.parametrize("deed", ["cancel", "retry", "restore", "delete"])
def test_a_deed_is_done_to_all_that_match_and_can_take_it(store, width, deed):
    mixed(store)
    can, is_done = {
        "cancel": (lambda job: job.settled_at is None, lambda job: job.status is CANCELLED or job.cancel_requested),
        "retry": (
            lambda job: job.status in (CANCELLED, FAILED) or (job.status in WAITING and job.run_at > store.now()),
            lambda job: job.status in WAITING and job.run_at <= store.now(),
        ),
        "restore": (lambda job: job.status in (CANCELLED, FAILED), lambda job: job.status is JobStatus.PENDING),
        "delete": (lambda job: job.settled_at is not None, lambda job: job is None),
    }[deed]
    searches = [
        Find(queue="b", text="error", limit=1),
        Find(text="2", newest_first=True, limit=1),
        Find(queue="a", status=CANCELLED, limit=3),
        Find(name="x", newest_first=True, limit=3),
        Find(queue="a", status=JobStatus.RUNNING, limit=100),
        Find(queue="b", status=JobStatus.COMPLETED, limit=2),
        Find(text="3", status=JobStatus.COMPLETED),
        Find(batch=1, limit=3),
        Find(limit=100),
    ]
    for which in searches:
        before = all_jobs(store)
        meant = {job.id for job in before if fits(job, which) and can(job)}
        assert change_all(store, which, deed) == len(meant), which
        after = {job.id: job for job in all_jobs(store)}
        assert [after.get(job.id) for job in before if job.id not in meant] == [j for j in before if j.id not in meant]
        assert all(is_done(after.get(job)) for job in meant)


def test_cancelling_all_ends_what_waits_and_tells_whoever_runs_the_others(store):
    runner = store.enlist(QUEUE, "tests")
    running, waiting = push(store), push(store)
    [claim] = claim_all(store, runner, limit=1)
    assert store.change(Find(queue=QUEUE), "cancel") == Changed(2, None)
    assert store.held(runner).cancelled == {running}
    assert (store.get(waiting).message, store.get(waiting).settled_at) == ("cancelled", store.now())
    assert apply(store, raised(claim)) == []


def test_restored_jobs_start_afresh(store):
    failed = a_failed_job(store)
    assert store.change(Find(status=JobStatus.FAILED), "restore") == Changed(1, None)
    job = store.get(failed)
    assert (job.status, job.retry_count, job.message, job.settled_at) == (JobStatus.PENDING, 0, "", None)


def test_what_waits_for_its_time_is_tried_again_now_with_its_counters_as_they_are(store):
    runner = store.enlist(QUEUE, "tests")
    later, retrying = push(store, delay=SECOND, timing=True), push(store)
    apply(store, again(claim_one(store, runner), timedelta(days=1)))
    running = push(store, priority=1)
    claim_one(store, runner)
    failed = settled_at_once(store, raised)
    assert store.change(Find(), "retry") == Changed(3, None)
    assert store.change(Find(), "retry") == Changed(0, None)
    assert [(store.get(job).retry_count, store.get(job).run_at) for job in (later, retrying, failed)] == [
        (0, store.now()),
        (1, store.now()),
        (0, store.now()),
    ]
    assert {claim.job.id for claim in claim_all(store, runner)} == {later, retrying, failed}
    assert store.get(running).status is JobStatus.RUNNING


def test_a_job_tried_again_before_its_time_keeps_its_order(store):
    runner = store.enlist(QUEUE, "tests")
    order = Terms(order="o")
    early, late = push(store, terms=order, delay=SECOND, priority=-1), push(store, terms=order)
    assert store.change(Find(status=JobStatus.PENDING, before=late), "retry") == Changed(1, None)
    assert [claim.job.id for claim in claim_all(store, runner)] == [early]


def test_what_follows_others_goes_on_waiting_for_them(store, clock):
    runner = store.enlist(QUEUE, "tests")
    first, follower = store.push(
        [
            new_job(terms=Terms(followed=True), delay=SECOND * 2),
            new_job(terms=Terms(follows=-1, order="o"), delay=SECOND),
        ]
    )
    assert store.change(Find(after=first), "retry") == Changed(1, None)
    assert claim_all(store, runner) == []
    other = push(store, terms=Terms(order="o"))
    assert [claim.job.id for claim in claim_all(store, runner)] == [other]
    clock.advance(SECOND * 2)
    [claim] = claim_all(store, runner)
    assert claim.job.id == first
    assert store.get(follower).status is JobStatus.PENDING


def test_jobs_with_terms_are_cancelled_restored_and_deleted_with_all_that_hangs_on_it(store):
    batch = store.batches.open(QUEUE)
    in_batch = push(store, terms=Terms(batch=batch, key="k", limit=Lane("one", most=1)))
    first, follower = store.push([new_job(terms=Terms(followed=True)), new_job(terms=Terms(follows=-1))])
    assert store.change(Find(), "cancel") == Changed(3, None)
    assert store.batches.get(batch).cancelled == 1
    assert store.get(follower).message == "cancelled"
    holder = push(store, terms=Terms(key="k"))
    assert store.change(Find(name="task"), "restore") == Changed(2, None)
    assert [store.get(job).status for job in (in_batch, first, follower, holder)] == [
        CANCELLED,
        *[JobStatus.PENDING] * 3,
    ]
    assert store.change(Find(), "delete") == Changed(1, None)
    assert [job.id for job in all_jobs(store)] == [first, follower, holder]


def test_deleted_jobs_leave_nothing_behind(store):
    failed = a_failed_job(store, data=b"x" * 3000)
    assert store.change(Find(queue=QUEUE, status=JobStatus.FAILED), "delete") == Changed(1, None)
    assert store.history(failed) == all_jobs(store) == []


def test_a_change_joins_an_open_transaction(store):
    job = push(store)
    with pytest.raises(ZeroDivisionError), store.transaction():
        assert store.change(Find(), "cancel") == Changed(1, None)
        assert store.change(Find(status=CANCELLED), "delete") == Changed(1, None)
        raise ZeroDivisionError
    assert store.get(job).status is JobStatus.PENDING


@pytest.mark.parametrize(
    ("which", "deed", "meanwhile"),
    [
        (Find(status=JobStatus.FAILED), "delete", lambda store: store.restore(QUEUE, None)),
        (Find(status=JobStatus.FAILED), "restore", lambda store: store.restore(QUEUE, None)),
        (Find(text="<old>"), "delete", lambda store: store.edit(1, b"<new>")),
        (Find(status=JobStatus.PENDING), "cancel", lambda store: claim_all(store)),
    ],
    ids=["restored", "restored before", "edited", "claimed"],
)
def test_a_job_that_came_to_be_otherwise_since_it_was_found_is_left_alone(
    store, engine, monkeypatch, which, deed, meanwhile
):
    if engine == "memory":
        pytest.skip("nobody comes between")
    job = push(store) if deed == "cancel" else a_failed_job(store, data=b"<old>")
    database = store._db()
    write = database.write

    def slow_write(*arguments):
        monkeypatch.setattr(database, "write", write)
        meanwhile(store)
        return write(*arguments)

    monkeypatch.setattr(database, "write", slow_write)
    assert store.change(which, deed) == Changed(0, None)
    assert database.write == write
    assert not store.get(job).cancel_requested


def test_the_largest_id_there_can_be_is_nobodys(store):
    job = push(store)
    assert store.change(Find.only(2**63 - 1), "cancel").count == 0
    assert store.change(Find.only(job), "cancel").count == 1
