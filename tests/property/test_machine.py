"""Each engine tells the model's history, whatever is drawn; `python -m prove run` plays more of them."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from prove.model.beside import MemoryAndFile, memory_and_database

MemoryAndFile.TestCase.settings = settings(settings.default, max_examples=50, stateful_step_count=30)
test_both_engines_tell_one_history = MemoryAndFile.TestCase


def test_memory_and_postgres_tell_one_history(postgres):
    with memory_and_database(postgres) as machine:
        how = settings(settings.default, max_examples=10, stateful_step_count=30)
        run_state_machine_as_test(machine, settings=how)
