"""Each PostgreSQL statement is served by its index, whatever waits, and whenever its plan was made."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from tests.postgres_fixtures import VERSIONS
from tests.sql.statements import PARAMETER, parameters
from workqueue.backoff import Backoff
from workqueue.job import NewJob
from workqueue.store import open_store
from workqueue.store.contract import Want
from workqueue.store.postgres import address
from workqueue.store.postgres.connection import Connection, connect
from workqueue.store.postgres.looking import HEAD, Place
from workqueue.store.sql import load_statements

POSTGRES = load_statements("workqueue.store.postgres")
NOT_TO_PREPARE = (
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT",
    "RELEASE",
    "LISTEN",
    "COPY",
    "CREATE",
    "DROP",
    "GRANT",
    "LOCK",
    "SET LOCAL",
    "SET standard_conforming_strings",
)
# What each of these finds its rows by. "ctid": the place of a row that the statement locked before.
HOT = {
    "promote": {"jobs_later", "ctid"},
    "turn": {"jobs_pkey", "jobs_ready", "jobs_later", "jobs_suspect", "ctid", "closed_lanes_opening", "pauses_pkey"},
    "completed": {"jobs_pkey"},
    "claimed_by": {"jobs_running"},
    "line": {"jobs_ready"},
    "line_alone": {"jobs_suspect"},
    "claim": {"jobs_pkey"},
    "horizon": {"jobs_suspect", "jobs_later", "closed_lanes_opening"},
    "complete": {"jobs_pkey"},
    "settle": {"jobs_pkey"},
    "beat": {"jobs_running", "ctid"},
    "held": {"jobs_running"},
    "holders": {"jobs_running"},
    "orphans": {"jobs_running", "jobs_pkey"},
    "retire": {"jobs_running", "runners_pkey"},
    "present": {"jobs_pkey"},
    "jobs_of": {"jobs_pkey", "terms_pkey", "backoffs_pkey", "runners_pkey", "completed_pkey"},
    "get": {"jobs_pkey", "terms_pkey", "backoffs_pkey", "runners_pkey", "completed_pkey"},
    "completed_and_kept": {"jobs_pkey", "runners_pkey"},
    "keep_completed": {"jobs_pkey", "runners_pkey", "terms_pkey"},
    "walk_completed": {"completed_pkey"},
    "completed_ids": {"completed_of_queue"},
    "known": {"jobs_pkey", "completed_pkey"},
    "delete_completed": {"completed_pkey"},
    "nth_completed": {"completed_settled"},
    "nth_failed": {"jobs_settled"},
    "nth_result": {"results_counted"},
    "old_completed": {"completed_settled"},
    "old_failed": {"jobs_settled"},
    "old_results": {"results_counted"},
    "prune_failed": {"jobs_pkey"},
    "prune_results": {"results_pkey"},
    "walk": {"jobs_pkey"},
    "task_standings": {"jobs_pkey"},
    "settled_ids": {"jobs_settled"},
    "batch_ids": {"terms_of_batch"},
    "batch_completed_ids": {"completed_of_batch"},
    "settled_queues": {"jobs_settled"},
    "running_ids": {"jobs_running"},
    "open_ids": {"jobs_running", "jobs_ready", "jobs_suspect", "jobs_later", "jobs_kept_back"},
    "sizes": {"jobs_pkey", "completed_pkey"},
    "matching": {"jobs_pkey", "completed_pkey"},
    "cancel_plain": {"jobs_pkey"},
    "delete_settled": {"jobs_pkey"},
    "keep_back": {"terms_pkey", "jobs_pkey"},
    "kept_back": {"jobs_pkey"},
    "terms_of": {"terms_pkey"},
    "key_holder": {"terms_key"},
    "limit_runs": {"terms_running"},
    "is_behind": {"terms_ordered", "terms_order_running", "jobs_pkey"},
    "hasten": {"jobs_pkey"},
    "not_due": {"jobs_pkey"},
    "situation": {"jobs_pkey", "runners_pkey"},
    "limit_holders": {"terms_running"},
    "ahead": {"terms_ordered", "terms_order_running", "jobs_pkey"},
    "front": {"jobs_ready"},
    "let_go_limited": {"terms_limited"},
    "let_go_rated": {"terms_rated"},
    "let_go_ordered": {"terms_ordered"},
    "let_go_paused": {"terms_paused"},
    "start_terms": {"terms_pkey"},
    "stop_terms": {"terms_pkey"},
    "end_terms": {"terms_pkey"},
    "followers": {"terms_following"},
    "batch_followers": {"terms_following_batch"},
    "newest_batches": {"batches_pkey"},
    "batch_waiting": {"terms_of_batch", "jobs_pkey"},
    "expiring": {"terms_expiring"},
    "reopen_lanes": {"closed_lanes_closed"},
    "outlook_jobs": {"jobs_pkey", "completed_pkey"},
    "pushed": {"pushes_pkey"},
    "figures": {"figures_pkey"},
    "totals": {"figures_pkey"},
    "backlog_noted": {"figures_pkey"},
    "forget_figures": {"figures_pkey"},
    "forget_totals": {"figures_pkey"},
    "backlog": {"jobs_pkey", "jobs_ready", "jobs_suspect", "jobs_later", "jobs_kept_back"},
}
# The primary key has the order of these too: with no terms at all it is as good.
IN_ORDER = {"ahead", "is_behind", "let_go_ordered"}
# What these look for is all there is, and that is little; or somebody asked for all to be checked or counted.
READS_ALL = {"standings", "check_jobs", "check_rows", "check_terms", "check_figures", "backoff_rules", "runners",
             "enlisted", "drop_figures", "task_standings",
             "schema_version", "set_version", "last_id", "forget_progress", "wants_sweeping", "is_empty"}  # fmt: skip
# What an index would be searched by less, with the same answer.
NARROWED = [
    ("batch_waiting", "is_open"),
    ("forget_keys", "until"),
    ("restart_windows", "taken_at"),
    ("wants_sweeping", "(span = 0)"),
    ("enlisted", "runner"),
]
FEW = {"jobs_running"}  # all of this index are meant
FILL = """
    INSERT INTO workqueue.jobs (queue, name, status, ready, priority, position, run_at, pushed_at, backoff, attempt,
                                settled_at, data, special)
    SELECT 'default', 'task', kind.status, kind.ready, kind.priority, 0, kind.run_at, 1, 1, 1, kind.settled_at, '{}',
           true
      FROM (VALUES (0, 1, 0, 1, NULL::bigint), (0, 0, 1000000, 1::bigint << 60, NULL), (3, NULL, 0, 1, 1))
           AS kind (status, ready, priority, run_at, settled_at), generate_series(1, %(third)s)
