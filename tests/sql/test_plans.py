"""Each statement on the hot path is served by its index, whatever waits, is not due, or lies in the archive."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest
from workqueue.store.sqlite.schema import SQL

from sql.conftest import FAR, FEW, SIZES

HOT = {
    "promote": ["INDEX jobs_later (queue=? AND run_at<?)"],
    "claim": ["SEARCH jobs USING INDEX jobs_ready (queue=?)", "closed_lanes_opening (queue=?)", "pauses"],
    "claim_alone": ["SEARCH jobs USING INDEX jobs_suspect (queue=?)", "closed_lanes_opening (queue=?)", "pauses"],
    "claimed": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"],
    "complete": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"],
    "settle": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"],
    "horizon": ["jobs_ready (queue=?)", "jobs_suspect (queue=?)", "jobs_later (queue=?", "closed_lanes_opening"],
    "beat": ["INDEX jobs_running (runner=?)"],
    "held": ["INDEX jobs_running (runner=?)"],
    "holders": ["INDEX jobs_running"],
    "orphans": ["INDEX jobs_running"],
    "size": [
        "INDEX jobs_ready (queue=?)",
        "INDEX jobs_suspect (queue=?)",
        "INDEX jobs_later (queue=?)",
        "INDEX jobs_kept_back (queue=?)",
        "INDEX jobs_following (queue=?)",
        "INDEX jobs_running",
        "INDEX jobs_settled (queue=? AND status=?)",
    ],
    "enlisted": ["INDEX jobs_running (runner=?)"],
    "idle": ["jobs_ready", "jobs_suspect", "jobs_running", "jobs_later", "jobs_kept_back", "jobs_retrying"],
    "clean": ["INDEX jobs_settled (queue=? AND status=?)"],
    "get": ["SEARCH j USING INTEGER PRIMARY KEY (rowid=?)", "SEARCH c USING INTEGER PRIMARY KEY (rowid=?)"],
    "jobs_of": ["SEARCH j USING INTEGER PRIMARY KEY (rowid=?)", "SEARCH c USING INTEGER PRIMARY KEY (rowid=?)"],
    "walk": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"],
    "walk_completed": ["SEARCH completed USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"],
    "completed_ids": ["INDEX completed_of_queue (queue=? AND id>? AND id<?)"],
    "settled_ids": ["INDEX jobs_settled (queue=? AND status=? AND id>? AND id<?)"],
    "batch_ids": ["INDEX terms_of_batch (batch=? AND is_open=? AND job>? AND job<?)"],
    "batch_completed_ids": ["INDEX completed_of_batch (batch=? AND id>? AND id<?)"],
    "settled_queues": ["INDEX jobs_settled (queue>?)"],
    "running_ids": ["INDEX jobs_running"],
    "open_ids": [
        "INDEX jobs_running",
        "INDEX jobs_ready (queue=?)",
        "INDEX jobs_suspect (queue=?)",
        "INDEX jobs_later (queue=?)",
        "INDEX jobs_kept_back (queue=?)",
        "INDEX jobs_following (queue=?)",
    ],
    "sizes": [
        "SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH completed USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "matching": [
        "SEARCH j USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH c USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH p USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "known": [
        "SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH completed USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "keep_completed": ["SEARCH j USING INTEGER PRIMARY KEY (rowid=?)", "SEARCH runners USING INTEGER PRIMARY KEY"],
    "delete_completed": ["SEARCH completed USING INTEGER PRIMARY KEY (rowid=?)"],
    "nth_completed": ["COVERING INDEX completed_settled (queue=?)"],
    "nth_failed": ["INDEX jobs_settled (queue=? AND status=?)"],
    "nth_result": ["COVERING INDEX results_counted (queue=?)"],
    "old_completed": ["INDEX completed_settled (queue=? AND settled_at<?)"],
    "old_failed": ["INDEX jobs_settled (queue=? AND status=?)"],
    "old_results": ["INDEX results_counted (queue=? AND until<?)"],
    "prune_failed": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"],
    "prune_results": ["SEARCH results USING INTEGER PRIMARY KEY (rowid=?)"],
    "cancel_plain": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"],
    "delete_settled": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"],
    "restore_failed": ["INDEX jobs_settled (queue=? AND status=?)"],
    "special_failed": ["INDEX jobs_settled (queue=? AND status=?)"],
    "cancel_job": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"],
    "retire": ["INDEX jobs_running (runner=?)"],
    "terms_of": ["SEARCH terms USING INTEGER PRIMARY KEY (rowid=?)"],
    "key_holder": ["INDEX terms_key (queue=? AND name=? AND key=?)"],
    "key_taken": ["taken_keys_1 (queue=? AND name=? AND key=?)"],
    "limit_runs": ["INDEX terms_running (queue=? AND limit_lane=?)"],
    "count_starts": ["INDEX starts_of_lane (queue=? AND lane=? AND at>?)"],
    "nth_start": ["INDEX starts_of_lane (queue=? AND lane=?)"],
    "forget_starts": ["INDEX starts_of_lane (queue=? AND lane=? AND at"],
    "let_go_limited": ["INDEX terms_limited (queue=? AND limit_lane=?)"],
    "let_go_rated": ["INDEX terms_rated (queue=? AND rate_lane=?)"],
    "let_go_ordered": ["INDEX terms_ordered (queue=? AND order_lane=?)"],
    "let_go_paused": ["INDEX terms_paused (queue=? AND name=?)"],
    "paused_names": ["INDEX terms_paused (queue=?"],
    "let_into_orders": ["INDEX terms_later (queue=? AND later_until<?)"],
    "is_behind": [
        "INDEX terms_ahead (queue=? AND order_lane=? AND job<?)",
        "INDEX terms_order_running (queue=? AND order_lane=? AND job>?)",
    ],
    "opening_lanes": ["INDEX closed_lanes_opening (queue=? AND opens_at<?)"],
    "close_lane": ["INDEX terms_rated (queue=? AND rate_lane=?)"],
    "open_lane": ["closed_lanes_1 (queue=? AND lane=?)", "INDEX terms_rated (queue=? AND rate_lane=?)"],
    "followers": ["INDEX terms_following (follows=?)"],
    "batch_followers": ["INDEX terms_following_batch (follows_batch=?)"],
    "newest_batches": ["SEARCH batches USING INTEGER PRIMARY KEY (rowid<?)"],
    "batch_waiting": ["INDEX terms_of_batch (batch=? AND is_open=?)"],
    "cancel_running_of_batch": ["INDEX jobs_running", "SEARCH terms USING INTEGER PRIMARY KEY (rowid=?)"],
    "batch_done": ["SEARCH batches USING INTEGER PRIMARY KEY (rowid=?)"],
    "expiring": ["INDEX terms_expiring (queue=? AND expires_at<?)"],
    "wants_sweeping": ["INDEX terms_expiring (queue=? AND expires_at<?)", "INDEX terms_paused (queue=?"],
    "forget_results": ["INDEX results_until (until<?)"],
    "forget_keys": ["INDEX taken_keys_until (until<?)"],
    "restart_windows": ["INDEX taken_keys_taken (taken_at>?)"],
    "reopen_lanes": ["INDEX closed_lanes_closed (closed_at>?)"],
    "forget_batches": ["INDEX batches_done (done_at<?)"],
    "forget_figures": ["SEARCH figures USING PRIMARY KEY (span=? AND start<?)"],
    "forget_totals": ["SEARCH figures USING PRIMARY KEY (span=? AND start=?)"],
    "figures": ["SEARCH figures USING PRIMARY KEY (span=? AND start>? AND start<?)"],
    "totals": ["SEARCH figures USING PRIMARY KEY (span=? AND start=?)"],
    "backlog_noted": ["SEARCH figures USING PRIMARY KEY (span=? AND start=? AND queue=? AND name=?)"],
    "backlog": [
        "INDEX jobs_ready (queue=?)",
        "INDEX jobs_suspect",
        "INDEX jobs_later (queue=? AND run_at<?)",
        "kept_back",
    ],
    "forget_progress": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"],
    "due_schedules": ["INDEX schedules_due (queue=? AND next_at<?)"],
    "next_slots": ["INDEX schedules_due (queue=?)"],
    "fire": ["schedules_1 (queue=? AND name=?)"],
    "outlook_jobs": [
        "SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH completed USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "outlook_results": ["SEARCH results USING INTEGER PRIMARY KEY (rowid=?)"],
    "outlook_progress": ["SEARCH progress USING INTEGER PRIMARY KEY (rowid=?)"],
    "hasten": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"],
    "hasten_terms": ["SEARCH terms USING INTEGER PRIMARY KEY (rowid=?)"],
    "not_due": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"],
    "situation": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)", "SEARCH runners USING INTEGER PRIMARY KEY"],
    "limit_holders": ["INDEX terms_running (queue=? AND limit_lane=?)"],
    "ahead": [
        "INDEX terms_ahead (queue=? AND order_lane=? AND job<?)",
        "INDEX terms_order_running (queue=? AND order_lane=? AND job>?)",
    ],
    "front": ["INDEX jobs_ready (queue=?)"],
    "keep_back": ["SEARCH terms USING INTEGER PRIMARY KEY (rowid=?)"],
    "kept_back": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"],
    "free_terms": ["SEARCH terms USING INTEGER PRIMARY KEY (rowid=?)"],
    "free_jobs": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"],
    "end_terms": ["SEARCH terms USING INTEGER PRIMARY KEY (rowid=?)"],
    "drop_terms": [
        "SEARCH terms USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)",
    ],
}
# The first are few, unless thousands ran when a machine died; of the second, no index has the order; the third are
# tasks.
SORTED = {"orphans", "nth_failed", "totals"}
MAY_SCAN = ("jobs USING INDEX jobs_running", "jobs USING COVERING INDEX jobs_running")  # as many as are being run

ADDED: Final = json.dumps(
    [[span, start, "task", *range(1, 10), "[1]", "[0, 1]"] for span, start in ((0, 0), (1, FAR + 7))]
)

LOOKS: Final[dict[str, dict[str, object]]] = {
    "promote": {"queue": "default", "now": 5, "limit": FEW},
    "claim": {"queue": "default", "limit": FEW},
    "claim_alone": {"queue": "default", "limit": 1},
    "horizon": {"queue": "default"},
    "beat": {"runner": 1, "now": 5, "lease": 4},
    "held": {"runner": 1},
    "holders": {},
    "orphans": {"dead": "[1]", "expired_before": 0, "limit": FEW},
    "clean": {"queue": "default", "status": 3, "limit": FEW},
    "walk": {"up": None, "after": 0, "before": FAR, "most": FEW},
    "settled_ids": {"queue": "default", "status": 3, "up": None, "after": 0, "before": FAR, "most": FEW},
    "batch_ids": {"batch": 1, "open": False, "up": None, "after": 0, "before": FAR, "most": FEW},
    "batch_completed_ids": {"batch": 1, "up": None, "after": 0, "before": 2**62, "most": FEW},
    "settled_queues": {"most": 10**6},
    "task_standings": {"now": 5, "most": FEW},
    "walk_completed": {"up": None, "after": 0, "before": 2**62, "most": FEW},
    "completed_ids": {"queue": "default", "up": None, "after": 0, "before": 2**62, "most": FEW},
    "nth_completed": {"queue": "default", "count": FEW},
    "nth_result": {"queue": "default", "count": FEW},
    "old_completed": {"queue": "default", "at": FAR, "last": FAR, "limit": FEW},
    "old_failed": {"queue": "default", "at": FAR, "last": FAR, "limit": FEW},
    "old_results": {"queue": "default", "at": FAR, "last": FAR, "limit": FEW},
    "prune_failed": {"ids": "[1, 2]", "at": 5},
    "prune_results": {"ids": "[1, 2]"},
    "delete_completed": {"ids": "[1, 2]"},
    "keep_completed": {"rows": "[[1, 1], [2, 1]]", "attempt": 1, "now": 5},
    "running_ids": {},
    "open_ids": {"queue": "default", "most": 3 * FEW},
    "sizes": {"ids": "[1, 2, 3]"},
    "matching": {"ids": "[1, 2, 3]", "statuses": "[0]", "queue": None, "name": None, "text": b"{"},
    "cancel_plain": {"ids": "[1, 2]", "now": 5, "message": ""},
    "delete_settled": {"ids": "[1, 2]"},
    "terms_of": {"ids": "[1, 2, 3]"},
    "key_holder": {"queue": "default", "name": "task", "key": "7"},
    "key_taken": {"queue": "default", "name": "task", "key": "7", "now": 5},
    "limit_runs": {"queue": "default", "lane": "lane"},
    "count_starts": {"queue": "default", "lane": "lane", "since": FAR},
    "nth_start": {"queue": "default", "lane": "lane", "since": 0, "before": FEW},
    "forget_starts": {"queue": "default", "lane": "lane", "since": 0, "now": FAR},
    "let_go_limited": {"queue": "default", "lane": "lane", "limit": FEW},
    "let_go_rated": {"queue": "default", "lane": "lane", "limit": FEW},
    "let_go_ordered": {"queue": "default", "lane": "order", "limit": FEW},
    "let_go_paused": {"queue": "default", "name": "task", "limit": FEW},
    "paused_names": {"queue": "default"},
    "let_into_orders": {"queue": "default", "now": 5},
    "is_behind": {"queue": "default", "lane": "order"},
    "situation": {"job": 1},
    "limit_holders": {"queue": "default", "lane": "lane", "limit": FEW},
    "ahead": {"queue": "default", "lane": "order"},
    "front": {"queue": "default", "limit": FEW},
    "opening_lanes": {"queue": "default", "now": 5, "limit": FEW},
    "close_lane": {"queue": "default", "lane": "lane", "most": 1, "opens_at": 5, "now": 5},
    "open_lane": {"queue": "default", "lane": "lane"},
    "delay_lane": {"queue": "default", "lane": "lane", "opens_at": 5, "now": 5},
    "reopen_lanes": {"now": FAR},
    "restart_windows": {"now": FAR, "limit": FEW},
    "followers": {"job": 1},
    "batch_followers": {"batch": 1},
    "newest_batches": {"before": 3, "limit": FEW},
    "batch_waiting": {"batch": 1, "limit": 2 * FEW},
    "cancel_running_of_batch": {"batch": 1},
    "expiring": {"queue": "default", "now": 5, "limit": 2 * FEW},
    "wants_sweeping": {"queue": "default", "now": 0, "before": 0, "minutes_before": 0, "hours_before": 0},
    "forget_results": {"now": 5, "limit": FEW},
    "forget_keys": {"now": 5, "limit": FEW},
    "forget_batches": {"before": 5, "limit": FEW},
    "forget_figures": {"span": 1, "before": 5, "step": FAR},
    "forget_totals": {"before": 5},
    "add_figures": {"queue": "default", "rows": ADDED, "now": 5},
    "figures": {"queue": "default", "span": 1, "since": 0, "until": 5},
    "totals": {"queue": "default"},
    "backlog_noted": {"queue": "default", "start": 0},
    "note_backlog": {"queue": "default", "span": 1, "start": 0, "name": "", "waiting": 1, "oldest": 1, "now": 5},
    "forget_progress": {"now": 1700000000_000000},
    "due_schedules": {"queue": "default", "now": 5},
    "fire": {"queue": "default", "name": "7", "seen": FAR, "then": FAR},
    "forget_schedule": {"queue": "default", "name": "7"},
    "keep_back": {"rows": "[[1, 1], [2, 1]]"},
    "free_jobs": {},
    "end_terms": {"ids": "[1, 2]"},
    "drop_terms": {"ids": "[1, 2]"},
    "idle": {"queue": "default", "now": 5},
}
ABOUT = {  # the first that is kept back: before it stands what is for later, and what is over
    "is_behind": lambda job: {"job": job},
    "ahead": lambda job: {"job": job},
    "free_jobs": lambda job: {"ids": json.dumps([job])},
}
WINDOWED: Final = 60_000  # these look at some thousands of rows, of however many


@pytest.fixture(params=SIZES, ids="{:,} rows".format)
def connection(request: pytest.FixtureRequest, files: dict[int, Path]) -> Iterator[sqlite3.Connection]:
    with opened(files[request.param]) as connection:
        yield connection


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("ROLLBACK")


@pytest.mark.parametrize("analysed", [False, True], ids=["", "analysed"])
def test_a_hot_statement_uses_its_index(connection, analysed):
    if analysed:
        connection.execute("INSERT INTO sqlite_stat1 SELECT * FROM advice")
        connection.execute("ANALYZE sqlite_schema")
    plans = {name: plan(connection, SQL[name]) for name in HOT}
    halves = {name: 2 if ":up" in SQL[name] else 1 for name in HOT}  # one for each direction
    missed = {
        name: [part for part in parts if sum(part in step for step in plans[name]) < halves[name]]
        for name, parts in HOT.items()
    }
    assert {name: (parts, plans[name]) for name, parts in missed.items() if parts} == {}
    assert {name: found for name, found in ((name, scans(steps)) for name, steps in plans.items()) if found} == {}
    sorting = {name for name, steps in plans.items() if any("TEMP B-TREE" in step for step in steps)}
    assert sorting <= SORTED


def scans(steps: list[str]) -> list[str]:
    return [
        step
        for step in steps
        if step.startswith(("SCAN jobs", "SCAN terms", "SCAN starts", "SCAN completed", "SCAN results", "SCAN figures"))
        and not step.removeprefix("SCAN ").startswith(MAY_SCAN)
    ]


@pytest.mark.parametrize(
    ("name", "up"), [(name, up) for name, row in LOOKS.items() for up in ([True, False] if "up" in row else [None])]
)
def test_a_statement_looks_at_as_many_rows_as_it_finds(files, name, up):
    """Not at more, whatever is there: counted in SQLite's own steps, and not in time."""
    _, thousand, million = (steps_of(path, name, size, up) for size, path in files.items())
    assert million <= max(thousand + FEW, WINDOWED if name in ("forget_progress", "wants_sweeping") else 0)


def steps_of(path: Path, name: str, size: int, up: bool | None) -> int:
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += 1
        return steps > 100_000

    row = LOOKS[name] | (ABOUT[name](size // 2 + 1 if size else 2) if name in ABOUT else {})
    if up is not None:
        row |= {"up": up}
    with opened(path) as connection:
        connection.set_progress_handler(count, 1)
        connection.execute(SQL[name], row).fetchall()
        connection.set_progress_handler(None, 0)
    return steps


def test_every_statement_prepares(connection):
    for name, statement in SQL.items():
        if name not in ("begin_push", "undo_push", "end_push"):
            assert plan(connection, statement) is not None, name


def plan(connection: sqlite3.Connection, statement: str) -> list[str]:
    class Anything(dict):
        def __missing__(self, key: str) -> object:
            return json.dumps([]) if key in ("rows", "ids", "dead", "queues") else None

    values = [None] * statement.count("?") if "(?" in statement else Anything()  # and not where a comment asks
    explain = "EXPLAIN" if " TRIGGER " in statement else "EXPLAIN QUERY PLAN"
    return [row[3] for row in connection.execute(f"{explain} {statement}", values).fetchall()]
