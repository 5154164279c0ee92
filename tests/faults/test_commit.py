"""Commits whose fate is unknown, and what fails after one: nobody is told wrong, no claim is forgotten."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prove.clock import START, FakeClock
from workqueue import Context, Job, JobStatus, Queue, RecoverableWorkerError, StoreUnavailable
from workqueue.job import NewJob, Terms
from workqueue.schedule import Schedule
from workqueue.store.contract import Want
from workqueue.store.paging import Find
from workqueue.store.sqlite import checkpoints, connection, database
from workqueue.store.sqlite.connection import LOG_LIMIT
from workqueue.store.sqlite.engine import SqliteStore
from workqueue.upkeep import Upkeep

from support import completed, raised

LEASE = timedelta(seconds=60)


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    error.sqlite_errorname = "SQLITE_IOERR"
    return error


class Disk:
    """Answers the next COMMIT of a transaction that ran `statement` with an I/O error, when `fails` is set.

    lasts: whether the commit is done all the same. then: called between the commit and its answer.
    """

    def __init__(self) -> None:
        self.statement = ""
        self.lasts = False
        self.fails = False
        self.then: Callable[[], None] = lambda: None
        self.opens = True


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk()

    class Connection(connection.Connection):
        seen = ""

        def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
            if sql.startswith("BEGIN"):
                self.seen = ""
            self.seen += sql
            if sql.startswith("COMMIT") and disk.fails and disk.statement in self.seen:
                disk.fails = False
                super().execute(sql if disk.lasts else "ROLLBACK")
                disk.then()
                raise sqlite_error(sqlite3.SQLITE_IOERR)
            return super().execute(sql, parameters)

    connect = sqlite3.connect

    def connected(*args: Any, **options: Any) -> sqlite3.Connection:
        if not disk.opens:
            disk.opens = True
            raise sqlite_error(sqlite3.SQLITE_CANTOPEN)
        return connect(*args, **options | {"factory": Connection})

    class Module:
        def __getattr__(self, name: str) -> object:
            return connected if name == "connect" else getattr(sqlite3, name)

    monkeypatch.setattr(connection, "sqlite3", Module())
    yield disk


@pytest.fixture
def store(disk: Disk, tmp_path: Path) -> Iterator[SqliteStore]:
    del disk
    store = SqliteStore(tmp_path / "jobs.db")
    yield store
    store.close()


def push(store: SqliteStore, count: int = 1) -> list[int]:
    return store.push([NewJob(queue="q", name="n", data=b"1")] * count)


@pytest.mark.parametrize("lasts", [True, False])
def test_a_claim_of_unknown_fate_is_looked_up_by_its_attempt(disk: Disk, tmp_path: Path, lasts: bool) -> None:
    """The runner holds the job before and after: only the attempt tells whether the claim is there."""
    ran: list[int] = []
    ended = threading.Event()

    class Twice:
        def id(self) -> str:
            return "twice"

        def do_work(self, ctx: Context, job: Job) -> None:
            ran.append(job.attempt)
            if job.attempt == 1:
                disk.statement, disk.lasts, disk.fails = "SET status = 4", lasts, True
                raise RecoverableWorkerError("again", delay=0)
            ended.set()

    with Queue(tmp_path / "jobs.db", Twice()) as queue:
        queue.push("n")
        assert ended.wait(30)
        assert queue.wait_idle(30)
    assert not disk.fails
    assert ran == [1, 2]


@pytest.mark.parametrize("lasts", [True, False])
def test_what_was_refused_does_not_tell_whether_the_rest_was_stored(
    disk: Disk, store: SqliteStore, lasts: bool
) -> None:
    push(store, 2)
    runner = store.enlist("q", "first")
    stale, held = store.turn([], Want("q", runner, LEASE, 2)).claims
    store.turn([completed(stale)], None)
    disk.statement, disk.lasts, disk.fails = "DELETE FROM jobs", lasts, True
    assert store.turn([completed(stale), completed(held)], None).refused == [stale]
    assert not disk.fails
    assert store.size("q").waiting == 0


@pytest.fixture
def still(disk: Disk, tmp_path: Path) -> Iterator[SqliteStore]:
    """A store whose clock stands, so that times tell nothing apart."""
    disk.statement = "INSERT INTO jobs"
    store = SqliteStore(tmp_path / "jobs.db", clock=FakeClock())
    store.enlist("q", "first")  # gives out an id of another table
    yield store
    store.close()


def of_another(path: str, queue: str, *, pushed_at: int = START) -> None:
    """Push as another process does."""
    other = sqlite3.connect(path)
    with other:
        other.execute(
            "INSERT INTO jobs (queue, name, priority, position, run_at, pushed_at, ready, backoff, data)"
            " VALUES (?, 'other', 0, 0, 0, ?, 1, 1, x'31')",
            (queue, pushed_at),
        )
    other.close()


def found(store: SqliteStore) -> list[tuple[int, str]]:
    return [(job.id, job.name) for job in store.find(Find()).jobs]


@pytest.mark.parametrize("lasts", [True, False])
def test_a_push_of_unknown_fate_is_there_once(disk: Disk, still: SqliteStore, lasts: bool) -> None:
    disk.lasts, disk.fails = lasts, True
    assert push(still) == [1]
    assert push(still) == [2]
    disk.fails = True
    assert push(still) == [3]
    assert not disk.fails
    assert found(still) == [(1, "n"), (2, "n"), (3, "n")]


@pytest.mark.parametrize(("queue", "pushed_at"), [("other", START), ("q", START + 1)])
def test_a_push_that_did_not_last_is_not_taken_for_the_one_that_got_its_id(
    disk: Disk, still: SqliteStore, queue: str, pushed_at: int
) -> None:
    push(still)
    disk.fails, disk.then = True, lambda: of_another(still.path, queue, pushed_at=pushed_at)
    assert push(still) == [3]
    assert found(still) == [(1, "n"), (2, "other"), (3, "n")]


def test_a_push_that_lasted_and_was_worked_off_is_not_done_again(disk: Disk, still: SqliteStore) -> None:
    def work_off() -> None:
        with sqlite3.connect(still.path) as other:
            other.execute("DELETE FROM jobs WHERE id = 2")
        other.close()

    push(still)
    disk.lasts, disk.fails, disk.then = True, True, work_off
    assert push(still) == [2]
    assert found(still) == [(1, "n")]


# schedules

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
LATER = FIRST + timedelta(hours=1)


@pytest.fixture
def hourly(disk: Disk, still: SqliteStore) -> SqliteStore:
    """A store with one job, a schedule that is to fire, and others that stand at the same slot."""
    push(still)
    for queue, name in (("q", "ours"), ("q", "another"), ("other", "ours")):
        still.schedules.put(queue, name, Schedule(every="@hourly"), FIRST)
    disk.statement = "UPDATE schedules SET next_at"
    return still


def fire(store: SqliteStore) -> list[int] | None:
    job = NewJob(queue="q", name="n", data=b"1")
    return store.schedules.fire("q", "ours", seen=FIRST, then=LATER, jobs={FIRST: job})


def next_slots(store: SqliteStore) -> dict[str, datetime]:
    return {standing.name: standing.next_at for standing in store.schedules.standings("q")}


@pytest.mark.parametrize("lasts", [True, False])
def test_a_slot_of_unknown_fate_is_fired_once(disk: Disk, hourly: SqliteStore, lasts: bool) -> None:
    disk.lasts, disk.fails = lasts, True
    assert fire(hourly) == [2]
    assert not disk.fails
    assert found(hourly) == [(1, "n"), (2, "n")]
    assert next_slots(hourly) == {"ours": LATER, "another": FIRST}


def test_a_slot_that_another_process_fired_meanwhile_is_not_taken_for_ours(disk: Disk, hourly: SqliteStore) -> None:
    def another_fires() -> None:
        of_another(hourly.path, "other")
        with sqlite3.connect(hourly.path) as other:
            other.execute("UPDATE schedules SET next_at = next_at + 1 WHERE queue = 'q' AND name = 'ours'")
        other.close()

    disk.fails, disk.then = True, another_fires
    assert fire(hourly) is None
    assert found(hourly) == [(1, "n"), (2, "other")]


def test_a_slot_that_did_not_last_is_fired_again_though_its_ids_came_and_went(disk: Disk, hourly: SqliteStore) -> None:
    def come_and_go() -> None:
        of_another(hourly.path, "other")
        with sqlite3.connect(hourly.path) as other:
            other.execute("DELETE FROM jobs WHERE id = 2")
        other.close()

    disk.fails, disk.then = True, come_and_go
    assert fire(hourly) == [3]
    assert found(hourly) == [(1, "n"), (3, "n")]


@pytest.mark.parametrize("lasts", [True, False])
def test_schedules_of_unknown_fate_are_as_was_asked(disk: Disk, hourly: SqliteStore, lasts: bool) -> None:
    def fail(statement: str) -> None:
        disk.statement, disk.lasts, disk.fails = statement, lasts, True

    schedules = hourly.schedules
    fail("INSERT INTO schedules")
    schedules.put("q", "new", Schedule(every="@daily"), FIRST)
    fail("SET paused = 1")
    schedules.pause("q", "new")
    assert [standing.paused for standing in schedules.standings("q")] == [False, True, False]
    fail("SET paused = 0")
    schedules.resume("q", "new")
    assert not any(standing.paused for standing in schedules.standings("q"))
    fail("DELETE FROM schedules")
    assert schedules.forget("q", "new") is True
    assert next_slots(hourly) == {"ours": FIRST, "another": FIRST}
    fail("DELETE FROM schedules")
    assert schedules.forget("q", "new") is False
    assert not disk.fails


@pytest.mark.parametrize("lasts", [True, False])
def test_people_get_the_answer_to_what_was_done(disk: Disk, store: SqliteStore, lasts: bool) -> None:
    [first, second] = push(store, 2)

    def fail(statement: str) -> None:
        disk.statement, disk.lasts, disk.fails = statement, lasts, True

    fail("message = 'cancelled'")
    assert store.cancel(first)
    fail("RETURNING id")
    assert store.restore("q", [first]) == 1
    assert store.cancel(first)
    fail("RETURNING id")
    assert store.clean("q", JobStatus.CANCELLED) == 1
    assert [job.id for job in store.find(Find()).jobs] == [second]
    fail("INSERT INTO runners")
    runner = store.enlist("q", "only")
    assert [runner.id for runner in store.overview().runners] == [runner]
    assert not disk.fails


@pytest.mark.parametrize("lasts", [True, False])
def test_what_others_have_settled_does_not_tell_whether_ours_was_restored_or_cleaned(
    disk: Disk, store: SqliteStore, lasts: bool
) -> None:
    first, second = push(store, 2)
    for job_id in (first, second):
        assert store.cancel(job_id)
    disk.statement, disk.lasts, disk.fails = "RETURNING id", lasts, True
    assert store.restore("q", [first]) == 1
    assert [job.status for job in store.find(Find()).jobs] == [JobStatus.PENDING, JobStatus.CANCELLED]
    push_failed(store)
    disk.fails = True
    assert store.clean("q", JobStatus.CANCELLED) == 1
    assert not disk.fails


def push_failed(store: SqliteStore) -> None:
    runner = store.enlist("q", "fails")
    for claim in store.turn([], Want("q", runner, LEASE, 9)).claims:
        store.turn([raised(claim)], None)


@pytest.mark.parametrize("lasts", [True, False])
def test_a_running_job_is_asked_to_end_whatever_came_of_the_commit(disk: Disk, store: SqliteStore, lasts: bool) -> None:
    [job] = push(store)
    runner = store.enlist("q", "runs it")
    store.turn([], Want("q", runner, LEASE, 1))
    disk.statement, disk.lasts, disk.fails = "SET cancel_requested", lasts, True
    assert store.cancel(job)
    assert store.held(runner).cancelled == {job}
    assert not disk.fails


@pytest.mark.parametrize("lasts", [True, False])
def test_an_edit_is_told_of_whatever_came_of_the_commit(disk: Disk, store: SqliteStore, lasts: bool) -> None:
    [job] = push(store)
    disk.statement, disk.lasts, disk.fails = "SET data", lasts, True
    assert store.edit(job, b"2", was=store.get(job).data)
    assert store.get(job).data == b"2"
    assert not disk.fails


@pytest.mark.parametrize("lasts", [True, False])
def test_other_claims_of_the_runner_do_not_tell_whether_the_last_one_is_there(
    disk: Disk, store: SqliteStore, lasts: bool
) -> None:
    push(store, 2)
    runner = store.enlist("q", "has both")
    store.turn([], Want("q", runner, LEASE, 1))
    disk.statement, disk.lasts, disk.fails = "SET status = 4", lasts, True
    [claim] = store.turn([], Want("q", runner, LEASE, 1)).claims
    assert not disk.fails
    assert store.held(runner).held == {1: 1, 2: 1}
    assert claim.job.id == 2


def test_a_claim_that_did_not_last_and_went_to_another_runner_is_not_ours(disk: Disk, store: SqliteStore) -> None:
    def claim_it() -> None:
        with sqlite3.connect(store.path) as other:
            other.execute("UPDATE jobs SET status = 4, ready = NULL, attempt = 1, runner = 99, lease_until = 1")
        other.close()

    push(store)
    runner = store.enlist("q", "too late")
    disk.statement, disk.fails, disk.then = "SET status = 4", True, claim_it
    assert store.turn([], Want("q", runner, LEASE, 1)).claims == []
    assert not disk.fails


def test_a_claim_whose_turn_raised_is_handed_back(disk: Disk, tmp_path: Path) -> None:
    """It lasted, its answer did not come, and nobody could look: the runner's own beat would keep it for ever."""
    ran = threading.Event()

    class Worker:
        def id(self) -> str:
            return "worker"

        def do_work(self, ctx: Context, job: Job) -> None:
            ran.set()

    def away() -> None:
        disk.opens = False

    with Queue(tmp_path / "jobs.db", Worker(), auto_start=False) as queue:
        job = queue.push("n")
        disk.statement, disk.lasts, disk.fails, disk.then = "SET status = 4", True, True, away
        queue.start()
        assert ran.wait(30)
        assert queue.wait_idle(30)
        assert not any(found.id == job for found in queue.jobs())
    assert not disk.fails