"""
FILL_COMPLETED = """
    INSERT INTO workqueue.completed (id, queue, name, priority, run_at, pushed_at, claimed_at, settled_at, backoff,
                                     attempt, retry_count, lost, runner, spec, data)
    SELECT 1000000000 + id, queue, name, 0, 1, 1, 1, id, 1, 1, 0, 0, '', '{"batch":' || id % 100 || '}', '{}'
      FROM workqueue.jobs
"""
FILL_TERMS = """
    INSERT INTO workqueue.terms (job, queue, name, priority, position, spec, is_open, limit_lane, order_lane, batch)
    SELECT id, queue, name, priority, position, '{}', settled_at IS NULL, 'lane ' || id % 100,
           'lane ' || id % 100, id % 100
      FROM workqueue.jobs
"""


@pytest.fixture(scope="module", params=[(version, rows) for version in VERSIONS for rows in (0, 1_000, 100_000)],
                ids=lambda param: f"{param[0]}, {param[1]:,} rows")  # fmt: skip
def filled(request: pytest.FixtureRequest, postgres_servers) -> Iterator[tuple[str, int]]:
    """The URL of a store with so many jobs, a third each waiting, for later, and failed, all with terms.

    Empty, it is one that the server knows to be empty: the worst for a plan that is kept.
    """
    version, rows = request.param
    with postgres_servers.database(version) as url:
        open_store(url).close()
        with connect(address.parse(url)) as connection:
            for table in ("jobs", "terms", "completed"):
                connection.execute(f"ALTER TABLE workqueue.{table} SET (autovacuum_enabled = false)")
            connection.execute(FILL, {"third": rows // 3})
            connection.execute(FILL_TERMS)
            connection.execute(FILL_COMPLETED)
            if not rows:
                connection.execute("VACUUM")
        yield url, rows


@pytest.fixture
def connection(filled) -> Iterator[Connection]:
    with connect(address.parse(filled[0])) as connection:
        yield connection


@pytest.mark.parametrize("analysed", [False, True], ids=["", "analysed"])
def test_every_statement_prepares_and_has_its_index_in_the_plan_that_is_kept(connection, filled, analysed):
    connection.execute("SET plan_cache_mode = force_generic_plan")
    connection.execute("BEGIN")
    if analysed:
        connection.execute("ANALYZE")
    plans = {name: plan(connection, name) for name in PREPARED}
    connection.execute("ROLLBACK")
    found = {name: {by(node) for node in plans[name]} - {None} for name in HOT if filled[1] or name not in IN_ORDER}
    assert {name: indexes for name, indexes in found.items() if indexes != HOT[name]} == {}
    assert [name for name, nodes in plans.items() if name not in READS_ALL and any(map(reads_jobs, nodes))] == []


@pytest.mark.parametrize(("name", "column"), NARROWED)
def test_an_index_is_searched_by_this_column_too(connection, name, column):
    connection.execute("SET plan_cache_mode = force_generic_plan")
    assert column in " ".join(node.get("Index Cond", "") for node in plan(connection, name))


def test_what_is_counted_for_people_is_read_along_the_indexes_that_have_no_more(connection):
    connection.execute("SET plan_cache_mode = force_generic_plan")
    found = Counter(by(node) for node in plan(connection, "standings"))
    twice, once = ["jobs_later", "jobs_kept_back"], ["jobs_ready", "jobs_suspect", "jobs_settled", "completed_of_queue"]
    assert [found[index] for index in (*twice, *once)] == [2] * 2 + [1] * 4


@pytest.mark.parametrize("analysed", [False, True], ids=["", "analysed"])
def test_behind_a_pooler_too_which_keeps_no_settings(connection, filled, analysed):
    """There each plan is made for the tables as they are: a small one may well be read."""
    if filled[1] <= 1_000:
        pytest.skip("reading all of so small a table is as good")
    assert connection.usual is not None
    connection.execute("BEGIN")
    connection.one("plan_as_before", connection.usual)
    connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
    if analysed:
        connection.execute("ANALYZE")
    plans = {name: plan(connection, name) for name in ("turn", "completed", "claimed_by", "promote", "beat", "line")}
    connection.execute("ROLLBACK")
    assert [name for name, nodes in plans.items() if any(map(reads_jobs, nodes))] == []


def test_the_statements_are_ascii():
    """So that a database of any encoding takes them, and can say of itself what it is."""
    assert [name for name, text in POSTGRES.items() if not text.isascii()] == []


def test_a_turn_looks_at_as_many_rows_as_it_takes(connection):
    """Not at more: counted in pages of the server, and not in time."""
    assert pages_of_a_turn(connection, HEAD) < 200


def test_a_turn_that_begins_further_on_does_not_walk_over_what_left(postgres):
    """A long transaction keeps the entries of jobs that have left: a claim from the head walks over them."""
    with closing(open_store(postgres)) as store, connect(address.parse(postgres)) as connection:
        new = NewJob(queue="default", name="task", data=b"{}", backoff=Backoff())
        with connect(address.parse(postgres)) as holding:
            holding.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            holding.one("schema_version")
            store.push([new] * 50_000)
            connection.execute("DELETE FROM workqueue.jobs")
            first, *_ = store.push([new] * 10)
            connection.execute("VACUUM workqueue.jobs")  # to no avail
            assert pages_of_a_turn(connection, HEAD) > 500
            assert pages_of_a_turn(connection, Place(0, 0, first)) < 200


def pages_of_a_turn(connection: Connection, begun: Place) -> int:
    with connection.transaction(force_rollback=True):
        turn = {"now": None, "queue": "default", "limit": 10, "most": 1000, "runner": 1, "token": 1, "lease": 1}
        done = {"ids": [1, 2, 3], "attempts": [1, 1, 1], "runners": [1, 1, 1], "count": 3}
        row = turn | done | dict(zip(("from_priority", "from_position", "from_id"), begun, strict=True))
        explained = connection.execute(b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + connection.texts["turn"], row)
        [[found]] = explained.fetchall()
    top = found[0]["Plan"]
    return top["Shared Hit Blocks"] + top["Shared Read Blocks"]


def test_a_beat_stays_within_the_page(postgres):
    """HOT: no index is written, as long as the page has room."""
    with closing(open_store(postgres)) as store, connect(address.parse(postgres)) as connection:
        runner = store.enlist("default", "test")
        store.push([NewJob(queue="default", name="task", data=b"{}", backoff=Backoff())] * 4)
        assert len(store.turn([], Want("default", runner, timedelta(minutes=1), 4)).claims) == 4
        with connection.transaction():
            for _ in range(10):
                connection.ask("beat", {"now": None, "runner": runner, "lease": 60_000_000})
            found = connection.execute(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'jobs'"
            ).fetchone()
        store.retire(runner)
    assert found is not None
    assert found == (40, 40)


def prepared(name: str) -> str:
    """Give the statement with its parameters as the server names them."""
    numbers = {parameter: str(number) for number, parameter in enumerate(parameters(POSTGRES[name]), 1)}
    return PARAMETER.sub(lambda found: "$" + numbers[found[1]], POSTGRES[name])


def statement_of(name: str) -> str:
    return "\n".join(line for line in POSTGRES[name].splitlines() if not line.startswith("--"))


def plan(connection: Connection, name: str) -> list[dict[str, Any]]:
    """Give the nodes of the plan that the server keeps for a statement, whatever its parameters."""
    connection.execute(f"PREPARE asked AS {prepared(name)}")
    nulls = ", ".join("NULL" for _ in parameters(POSTGRES[name]))
    row = connection.execute(f"EXPLAIN (FORMAT JSON) EXECUTE asked{f'({nulls})' if nulls else ''}").fetchone()
    connection.execute("DEALLOCATE asked")
    assert row is not None
    found = row[0] if isinstance(row[0], list) else json.loads(row[0])
    return list(nodes(found[0]["Plan"]))


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from nodes(child)


def by(node: dict[str, Any]) -> str | None:
    """Say what a node finds its rows by; None where it finds none."""
    if node["Node Type"] == "Tid Scan":
        return "ctid"
    return node.get("Index Name")


def reads_all(node: dict[str, Any]) -> bool:
    if node["Node Type"] == "Seq Scan":
        return True
    return "Index" in node["Node Type"] and "Index Cond" not in node and node["Index Name"] not in FEW


def reads_jobs(node: dict[str, Any]) -> bool:
    """Say so of tables that may be large; the others are read because they are small."""
    return reads_all(node) and node.get("Relation Name", "jobs") in {"jobs", "terms", "completed", "figures"}


PREPARED = [name for name in POSTGRES if not statement_of(name).startswith(NOT_TO_PREPARE)]
