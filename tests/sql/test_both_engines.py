"""Both engines have the statements that the steps they share ask for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import resources

from tests.sql.statements import parameters
from workqueue.store.sql import load_statements

from sources import parsed

POSTGRES = load_statements("workqueue.store.postgres")
SQLITE = load_statements("workqueue.store.sqlite")


def test_both_engines_have_what_the_shared_steps_ask_for():
    asked = set(names_asked_for())
    assert len(asked) > 50
    assert asked - POSTGRES.keys() == asked - SQLITE.keys() == set()
    other = {name for name in asked if set(parameters(POSTGRES[name])) != set(parameters(SQLITE[name]))}
    # Of a file: it looks for progress in turns; no standby forgets who has a claim.
    assert other == {"forget_progress", "complete", "keep_completed"}


def names_asked_for() -> Iterator[str]:
    for file in resources.files("workqueue.store.relational").iterdir():
        if file.name.endswith(".py"):
            for node in ast.walk(parsed(file.read_text())):
                match node:
                    case ast.Call(ast.Attribute(attr="ask"), [ast.Constant(str(name)), *_]):
                        yield name
