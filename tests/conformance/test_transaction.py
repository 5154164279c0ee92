"""transaction: rows and jobs commit together or not at all, and nobody sees them before."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sqlite3
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import msgspec
import psycopg
import pytest
from workqueue.errors import JobNotFound, LeaseLost, UsageError
from workqueue.job import JobStatus, Lane, Size, Terms
from workqueue.schedule import Schedule
from workqueue.store.paging import Find
from workqueue.store.sqlite import database as database_module

from support import (
    LEASE,
    QUEUE,
    SECOND,
    a_failed_job,
    again,
    apply,
    claim_all,
    claim_one,
    completed,
    everything,
    ids,
    lost,
    new_job,
    open_engine,
    push,
)


class Oops(Exception):
    pass


def is_postgres(engine: str) -> bool:
    return engine.startswith("postgres")


def sql_error(engine: str) -> type[Exception]:
    return psycopg.Error if is_postgres(engine) else sqlite3.Error


@pytest.fixture
def table(store):
    with store.transaction() as transaction:
        transaction.execute("CREATE TABLE notes (word TEXT)")
    return lambda: words(store)


def words(store):
    with store.transaction() as transaction:
        return [word for (word,) in transaction.execute("SELECT word FROM notes ORDER BY word").fetchall()]


# the application's rows


def test_rows_are_there_after_the_block(store, table):
    with store.transaction() as transaction:
        transaction.execute("INSERT INTO notes VALUES (?)", ("a",))
        transaction.execute("INSERT INTO notes VALUES (:word)", {"word": "b"})
        transaction.executemany("INSERT INTO notes VALUES (?)", [("c",), ("d",)])
    assert table() == ["a", "b", "c", "d"]


def test_rows_are_gone_when_the_block_raises(store, table):
    with pytest.raises(Oops), store.transaction() as transaction:
        transaction.execute("INSERT INTO notes VALUES ('a')")
        raise Oops
    assert table() == []


def test_the_answer_to_a_statement_tells_its_rows(store, table, engine):
    with store.transaction() as transaction:
        rows = transaction.execute("INSERT INTO notes VALUES ('a'), ('b')")
        assert rows.rowcount == 2
        assert rows.lastrowid == (None if is_postgres(engine) else 2)
        rows = transaction.execute("SELECT word, 1, 2.5, NULL, ? FROM notes ORDER BY word", (b"\x00\xff",))
        assert rows.fetchone() == ("a", 1, 2.5, None, b"\x00\xff")
        assert rows.fetchall() == [("b", 1, 2.5, None, b"\x00\xff")]
        assert rows.fetchone() is None


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize(
    "statement", ["SELECT word FROM notes", "UPDATE notes SET word = word || '!' RETURNING word"], ids=["read", "write"]
)
def test_an_answer_that_is_not_read_to_its_end_holds_nothing_up(store, table, engine, monkeypatch, statement, fails):
    monkeypatch.setattr(database_module, "PATIENCE", 0.2)
    with store.transaction() as transaction:
        transaction.executemany("INSERT INTO notes VALUES (?)", [("a",), ("b",)])
    with suppress(Oops), store.transaction() as transaction:
        rows = transaction.execute(statement)
        assert rows.fetchone() is not None
        if fails:
            raise Oops
    push(store)
    end = "" if fails or statement.startswith("SELECT") else "!"
    assert table() == [f"a{end}", f"b{end}"]
    if not is_postgres(engine):  # there it was fetched as a whole
        with pytest.raises(sqlite3.ProgrammingError, match="closed cursor"):
            rows.fetchone()


def test_rows_that_were_changed_are_counted(store, table):
    with store.transaction() as transaction:
        assert transaction.executemany("INSERT INTO notes VALUES (?)", [("a",), ("b",), ("b",)]).rowcount == 3
        assert transaction.execute("UPDATE notes SET word = 'c' WHERE word = ?", ("b",)).rowcount == 2
        assert transaction.execute("DELETE FROM notes WHERE word = :word", {"word": "nowhere"}).rowcount == 0
        transaction.executemany("INSERT INTO notes VALUES (?)", [])
    assert table() == ["a", "c", "c"]


def test_parameters_are_only_where_the_engine_has_a_place_for_values(store, table):
    text = "INSERT INTO notes VALUES ('? :a 100% ''?'' ' || ?) /* :b ? */ -- ? :c"
    with store.transaction() as transaction:
        transaction.execute(text, ("one",))
        transaction.execute(text.replace("|| ?)", "|| :d)"), {"d": "two", "unused": 1})
        transaction.executemany(text, [("three",)])
        transaction.execute(text.replace("|| ?)", "|| 'four')"))
        transaction.execute("DELETE FROM notes WHERE word LIKE '%100!% %two' ESCAPE '!' AND 7 % ? = 3", (4,))
    assert table() == [f"? :a 100% '?' {word}" for word in ("four", "one", "three")]


def test_values_are_what_they_were(store):
    row = ("it's", -1, 2**40, 2.5, None, b"\x00'\xff", "", "\N{SNOWMAN} ?%s")
    types = "TEXT, INTEGER, BIGINT, DOUBLE PRECISION, TEXT, BYTEA, TEXT, TEXT".split(", ")
    with store.transaction() as transaction:
        columns = ", ".join(f"c{number} {kind}" for number, kind in enumerate(types))
        transaction.execute(f"CREATE TABLE kinds ({columns})")
        transaction.execute(f"INSERT INTO kinds VALUES ({', '.join('?' * len(row))})", row)
        assert transaction.execute("SELECT * FROM kinds WHERE c0 = ? AND c2 > ?", (row[0], 1)).fetchall() == [row]
        assert transaction.execute("SELECT substr(c0, ?, ?) FROM kinds", (1, 2)).fetchone() == ("it",)


def test_an_error_of_sql_is_the_drivers_own(store, table, engine):
    with pytest.raises(sql_error(engine)), store.transaction() as transaction:
        transaction.execute("INSERT INTO notes VALUES ('a')")
        transaction.execute("INSERT INTO nowhere VALUES (1)")
    assert table() == []


@pytest.mark.parametrize("goes_on", [True, False])
def test_an_error_of_sql_that_is_caught_leaves_the_transaction_open_except_on_postgres(store, table, engine, goes_on):
    def work() -> None:
        with store.transaction() as transaction:
            transaction.execute("INSERT INTO notes VALUES ('a')")
            with pytest.raises(sql_error(engine)):
                transaction.execute("INSERT INTO nowhere VALUES (1)")
            if goes_on:
                transaction.execute("INSERT INTO notes VALUES ('b')")

    if is_postgres(engine):
        with pytest.raises(UsageError, match="SAVEPOINT"):
            work()
        assert table() == []
    else:
        work()
        assert table() == (["a", "b"] if goes_on else ["a"])


def test_a_savepoint_saves_the_transaction_from_an_error_of_sql(store, table, engine):
    with store.transaction() as transaction:
        transaction.execute("INSERT INTO notes VALUES ('a')")
        push(store)
        transaction.execute("SAVEPOINT half")
        with pytest.raises(sql_error(engine)):
            transaction.execute("INSERT INTO nowhere VALUES (1)")
        transaction.execute("ROLLBACK TRANSACTION TO SAVEPOINT half")
        push(store)
    assert table() == ["a"]
    assert store.size(QUEUE).waiting == 2


def test_a_push_after_an_error_of_sql_is_written_or_refused(store, table, engine):
    def work() -> None:
        with store.transaction() as transaction:
            with pytest.raises(sql_error(engine)):
                transaction.execute("INSERT INTO nowhere VALUES (1)")
            push(store)

    if is_postgres(engine):
        with pytest.raises(UsageError, match="SAVEPOINT"):
            work()
    else:
        work()
    assert store.size(QUEUE).waiting == (0 if is_postgres(engine) else 1)


def test_savepoints_inside_the_block_are_free_to_use(store, table):
    with store.transaction() as transaction:
        transaction.execute("INSERT INTO notes VALUES ('a')")
        transaction.execute("SAVEPOINT half")
        transaction.execute("INSERT INTO notes VALUES ('b')")
        transaction.execute("ROLLBACK TO half")
        transaction.execute("RELEASE half")
    assert table() == ["a"]


ENDINGS = [
    *("COMMIT", "ROLLBACK", "END", "BEGIN", " commit ; ", "/* x */ ROLLBACK TRANSACTION", "-- x\n END"),
    "rollback/**/transaction -- to half",
]


@pytest.mark.parametrize("statement", ENDINGS)
def test_a_statement_that_ends_the_transaction_is_refused_and_nothing_is_written(store, table, statement):
    for _ in range(2):  # the second time the statement may come from a cache
        with pytest.raises(UsageError, match="leave that to the block"), store.transaction() as transaction:
            transaction.execute("INSERT INTO notes VALUES ('a')")
            push(store)
            transaction.execute(statement)
        assert everything(store) == []
        assert table() == []


@pytest.mark.parametrize("statement", ENDINGS)
def test_a_refusal_that_is_caught_leaves_the_transaction_open(store, table, statement):
    with pytest.raises(Oops), store.transaction() as transaction:
        transaction.execute("INSERT INTO notes VALUES ('a')")
        with pytest.raises(UsageError):
            transaction.execute(statement)
        transaction.execute("INSERT INTO notes VALUES ('b')")
        raise Oops
    assert table() == []


@pytest.mark.parametrize(
    "text", ["{}; COMMIT", "{}; COMMIT; BEGIN", "{}; ROLLBACK; BEGIN", "COMMIT; {}", "; COMMIT; {}"]
)
def test_a_text_of_several_statements_is_refused_and_nothing_is_written(store, table, text):
    statement = text.format("INSERT INTO notes VALUES ('a')")
    refused = (UsageError, sqlite3.Warning, sqlite3.ProgrammingError, psycopg.errors.SyntaxError)
    with pytest.raises(refused), store.transaction() as transaction:
        push(store)
        transaction.execute(statement)
    assert everything(store) == []
    assert table() == []


def test_a_conflict_that_rolls_back_is_noticed_at_the_end(store, table, engine):
    if is_postgres(engine):
        pytest.skip("PostgreSQL has no OR ROLLBACK: each of its errors is such a conflict")
    with store.transaction() as transaction:
        transaction.execute("CREATE UNIQUE INDEX once ON notes (word)")
    with pytest.raises(UsageError, match="leave that to the block"), store.transaction() as transaction:
        push(store)
        transaction.execute("INSERT INTO notes VALUES ('a')")
        with pytest.raises(sqlite3.IntegrityError):
            transaction.execute("INSERT OR ROLLBACK INTO notes VALUES ('a')")
    assert everything(store) == []


def test_what_is_done_after_a_conflict_that_rolls_back_is_written_nowhere(store, table, engine):
    if is_postgres(engine):
        pytest.skip("as above")
    with store.transaction() as transaction:
        transaction.execute("CREATE UNIQUE INDEX once ON notes (word)")
        transaction.execute("INSERT INTO notes VALUES ('a')")
    for verb in (lambda: push(store), lambda: store.schedules.put(QUEUE, "s", Schedule(every=SECOND), store.now())):
        with pytest.raises(UsageError, match="leave that to the block"), store.transaction() as transaction:
            with suppress(sqlite3.IntegrityError):
                transaction.execute("INSERT OR ROLLBACK INTO notes VALUES ('a')")
            verb()
    assert everything(store) == []
    assert store.schedules.standings(QUEUE) == []


def test_executemany_cannot_end_the_transaction(store, table):
    with store.transaction() as transaction:
        with pytest.raises((UsageError, sqlite3.ProgrammingError)):
            transaction.executemany("COMMIT", [()])
        transaction.execute("INSERT INTO notes VALUES ('a')")
    assert table() == ["a"]


# jobs inside


def test_jobs_pushed_inside_commit_with_the_block(store, table):
    with store.transaction() as transaction:
        transaction.execute("INSERT INTO notes VALUES ('a')")
        pushed = store.push([new_job(), new_job(data=b"x" * 5000)])
    assert table() == ["a"]
    assert ids(claim_all(store)) == pushed


def test_jobs_pushed_inside_vanish_with_a_rollback(store):
    kept = push(store)
    with pytest.raises(Oops), store.transaction():
        store.push([new_job(), new_job(data=b"x" * 5000)])
        assert store.size(QUEUE) == Size(waiting=3, failed=0)
        raise Oops
    assert store.size(QUEUE) == Size(waiting=1, failed=0)
    assert push(store) > kept
    assert len(claim_all(store)) == 2


def test_a_rule_first_stored_by_a_transaction_that_was_rolled_back_is_stored_again(store):
    from workqueue.backoff import Backoff

    rule = Backoff(factor=7)
    with pytest.raises(Oops), store.transaction():
        push(store, backoff=rule)
        raise Oops
    job_id = push(store, backoff=rule)
    assert store.get(job_id).backoff == rule


@pytest.mark.parametrize("fails", [True, False])
def test_jobs_with_terms_batches_and_schedules_inside_are_there_with_the_commit(store, clock, fails):
    hourly = Schedule(every="@hourly")
    slot = hourly.after(store.now())
    store.schedules.put(QUEUE, "old", hourly, slot)
    with suppress(Oops), store.transaction():
        first = push(store, terms=Terms(key="key"))
        assert push(store, terms=Terms(key="key")) == first
        batch = store.batches.open(QUEUE)
        store.batches.seal(batch, [new_job(terms=Terms(batch=batch)), new_job(terms=Terms(follows_batch=batch))])
        store.push([new_job(), new_job(terms=Terms(limit=Lane("lane", most=1)))])
        store.schedules.put(QUEUE, "new", hourly, slot)
        assert store.schedules.fire(QUEUE, "old", seen=slot, then=slot + SECOND, jobs={slot: new_job()}) is not None
        if fails:
            raise Oops
    assert store.size(QUEUE).waiting == (0 if fails else 6)
    names = [(standing.name, standing.next_at) for standing in store.schedules.standings(QUEUE)]
    assert names == ([("old", slot)] if fails else [("new", slot), ("old", slot + SECOND)])


def test_an_interrupt_inside_the_block_rolls_back_too(store):
    with pytest.raises(KeyboardInterrupt), store.transaction():
        push(store)
        raise KeyboardInterrupt
    assert everything(store) == []


def test_the_block_sees_its_own_jobs(store):
    with store.transaction():
        job_id = push(store)
        assert store.get(job_id).id == job_id
        assert store.find(Find()).jobs[0].id == job_id
        assert not store.idle(QUEUE)


def test_what_people_do_inside_is_rolled_back_with_the_block(store):
    waiting, failed, cancelled = push(store), a_failed_job(store), push(store)
    store.cancel(cancelled)
    a_failed_job(store, queue="other")
    before = everything(store)
    with pytest.raises(Oops), store.transaction():
        push(store)
        assert store.cancel(waiting)
        assert store.restore(QUEUE, [failed, cancelled]) == 2
        assert store.clean("other", JobStatus.FAILED) == 1
        raise Oops
    assert everything(store) == before


def test_what_people_do_inside_commits_with_the_block(store):
    waiting, failed = push(store), a_failed_job(store)
    with store.transaction():
        store.cancel(waiting)
        store.restore(QUEUE, [failed])
    assert [store.get(job_id).status for job_id in (waiting, failed)] == [JobStatus.CANCELLED, JobStatus.PENDING]


def test_a_turn_inside_is_rolled_back_with_the_block(store):
    first, second = push(store), push(store)
    runner = store.enlist(QUEUE, "tests")
    claim = claim_one(store, runner)
    later = push(store, delay=SECOND)
    before = everything(store)
    with pytest.raises(Oops), store.transaction():
        assert apply(store, completed(claim)) == []
        assert ids(claim_all(store, runner)) == [second]
        raise Oops
    assert everything(store) == before
    assert store.held(runner).held == {first: 1}
    assert apply(store, completed(claim)) == []
    assert ids(claim_all(store, runner)) == [second]
    assert store.get(later).status is JobStatus.PENDING


def test_nobody_claims_a_job_before_its_transaction_commits(store):
    runner = store.enlist(QUEUE, "other thread")
    pushed, go_on = threading.Event(), threading.Event()

    def work() -> int:
        with store.transaction():
            job_id = push(store)
            pushed.set()
            assert go_on.wait(30)
        return job_id

    with ThreadPoolExecutor(2) as pool:
        pushing = pool.submit(work)
        assert pushed.wait(30)
        claiming = pool.submit(claim_all, store, runner)
        assert not pushing.done()
        go_on.set()
        job_id = pushing.result(30)
        found = claiming.result(30)  # it may have looked before the commit (and found nothing), or waited for it
    assert ids(found) in ([], [job_id])
    assert ids(found + claim_all(store, runner)) == [job_id]


def test_what_transactions_of_several_threads_write_is_all_there(store, table):
    def work(number: int) -> None:
        for _ in range(10):
            with store.transaction() as transaction:
                transaction.execute("INSERT INTO notes VALUES (?)", (str(number),))
                push(store)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    assert len(table()) == store.size(QUEUE).waiting == 30


def test_transactions_of_several_threads_come_one_after_another_except_on_postgres(store, table, engine):
    all_inside = threading.Barrier(2)

    def work(number: int) -> None:
        with store.transaction() as transaction:
            before = transaction.execute("SELECT count(*) FROM notes").fetchone()
            if is_postgres(engine):
                all_inside.wait(30)
            transaction.execute("INSERT INTO notes VALUES (?)", (str(number),))
            push(store)
            after = transaction.execute("SELECT count(*) FROM notes").fetchone()
            assert after[0] == before[0] + 1
            if is_postgres(engine):
                all_inside.wait(30)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
    assert table() == ["0", "1"]


# with a claim


def test_with_a_claim_the_job_completes_in_the_same_commit(store, table):
    job_id = push(store)
    claim = claim_one(store)
    with store.transaction(claim) as transaction:
        transaction.execute("INSERT INTO notes VALUES ('effect')")
        child = push(store)
        assert store.get(job_id).status is JobStatus.RUNNING
    assert table() == ["effect"]
    assert [job.id for job in store.find(Find()).jobs] == [child]
    assert apply(store, completed(claim)) == [claim]


def test_with_a_claim_a_raising_block_leaves_the_job_running(store, table):
    job_id = push(store)
    claim = claim_one(store)
    with pytest.raises(Oops), store.transaction(claim) as transaction:
        transaction.execute("INSERT INTO notes VALUES ('effect')")
        raise Oops
    assert table() == []
    assert store.get(job_id) == msgspec.structs.replace(claim.job, runner="tests")
    assert apply(store, again(claim)) == []


@pytest.mark.parametrize("terms", [None, Terms(key="key")])
@pytest.mark.parametrize("taken", ["rescued", "running again", "completed", "never was"])
def test_with_a_claim_that_was_taken_back_all_is_rolled_back(store, table, taken, terms):
    job_id = push(store, terms=terms)
    claim = claim_one(store)
    if taken == "completed":
        apply(store, completed(claim))
    else:
        apply(store, lost(claim))
    if taken == "running again":
        claim_one(store, alone=True)
    if taken == "never was":
        store.cancel(job_id)
        store.clean(QUEUE, JobStatus.CANCELLED)
    before = everything(store)
    with pytest.raises(LeaseLost) as caught, store.transaction(claim) as transaction:
        transaction.execute("INSERT INTO notes VALUES ('effect')")
        push(store)
    assert (caught.value.job_id, caught.value.attempt) == (job_id, 1)
    assert table() == []
    assert everything(store) == before


def test_a_claim_whose_lease_has_ended_but_whom_nobody_took_back_still_holds(store, clock):
    job_id = push(store)
    claim = claim_one(store)
    clock.advance(LEASE * 2)
    with store.transaction(claim):
        pass
    with pytest.raises(JobNotFound):
        store.get(job_id)


def test_the_handlers_own_error_comes_through_though_the_claim_was_taken_back(store):
    push(store)
    claim = claim_one(store)
    apply(store, lost(claim))
    with pytest.raises(Oops), store.transaction(claim):
        raise Oops


# one at a time


def test_a_transaction_inside_a_transaction_is_refused(store):
    with store.transaction():
        job_id = push(store)
        with pytest.raises(UsageError, match="one transaction at a time"), store.transaction():
            pass
    assert store.get(job_id).status is JobStatus.PENDING


def test_another_transaction_can_follow(store):
    for _ in range(3):
        with store.transaction():
            push(store)
        with pytest.raises(Oops), store.transaction():
            raise Oops
    assert store.size(QUEUE).waiting == 3


def test_transactions_of_two_stores_may_stand_inside_each_other(store, place, clock, tmp_path):
    (tmp_path / "other").mkdir()
    if place.startswith("postgresql"):
        place += ("&" if "?" in place else "?") + "schema=other"
    other = open_engine(place, clock, tmp_path / "other")
    try:
        with pytest.raises(Oops), store.transaction():
            with other.transaction():
                push(store)
                push(other)
            raise Oops
        assert (store.size(QUEUE).waiting, other.size(QUEUE).waiting) == (0, 1)
        assert other.check() == []
    finally:
        other.close()


@pytest.mark.parametrize("act", ["push", "transaction", "turn", "cancel", "restore", "clean"])
def test_another_task_of_the_loop_is_told_not_to_await_inside_the_block(store, act):
    job_id = push(store)
    runner = store.enlist(QUEUE, "tests")

    def verb() -> None:
        if act == "push":
            push(store)
        elif act == "transaction":
            with store.transaction():
                raise AssertionError("a second transaction was opened")
        elif act == "turn":
            claim_all(store, runner)
        elif act == "cancel":
            store.cancel(job_id)
        elif act == "restore":
            store.restore(QUEUE, [job_id])
        else:
            store.clean(QUEUE, JobStatus.FAILED)

    async def main() -> None:
        opened, go_on = asyncio.Event(), asyncio.Event()

        async def careless() -> None:
            with store.transaction():
                push(store)
                opened.set()
                await go_on.wait()

        task = asyncio.create_task(careless())
        await opened.wait()
        with pytest.raises(UsageError, match="no await inside"):
            verb()
        go_on.set()
        await task

    asyncio.run(main())
    assert store.size(QUEUE) == Size(waiting=2, failed=0)
    assert ids(claim_all(store, runner)) == [job_id, job_id + 1]


def test_tasks_of_one_loop_may_take_turns(store):
    async def one(number: int) -> None:
        for _ in range(5):
            with store.transaction():
                push(store, name=str(number))
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(one(number) for number in range(4)))

    asyncio.run(main())
    assert store.size(QUEUE).waiting == 20


def test_a_thread_that_acts_in_the_name_of_an_open_block_does_not_hang(store):
    """`await asyncio.to_thread(queue.push, …)` inside the block; what it was told of, is there."""
    told: list[int] = []

    async def main() -> None:
        with store.transaction():
            try:
                told.append(await asyncio.to_thread(push, store))
            except UsageError as error:
                assert "no await inside" in str(error)

    asyncio.run(main())
    assert [job.id for job in store.find(Find()).jobs] == told


# after the block


def test_a_context_that_outlives_its_block_pushes_on_its_own(store):
    """A task that was started inside the block runs after it, with the block's context; it joins no later block."""
    with store.transaction():
        started_inside = contextvars.copy_context()
    with pytest.raises(Oops), store.transaction():
        with pytest.raises(UsageError, match="no await inside"):
            started_inside.run(push, store)
        raise Oops
    job_id = started_inside.run(push, store)
    assert [job.id for job in store.find(Find()).jobs] == [job_id]


