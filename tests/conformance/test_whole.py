"""whole: what a copy reads of a store and writes into one, on both engines that have tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from prove.clock import FakeClock
from workqueue import Backoff
from workqueue.errors import UsageError
from workqueue.store.relational.rows import BY_NAME, TABLES
from workqueue.store.relational.rows import store as store_rows
from workqueue.store.relational.session import Session
from workqueue.store.relational.whole import Copy, Move

from conformance.conftest import ENGINES
from support import QUEUE, SECOND, open_engine, push

RULE = msgspec.json.encode(Backoff()).decode()
ROWS = {
    "jobs": [(n, "q", "n", 0, 1, 0, 0, 0, 0, 0, RULE, 0, 0, 0, 0, None, None, None, "", None, b"1") for n in (1, 2, 3)],
    "terms": [(n, "q", "n", "{}", 1, 0, None, 0, 0, *[None] * 8) for n in (1, 2, 3)],
    "attempts": [(*place, "r", 0, 0, "raised", "", "") for place in ((1, 1), (1, 2), (2, 1), (3, 1))],
    "results": [(n, 9, "q", b"1") for n in (1, 2, 3)],
    "progress": [(n, b"1") for n in (1, 2, 3)],
    "batches": [(n, "q", 1, 0, 0, 0, 0, None) for n in (1, 2, 3)],
    "pauses": [("p", "z"), ("q", "a"), ("q", "b")],
    "schedules": [(*place, "{}", 0, None, None, 0) for place in (("p", "z"), ("q", "a"), ("q", "b"))],
    "taken_keys": [(*place, 1, 9) for place in (("p", "z", "z"), ("q", "a", "z"), ("q", "b", "a"))],
    "starts": [(*place, 2) for place in (("p", "z", 9), ("q", "a", 9), ("q", "b", 1))],
    "closed_lanes": [(*place, 1, 9) for place in (("p", "z"), ("q", "a"), ("q", "b"))],
    "completed": [(n, "q", "n", 0, 0, 0, 0, 0, 1, 0, RULE, 0, "r", None, None, b"1") for n in (1, 2, 3)],
    "figures": [
        (*place, *[0] * 9, "[]", "[]", None, None, 0)
        for place in ((0, 9, "z", "z"), (1, 8, "z", "z"), (1, 9, "a", "z"), (1, 9, "b", "a"))
    ],
}
UP_TO_TWO = {"jobs", "terms", "attempts", "results", "progress", "batches", "completed"}
ONE = Copy(source_id="one", source="a", move="", step="jobs", after=(-1,), last_job=2, last_batch=2)
OTHER = msgspec.structs.replace(ONE, source_id="other")


@pytest.fixture(params=[engine for engine in ENGINES if engine != "memory"])
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def store(place: str, clock: FakeClock, tmp_path: Path) -> Iterator[object]:
    """Not looked through at the end: the rows are of no store that ever was."""
    store = open_engine(place, clock, tmp_path)
    yield store
    store.whole.reopen()  # the tables are lent to others
    store.close()


def write(store, work):
    return store._db().write(lambda session, now: work(session), lambda _session, _answer: False)


def fill(store):
    def work(session: Session) -> None:
        for table in TABLES:
            store_rows(session, table, ROWS[table.name])

    write(store, work)


def ask(store, statement, **row):
    return store._db().read(lambda session: session.ask(statement, row).fetchall())


def keys(store, name, after=None, last=(9, 9)):
    table = BY_NAME[name]
    with store.whole.look(last) as reader:
        return [table.key_of(row) for row in reader.page(table, table.start() if after is None else after)]


@pytest.mark.parametrize("name", ROWS)
def test_a_page_begins_after_its_key_and_ends_with_what_had_been_given_out(store, name):
    fill(store)
    every = [BY_NAME[name].key_of(row) for row in ROWS[name]]
    for place, key in enumerate(every, start=1):
        assert keys(store, name, after=key) == every[place:]
    assert keys(store, name) == every
    assert keys(store, name, last=(2, 2)) == [key for key in every if name not in UP_TO_TWO or key[0] <= 2]


def test_the_jobs_to_come_are_counted_up_to_what_had_been_given_out(store):
    fill(store)
    with store.whole.look((2, 2)) as reader:
        assert [reader.count(BY_NAME["jobs"].start()), reader.count([1]), reader.count([2])] == [2, 1, 0]


def test_what_a_copy_brought_is_dropped_and_nothing_that_came_since(store):
    fill(store)
    store.whole.drop(ONE)
    for name in ROWS:
        assert keys(store, name) == ([[3, 1] if name == "attempts" else [3]] if name in UP_TO_TWO else [])


def begun(store, *copies: Copy):
    for copy in copies:
        row = {**msgspec.structs.asdict(copy), "after": "[-1]", "now": 1}
        write(store, lambda session, row=row: session.ask("begin_copy", row))


def test_an_unfinished_copy_is_dropped_and_no_other(store):
    begun(store, ONE, OTHER)
    store.whole.drop(OTHER)
    assert [copy.source_id for copy in store.whole.copies()] == ["one"]


def test_a_copy_that_is_done_stays_done(store, clock):
    begun(store, ONE, OTHER)
    store.whole.finish(ONE)
    [before] = [row for row in ask(store, "copies") if row[-1] is not None]
    assert [copy.done for copy in store.whole.copies() if copy.source_id == "other"] == [False]
    clock.advance(SECOND)
    store.whole.finish(ONE)
    store.whole.drop(ONE)
    assert [row for row in ask(store, "copies") if row[-1] is not None] == [before]
    store.whole.drop(OTHER)
    assert ask(store, "copies") == [before]
    with pytest.raises(UsageError, match="expected to be alone"):
        store.whole.take(ONE, None, [], "terms", [5])


def test_a_copy_goes_on_from_where_it_is_and_no_other(store):
    begun(store, ONE, OTHER)
    on = store.whole.take(ONE, None, [], "jobs", [5])
    assert {copy.source_id: copy.after for copy in store.whole.copies()} == {"one": (5,), "other": (-1,)}
    for stale in (ONE, msgspec.structs.replace(on, step="terms")):
        with pytest.raises(UsageError, match="expected to be alone"):
            store.whole.take(stale, None, [], "terms", [6])
    store.whole.take(on, None, [], "terms", [6])
    assert {copy.source_id: copy.step for copy in store.whole.copies()} == {"one": "terms", "other": "jobs"}


def test_a_move_that_is_done_stays_done(store, clock):
    store.whole.shut(Move("m", "target", done=False))
    assert not store.whole.move().done
    store.whole.note_moved()
    before = ask(store, "moves")
    clock.advance(SECOND)
    store.whole.note_moved()
    assert ask(store, "moves") == before
    assert store.whole.move().done


def test_ids_go_on_from_those_of_another_store_and_never_back(store):
    with store.whole.look() as reader:
        assert (reader.last_job, reader.last_batch) == (0, 0)
    for last_job, last_batch in ((10, 20), (30, 5), (5, 40), (1, 1)):
        write(store, lambda session, last=(last_job, last_batch): session.continue_ids(*last))
    with store.whole.look() as reader:
        assert (reader.last_job, reader.last_batch) == (30, 40)
    assert (push(store), store.batches.open(QUEUE)) == (31, 41)
    store.enlist(QUEUE, "tests")
    with store.whole.look() as reader:
        assert (reader.last_job, reader.last_batch) == (31, 41)


@pytest.mark.parametrize("last", [0, 1])
def test_the_first_id_is_the_one_after_those_of_another_store(store, last):
    write(store, lambda session: session.continue_ids(last, last))
    assert (push(store), store.batches.open(QUEUE)) == (last + 1, last + 1)
