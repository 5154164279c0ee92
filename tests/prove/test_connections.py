"""The harness of lines that break: it passes, and a package that guessed what came of a commit would be caught."""

from __future__ import annotations

import random

import pytest
from prove.connections.sweep import Cut, Line, some_cut
from prove.postgres.server import versions
from workqueue.store.postgres.connection import Connection
from workqueue.store.postgres.database import Database

from postgres_fixtures import missing
from prove import connections


def broken_by(url: str, case: str) -> list[str]:
    """Lose the answer to each statement of a case, one at a time; give what is broken."""
    with Line(url) as line:
        for message in range(line.messages(case)):
            line.cut(Cut(case, message, 0.0, "CLOSE"))
        return line.verdict()[0]


def test_it_passes():
    if not versions():
        missing("PostgreSQL: install requirements/test.txt")
    verdict = connections.run(4, 1)
    assert verdict.failures == []
    assert verdict.counts["cuts"] >= 20
    assert verdict.counts["storms"] == 1
    assert verdict.counts["jobs acknowledged"] > 0


@pytest.mark.parametrize("believes", [True, False])
def test_a_commit_whose_fate_is_guessed_is_noticed(postgres, monkeypatch, believes):
    monkeypatch.setattr(Database, "lasted", lambda _self, _token: believes)
    assert broken_by(postgres, "fire")


def test_a_push_that_is_made_again_is_noticed(postgres, monkeypatch):
    ask = Connection.ask

    def with_another_token(connection: Connection, statement: str, row: dict[str, object] | None = None) -> object:
        if statement == "push":
            row = {**(row or {}), "token": random.getrandbits(62)}
        return ask(connection, statement, row or {})

    monkeypatch.setattr(Connection, "ask", with_another_token)
    assert any("I2" in sentence for sentence in broken_by(postgres, "push"))


def test_the_same_seed_draws_the_same_cuts(postgres):
    with Line(postgres) as line:
        first, second = ([some_cut(line, random.Random(7)) for _ in range(5)] for _ in range(2))
    assert first == second


def test_a_cut_can_be_repeated():
    if not versions():
        missing("PostgreSQL: install requirements/test.txt")
    assert connections.repeat(["cut", "push", "0", "0.5", "RESET"]).failures == []
    with pytest.raises(ValueError, match="expected: cut CASE"):
        connections.repeat(["cut", "push"])