def test_a_context_that_outlives_its_block_can_open_a_transaction(store):
    with store.transaction():
        started_inside = contextvars.copy_context()

    def work() -> None:
        with store.transaction():
            push(store)

    started_inside.run(work)
    assert store.size(QUEUE).waiting == 1


def test_a_push_from_a_context_that_outlives_its_block_rings(store):
    bell = store.bell(store.enlist(QUEUE, "tests"))
    with store.transaction():
        started_inside = contextvars.copy_context()
    rung: list[str] = []
    bell.ring = lambda: rung.append("!")  # type: ignore[method-assign]
    started_inside.run(push, store)
    assert rung == ["!"]


def test_a_transaction_is_of_no_use_after_its_block(store, table):
    with store.transaction() as old:
        pass
    with pytest.raises(UsageError):
        old.execute("INSERT INTO notes VALUES ('after')")
    with store.transaction():
        with pytest.raises(UsageError):
            old.execute("INSERT INTO notes VALUES ('into another')")
    assert table() == []


# forks


def fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        return os.fork()


def test_a_child_that_was_forked_inside_the_block_has_no_part_in_it(store, table):
    """It leaves the block when the parent has gone on: what it did on the parent's connection would undo that."""
    reading, writing = os.pipe()
    child, code = -1, 1
    try:
        with store.transaction() as transaction:
            transaction.execute("INSERT INTO notes VALUES ('a')")
            child = fork()
            if child == 0:
                os.read(reading, 1)
                with pytest.raises(UsageError, match="forked inside"):
                    transaction.execute("INSERT INTO notes VALUES ('b')")
    except UsageError as error:
        code = 0 if "forked inside" in str(error) else 2
    finally:
        if child == 0:
            os._exit(code)
    pushed = [push(store) for _ in range(10)]
    os.write(writing, b".")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(reading)
    os.close(writing)
    push(store)
    assert table() == ["a"]
    assert ids(claim_all(store))[:10] == pushed
