"""What people are told of a server whose settings keep less than they may think."""

from __future__ import annotations

import pytest
from workqueue.store.postgres.engine import PostgresStore
from workqueue.store.postgres.inspection import _notes

SAFE = {"synchronous_commit": "on", "fsync": "on", "full_page_writes": "on", "synchronous_standby_names": "b"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"synchronous_commit": "off"}, "a job that was pushed may be lost"),
        ({"fsync": "off"}, "a crash of the server's machine can damage the database"),
        ({"full_page_writes": "off"}, "after a crash, also of the server alone, the database may not recover"),
        ({"synchronous_standby_names": ""}, "a failover can lose the last commits"),
    ],
)
def test_what_a_setting_may_cost_is_said(changes, said):
    assert _notes(SAFE, pooled=False) == []
    [note] = _notes(SAFE | changes, pooled=False)
    assert said in note


def test_a_pooler_is_said_to_hide_deaths():
    [note] = _notes(SAFE, pooled=True)
    assert "a runner's death is seen by its lease alone" in note


def test_the_server_is_asked(postgres):
    store = PostgresStore(postgres)
    assert "fsync is off" in store.overview().engine.notes[0]
    store.close()
