"""push within the application's own transaction: with each kind of connection, on each engine that has a database."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest
from workqueue import DuplicateJob, JobStatus, Queue, Size, UsageError, chain
from workqueue import batch as batches
from workqueue.backoff import Backoff
from workqueue.errors import BatchNotFound
from workqueue.job import Terms

from lenders import ON_A_FILE, ON_A_SERVER, TABLE, THROUGH_A_POOLER, Lending
from postgres_fixtures import VERSIONS, Servers
from support import new_job

KINDS = {"file": ON_A_FILE, "server": ON_A_SERVER, "pooler": THROUGH_A_POOLER}
HOUR = timedelta(hours=1)
names = (f"queue {number}" for number in itertools.count())


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory, postgres_servers: Servers) -> Iterator[Callable[[str], str]]:
    """Give a place for the queues of all tests here, by its kind; a queue there opens fast, for one is open already."""
    found: dict[str, str] = {}
    with ExitStack() as after:

        def home(kind: str) -> str:
            if kind in found:
                return found[kind]
            if kind == "file":
                place = str(tmp_path_factory.mktemp("within") / "jobs.db")
            elif kind == "server":
                place = after.enter_context(postgres_servers.database(VERSIONS[-1]))
            else:
                place = after.enter_context(postgres_servers.pooled(VERSIONS[0]))
            queue = after.enter_context(Queue(place))
            with queue.transaction() as rows:
                rows.execute(TABLE)
            return found.setdefault(kind, place)

        yield home


@pytest.fixture(params=[(kind, name) for kind, lends in KINDS.items() for name in lends], ids=" ".join)
def lender(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param


@pytest.fixture
def place(lender: tuple[str, str], homes: Callable[[str], str]) -> str:
    return homes(lender[0])


@pytest.fixture
def queue(place: str) -> Iterator[Queue]:
    """One of its own in the place that all tests share."""
    with Queue(place, id=next(names), poll_rate=0.02) as queue:
        yield queue
        assert queue.check() == []


@pytest.fixture
def lent(lender: tuple[str, str], place: str, queue: Queue) -> Iterator[Lending]:
    with KINDS[lender[0]][lender[1]](place) as lending:
        yield lending


@pytest.fixture
def orders(queue: Queue) -> Iterator[Callable[[], list[str]]]:
    """The application's own rows."""
    with queue.transaction() as rows:
        rows.execute("DELETE FROM orders")

    def read() -> list[str]:
        with queue.transaction() as rows:
            return [word for (word,) in rows.execute("SELECT word FROM orders ORDER BY word").fetchall()]

    return read


# commit and rollback


def test_a_job_is_there_when_the_transaction_commits_and_not_before(queue, lent, orders):
    lent.insert("a")
    job = queue.push("task", {"a": 1}, within=lent.connection)
    assert queue.size() == Size(waiting=0, failed=0)
    lent.commit()
    assert queue.get(job).decode() == {"a": 1}
    assert queue.size() == Size(waiting=1, failed=0)
    assert orders() == ["a"]


def test_a_job_goes_when_the_transaction_is_rolled_back(queue, lent, orders):
    lent.insert("a")
    queue.push("task", within=lent.connection)
    lent.roll_back()
    assert queue.size().waiting == 0
    assert orders() == []


def test_a_job_goes_with_the_savepoint_that_it_was_pushed_after(queue, lent, orders):
    lent.insert("a")
    kept = queue.push("kept", within=lent.connection)
    with lent.savepoint():
        lent.insert("b")
        queue.push("gone", within=lent.connection)
    lent.commit()
    assert [job.id for job in queue.jobs()] == [kept]
    assert orders() == ["a"]


@pytest.mark.parametrize("commits", [True, False])
def test_a_push_may_be_what_begins_the_transaction(queue, lent, orders, commits):
    queue.push("task", within=lent.connection)
    lent.insert("a")
    (lent.commit if commits else lent.roll_back)()
    assert queue.size().waiting == int(commits)
    assert orders() == ["a"] * commits


def test_one_transaction_after_another_each_as_it_ends(queue, lent):
    pushed = []
    for number in range(12):
        pushed.append(queue.push("task", number, within=lent.connection))
        if number % 2:
            lent.commit()
        else:
            lent.roll_back()
            pushed.pop()
    assert [job.id for job in queue.jobs()] == pushed


# what is pushed


