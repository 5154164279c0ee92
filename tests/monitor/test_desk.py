"""Desk: one look at all that is shown."""

from __future__ import annotations

from contextlib import closing

from workqueue.monitor import Desk
from workqueue.store import open_store
from workqueue.store.relational import finding

from support import again, new_job, settled_at_once

ENOUGH = 20.0  # seconds


def test_a_job_that_is_tried_again_is_found_behind_many_that_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(finding, "MOST", 10)
    with closing(open_store(tmp_path / "jobs.db")) as store:
        job = settled_at_once(store, again)
        store.push([new_job() for _ in range(100)])
        with closing(Desk(tmp_path / "jobs.db")) as desk:
            assert [failure.job.id for failure in desk.frame(ENOUGH).failures] == [job]