def test_a_checkpoint_that_fails_does_not_fail_the_write_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def checkpoint(self: database.Database) -> tuple[int, int, int]:
        raise StoreUnavailable("the disk went away", path=self.path)

    monkeypatch.setattr(checkpoints, "PAGES", 1)
    with Queue(tmp_path / "jobs.db") as queue:
        monkeypatch.setattr(database.Database, "checkpoint_in_turn", checkpoint)
        job = queue.push("n")
        with queue.transaction() as connection:
            connection.execute("CREATE TABLE mine (x)")
        monkeypatch.undo()
        assert [found.id for found in queue.jobs()] == [job]


def test_what_fails_inside_a_transaction_is_an_error_of_ours(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> list[int]:
        raise sqlite_error(sqlite3.SQLITE_IOERR)

    monkeypatch.setattr("workqueue.store.sqlite.engine.store", broken)
    with pytest.raises(StoreUnavailable), store.transaction():  # noqa: PT012 - the push is what raises
        push(store)


def test_a_large_guest_transaction_lets_the_log_begin_anew(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with Queue(path) as queue:
        with queue.transaction() as connection:
            connection.execute("CREATE TABLE blobs (data BLOB)")
        sizes: list[int] = []
        for _ in range(12):
            with queue.transaction() as connection:
                connection.execute("INSERT INTO blobs VALUES (randomblob(8388608))")
            sizes.append(path.with_name("jobs.db-wal").stat().st_size)
    assert max(sizes) < LOG_LIMIT + 2 * 8_400_000


def test_a_step_of_the_clock_between_the_look_and_the_judgement_robs_nobody(tmp_path: Path) -> None:
    ahead = [0]
    store = SqliteStore(tmp_path / "jobs.db", clock=lambda: time.time_ns() // 1000 + ahead[0])
    lease = timedelta(milliseconds=1)  # over at once: upkeep is quiet for a quarter of it only
    runner = store.enlist("q", "alive")
    push(store)
    store.turn([], Want("q", runner, LEASE, 1))
    upkeep = Upkeep(store, runner + 1, every=LEASE, lease=lease, archive=True)
    orphans = store.orphans

    def stepping(*, expired: bool, limit: int) -> Any:
        ahead[0] = 3_600_000_000
        return orphans(expired=expired, limit=limit)

    store.orphans = stepping  # type: ignore[method-assign]
    assert upkeep.step() == []
    store.close()


def test_nobody_judges_leases_after_standing_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that ran on the machine may have been stopped, too: who wakes first must not rob the others."""
    at = [0.0]
    monkeypatch.setattr("workqueue.upkeep.time.monotonic", lambda: at[0])
    store = SqliteStore(tmp_path / "jobs.db", clock=lambda: int(at[0] * 1e6))
    runner = store.enlist("q", "alive")
    push(store)
    store.turn([], Want("q", runner, LEASE, 1))
    upkeep = Upkeep(store, runner + 1, every=timedelta(seconds=1), lease=LEASE, archive=True)
    at[0] = 40.0
    assert upkeep.step() == []
    at[0] = 140.0
    assert upkeep.step() == []
    for _ in range(70):
        at[0] += 1
        verdicts = upkeep.step()
    assert [verdict.claim.runner for verdict in verdicts] == [runner]
    store.close()


@pytest.mark.parametrize("lasts", [True, False])
def test_a_batch_of_unknown_fate_is_not_taken_for_that_of_another(disk: Disk, store: SqliteStore, lasts: bool) -> None:
    theirs: list[int | None] = []

    def open_theirs() -> None:  # another process
        other = sqlite3.connect(store.path)
        theirs.append(other.execute("INSERT INTO batches (queue) VALUES ('q')").lastrowid)
        other.commit()
        other.close()

    disk.statement, disk.lasts, disk.fails, disk.then = "INTO batches", lasts, True, open_theirs
    assert store.batches.open("q") not in theirs
    assert len(theirs) == 1


@pytest.mark.parametrize("lasts", [True, False])
def test_a_seal_of_unknown_fate_pushes_its_jobs_once(disk: Disk, store: SqliteStore, lasts: bool) -> None:
    batch = store.batches.open("q")
    disk.statement, disk.lasts, disk.fails = "SET sealed = 1", lasts, True
    jobs = [
        NewJob(queue="q", name="n", data=b"1", terms=terms)
        for terms in (Terms(batch=batch), Terms(follows_batch=batch))
    ]
    pushed = store.batches.seal(batch, jobs)
    assert [job.id for job in store.find(Find()).jobs] == pushed
    assert store.batches.get(batch).total == 1


def test_a_batch_that_could_not_be_sealed_can_be_sealed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(tmp_path / "jobs.db")
    work = queue.task(name="work")(lambda: None)
    batch = queue.batch(then=work.s())
    batch.add(work.s())
    with monkeypatch.context() as patch:
        patch.setattr(
            database.Database, "write", lambda *_, **__: (_ for _ in ()).throw(StoreUnavailable("away", path=""))
        )
        with pytest.raises(StoreUnavailable):
            batch.seal()
    assert queue.size().waiting == 0
    batch.seal()
    assert queue.size().waiting == 2
    assert batch.standing().sealed
    queue.close()
