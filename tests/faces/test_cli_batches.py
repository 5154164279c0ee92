"""`workqueue batches`: how far they are, and the end of what is left; what it prints whole is in golden/batches.txt."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from workqueue.cli import group
from workqueue.job import Terms
from workqueue.store import open_store

from support import apply, claim_all, completed, new_job, raised


def run(*arguments: object) -> Result:
    return CliRunner().invoke(group, ["batches", *map(str, arguments)], prog_name="workqueue")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Batches: of three jobs, one completed, one that runs, one that waits; one that has ended; one without any."""
    path = tmp_path / "jobs.db"
    with closing(open_store(path)) as store:
        first, second, _ = (store.batches.open("mail") for _ in range(3))
        runner = store.enlist("mail", "tests")
        store.push([new_job(queue="mail", terms=Terms(batch=second))])
        store.batches.seal(second)
        [claim] = claim_all(store, runner, queue="mail")
        apply(store, raised(claim))
        store.push([new_job(queue="mail", terms=Terms(batch=first)) for _ in range(2)])
        store.batches.seal(first, [new_job(queue="mail", name="waits", terms=Terms(batch=first))])
        done, _ = claim_all(store, runner, queue="mail", limit=2)
        apply(store, completed(done))
    return path


def test_how_far_they_are(path):
    lines = run(path).stdout.splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["3", "mail", "open", "0%", "0", "0", "0", "0", "0"],
        ["2", "mail", "done", "100%", "0", "1", "0", "0", "1"],
        ["1", "mail", "sealed", "33%", "1", "0", "0", "2", "3"],
    ]
    assert "ended      1 of 3 jobs (33%)" in run("show", path, 1).stdout
    assert [(one["id"], one["left"], one["done"]) for one in json.loads(run(path, "--json").stdout)] == [
        (3, 0, False),
        (2, 0, True),
        (1, 2, False),
    ]


def test_page_after_page(path):
    first = run(path, "--limit", 2)
    assert "the next page is --before 2" in first.stderr
    assert [line.split()[0] for line in run(path, "--before", 2).stdout.splitlines()[1:]] == ["1"]


def test_what_waits_is_cancelled_and_what_runs_is_told(path):
    done = run("cancel", path, 1, "--yes")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "batch 1: cancelled 2 jobs; no more may join it",
        "1 of them still runs: told to end",
    ]
    with closing(open_store(path)) as store:
        assert store.batches.get(1).cancelled == 1
        assert store.get(3).cancel_requested


def test_an_open_one_without_jobs_is_sealed(path):
    assert run("cancel", path, 3, "--yes").stdout == "batch 3: cancelled 0 jobs; no more may join it\n"
    assert json.loads(run("show", path, 3, "--json").stdout)["done"]


def test_nothing_is_cancelled_unasked(path):
    assert run("cancel", path, 1).exit_code == 2
    assert run("cancel", path, 2).exit_code == 1
    with closing(open_store(path)) as store:
        assert store.batches.get(1).cancelled == 0