def test_every_verb_that_pushes(queue, lent, place):
    within = {"within": lent.connection}
    with Queue(place, id=queue.id, timing=True) as by_time:
        jobs = [
            queue.push("a", [1], priority=3, **within),
            queue.push_after("b", None, HOUR, **within),
            queue.push_bytes("c", b"\x00\xff" * 2000, **within),
            *queue.push_many("d", ({"n": n} for n in range(3)), **within),
            *queue.push_many("e", [b"x" * n for n in (1, 5000)], **within),
            by_time.push("f", **within),
        ]
        lent.commit()
    assert jobs == sorted(jobs)
    a, b, c, *d, e, large, f = queue.jobs()
    assert [job.id for job in (a, b, c, *d, e, large, f)] == jobs
    assert (a.decode(), a.priority, c.data) == ([1], 3, b"\x00\xff" * 2000)
    assert b.run_at - b.pushed_at == HOUR
    assert [job.decode() for job in d] == [{"n": n} for n in range(3)]
    assert [len(job.data) for job in (e, large)] == [6, 6670]
    assert {job.status for job in queue.jobs()} == {JobStatus.PENDING}


def test_thousands_at_once_are_all_of_the_transaction(queue, lent):
    assert len(queue.push_many("task", range(2001), within=lent.connection)) == 2001
    lent.roll_back()
    assert queue.size().waiting == 0


def test_jobs_of_several_heads_are_one_push(queue, lent):
    jobs = [new_job(queue=queue.id, name=name) for name in "aabc"]
    pushed = queue._store.push(jobs, within=lent.connection)
    lent.commit()
    assert [(job.id, job.name) for job in queue.jobs()] == list(zip(pushed, "aabc", strict=True))


def test_a_retry_rule_that_nobody_knew(queue, lent, place):
    """It is written on the application's connection where that has the only lock, and forgotten with its rollback."""
    rules = [Backoff(min=1, max=HOUR, limit=number) for number in (3, 4)]
    ours, others = (Queue(place, id=queue.id, backoff=rule) for rule in rules)
    with ours, others:
        lent.insert("a")
        ours.push("task", within=lent.connection)
        ours.push("task", within=lent.connection)
        lent.roll_back()
        other = others.push("task", within=lent.connection)
        lent.commit()
        job = ours.push("task", within=lent.connection)
        lent.commit()
        assert [queue.get(one).backoff for one in (job, other)] == rules


# tasks


def test_a_task_is_pushed_within(queue, lent):
    task = queue.task(name="add")(lambda a, b: a + b)
    inside = task.using(within=lent.connection)
    handle = inside.push(1, b=2)
    many = inside.push_many([(3, 4), {"a": 5, "b": 6}])
    assert queue.size().waiting == 0
    lent.commit()
    assert [job.decode() for job in queue.jobs()] == [{"a": a, "b": a + 1} for a in (1, 3, 5)]
    assert [job.id for job in queue.jobs()] == [handle.id, *many]
    task.push(7, 8)
    assert queue.size().waiting == 4


def test_limits_orders_and_expiry_go_with_it(queue, lent):
    task = queue.task(name="visit", limit=1, limit_by="host", ordered_by="host", expires=60)(lambda host: None)
    task.using(within=lent.connection).push_many([("a",), ("b",), ("a",)])
    lent.commit()
    assert queue.size().waiting == 3
    assert {job.terms.limit.most for job in queue.jobs()} == {1}
    assert queue.start()
    assert queue.wait_idle(20)


def test_arguments_of_any_length_limit_order_and_are_keys(queue, lent):
    options = {"limit": 1, "limit_by": "host", "rate": "1000/s", "rate_by": "host", "ordered_by": "host"}
    task = queue.task(name="n" * 255, key_by="host", **options)(lambda host: None)
    long = random.Random(1).randbytes(4000).hex()  # a server makes short what repeats itself
    task.using(within=lent.connection).push_many([(f"{long}{end}",) for end in "aab"])
    task.using(within=lent.connection, key=long).push("c")
    lent.commit()
    assert queue.size().waiting == 3
    assert queue.start()
    assert queue.wait_idle(20)


@pytest.mark.parametrize("commits", [True, False])
def test_a_key_is_taken_when_the_transaction_commits(queue, lent, commits):
    task = queue.task(name="once")(lambda: None)
    inside = task.using(within=lent.connection, key="k", unique_for=HOUR)
    lent.insert("a")
    first = inside.push()
    assert inside.push().id == first.id
    (lent.commit if commits else lent.roll_back)()
    second = task.using(key="k").push()
    assert [job.id for job in queue.jobs()] == [second.id]
    assert second.id == first.id or not commits


def test_a_key_that_is_taken_is_seen_within(queue, lent, orders):
    task = queue.task(name="once")(lambda: None)
    first = task.using(key="k").push()
    inside = task.using(within=lent.connection, key="k")
    lent.insert("a")
    assert inside.push().id == first.id
    with pytest.raises(DuplicateJob):
        inside.using(on_conflict="error").push()
    second = inside.using(on_conflict="replace").push()
    assert second.id > first.id
    lent.commit()
    assert [(job.id, job.status) for job in queue.jobs()] == [
        (first.id, JobStatus.CANCELLED),
        (second.id, JobStatus.PENDING),
    ]
    assert orders() == ["a"]


def test_a_batch_and_what_follows_it(queue, lent):
    ran = []
    part = queue.task(name="part")(ran.append)
    with queue.batch(within=lent.connection, then=part.s("then")) as batch:
        for number in range(3):
            batch.add(part.s(number))
    with pytest.raises(BatchNotFound):
        batch.standing()
    lent.commit()
    assert (batch.standing().total, batch.standing().sealed) == (3, True)
    queue.start()
    assert queue.wait_idle(20)
    assert sorted(ran[:3]) == [0, 1, 2]
    assert ran[3:] == ["then"]


def test_a_batch_that_is_given_up_within(queue, lent, monkeypatch):
    monkeypatch.setattr(batches, "_AT_ONCE", 1)
    part = queue.task(name="part")(lambda: None)
    with pytest.raises(ZeroDivisionError), queue.batch(within=lent.connection) as batch:
        batch.add(part.s())
        raise ZeroDivisionError
    lent.commit()
    assert [job.status for job in queue.jobs()] == [JobStatus.CANCELLED]


def test_a_chain(queue, lent):
    inc = queue.task(name="inc", keep_results=60)(lambda n: n + 1)
    last = chain(inc.s(1), inc.s()).push(within=lent.connection)
    assert queue.size().waiting == 0
    lent.commit()
    queue.start()
    assert last.result(timeout=20) == 3


def test_a_call_of_a_task_within_is_not_for_a_batch_or_a_chain(queue, lent):
    task = queue.task(name="part")(lambda n: n)
    call = task.using(within=lent.connection).s(1)
    with pytest.raises(UsageError, match="within= to be said of the batch"):
        chain(task.s(1), call)
    with queue.batch() as batch, pytest.raises(UsageError, match="within= to be said of the batch"):
        batch.add(call)


# errors, and runners


def test_after_an_error_of_ours_the_transaction_is_as_it_was(queue, lent, orders):
    lent.insert("a")
    before = queue.push("task", within=lent.connection)
    jobs = [new_job(queue=queue.id), new_job(queue=queue.id, terms=Terms(batch=10**9))]
    with pytest.raises(UsageError, match="batch that is open"):
        queue._store.push(jobs, within=lent.connection)
    lent.insert("b")
    lent.commit()
    assert [job.id for job in queue.jobs()] == [before]
    assert orders() == ["a", "b"]


def test_an_error_leaves_no_transaction_open_that_was_not(queue, lent, lender):
    if "BEGIN" in lender[1] or lender[1] in ("Django", "sqlite3, autocommit=False"):
        pytest.skip("it was open")
    with pytest.raises(UsageError, match="batch that is open"):
        queue._store.push([new_job(terms=Terms(batch=10**9))], within=lent.connection)
    task = queue.task(name="task")(lambda: None)
    task.push()  # nobody has the lock of the file
    assert queue.size().waiting == 1


def test_inside_a_transaction_of_the_queues_own_it_is_refused(queue, lent):
    with queue.transaction(), pytest.raises(UsageError, match="leave it out"):
        queue.push("task", within=lent.connection)
    assert queue.size().waiting == 0


def test_a_runner_takes_what_was_committed(queue, lent):
    ran = threading.Event()
    queue.task(name="work")(lambda: ran.set())
    queue.start()
    queue.push("work", {}, within=lent.connection)
    assert not ran.wait(0.06), "three polls"
    lent.commit()
    assert ran.wait(20)
