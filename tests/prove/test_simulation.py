"""The simulation is the same each time, and sees bugs that are planted in the package."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from prove.simulation.faults import KINDS
from prove.simulation.story import Told, told
from workqueue.executor.threads import ThreadExecutor
from workqueue.store.gate import Gate
from workqueue.store.sqlite.database import Database
from workqueue.store.sqlite.schema import SQL
from workqueue.upkeep import Upkeep

from prove import simulation

SEEDS = 60
Plant = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
def play() -> Iterator[Callable[..., Told]]:
    with simulation.stage() as (folder, carriers):
        yield lambda seed, *without: told(folder, seed, without=without, carriers=carriers)


def fingerprint(story: Told) -> str:
    return sha256(repr((story.events, story.faults, story.seconds)).encode()).hexdigest()


def test_without_faults_nothing_breaks(play: Callable[..., Told]) -> None:
    stories = [play(seed, *KINDS) for seed in range(1, 9)]
    assert [story.broken for story in stories] == [[]] * 8
    assert sum(story.counts["jobs acknowledged"] for story in stories) > 50
    assert sum(story.counts["rescued from the dead"] for story in stories) > 0  # in the drill at the end


def test_a_short_run_tells_what_it_did() -> None:
    verdict = simulation.run(0.2, 1)
    assert verdict.counts["schedules"] >= 1
    assert verdict.counts["faults injected"] > 0
    assert (verdict.counts["lost"], verdict.counts["settled twice"]) == (0, 0)


def test_the_same_seed_does_the_same(play: Callable[..., Told]) -> None:
    for seed in (3, 4, 5):
        first, second = play(seed), play(seed)
        assert first.events == second.events
        assert fingerprint(first) == fingerprint(second)


def test_the_same_seed_does_the_same_in_another_process(play: Callable[..., Told], tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from prove.simulation.scheduler import Carriers
from prove.simulation.story import told
from tests.prove.test_simulation import fingerprint
print([fingerprint(told(Path(sys.argv[1]), seed, without=(), carriers=Carriers())) for seed in (6, 7)])
"""
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", program, str(tmp_path)]
    root = Path(__file__).parents[2]
    answer = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True).stdout
    assert answer.strip() == str([fingerprint(play(seed)) for seed in (6, 7)])


def test_a_seed_is_repeated_with_kinds_switched_off() -> None:
    verdict = simulation.repeat(["3", "--without", "death,freeze"])
    assert verdict.counts["schedules"] == 1
    assert verdict.counts["faults of kind death"] == verdict.counts["faults of kind freeze"] == 0


@pytest.mark.parametrize("words", [[], ["x"], ["3", "--with", "death"], ["3", "--without", "rain"]])
def test_other_words_are_refused(words: list[str]) -> None:
    with pytest.raises(ValueError):
        simulation.repeat(words)


# planted bugs


def without(statement: str, term: str, instead: str = "") -> Plant:
    """Plant the statement with one term taken out."""
    assert SQL[statement].count(term) == 1, (statement, term)
    return lambda patch: patch.setitem(SQL, statement, SQL[statement].replace(term, instead))  # type: ignore[arg-type]


def clock_steps_go_unnoticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Upkeep, "_notice", lambda *_: None)


def commits_are_thought_to_last(patch: pytest.MonkeyPatch) -> None:
    def commit(database: Database, connection: sqlite3.Connection) -> bool:
        del database
        try:
            connection.execute("COMMIT -- by workqueue")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK -- by workqueue")
        return True

    patch.setattr(Database, "_commit", commit)


def threads_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ThreadExecutor, "close", lambda _: None)


def the_dead_go_unseen(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("prove.simulation.side_files.Owners.is_dead", lambda *_: False)


@pytest.mark.parametrize(
    ("plant", "seed", "found"),
    [
        pytest.param(without("complete", "AND attempt = :attempt"), 2, {"I3", "I4"}, id="completed by a late runner"),
        pytest.param(without("settle", "AND jobs.attempt = s.attempt"), 27, {"I3", "I4"}, id="settled late"),
        pytest.param(
            without("settle", "AND (s.lease IS NULL OR jobs.lease_until = s.lease)"),
            191,
            {"S6"},
            id="rescued for good",
        ),
        pytest.param(without("claim", "AND lost = 0"), 26, {"S4"}, id="a suspect in company"),
        pytest.param(without("claim", "priority DESC, "), 18, {"I12"}, id="no priority"),
        pytest.param(without("promote", "AND run_at <= :now "), 3, {"S3", "I8"}, id="before its time"),
        pytest.param(without("beat", "lease_until = :now + :lease", "lease_until = 0"), 1, {"S6"}, id="short beats"),
        pytest.param(without("settle", "lost = lost + s.losses", "lost = lost"), 1, {"S11"}, id="losses not counted"),
        pytest.param(clock_steps_go_unnoticed, 1046, {"S6"}, id="clock steps go unnoticed"),
        pytest.param(commits_are_thought_to_last, 95, {"I1"}, id="commits are thought to last"),
        pytest.param(threads_stay, 2, {"I14"}, id="threads stay"),
        pytest.param(the_dead_go_unseen, 1, {"S11"}, id="the dead go unseen"),
        pytest.param(without("limit_runs", "AND runs", "AND 0"), 6, {"I15"}, id="a limit for each claim"),
        pytest.param(without("stop_terms", "runs = 0", "runs = runs"), 6, {"I9"}, id="a place leaks"),
        pytest.param(without("forget_starts", "at <= :since", "at <= :now"), 18, {"I16"}, id="starts forgotten"),
        pytest.param(without("let_go_rated", "kept_by = 3", "kept_by = 1"), 18, {"I9"}, id="a rate never opens"),
        pytest.param(without("is_behind", "IN (2, 4)", "= 4"), 36, {"I13"}, id="an order broken by a retry"),
        pytest.param(without("key_holder", "AND is_open", "AND NOT runs"), 37, {"S8"}, id="a key free when claimed"),
        pytest.param(without("let_go_paused", "kept_by = 4", "kept_by = 1"), 26, {"I9"}, id="paused for ever"),
        pytest.param(lambda patch: patch.setattr(Gate, "is_expired", lambda *_: False), 10, {"I18"}, id="expired"),
        pytest.param(without("batch_done", "= total", "> 0"), 18, {"I19"}, id="a batch done with its first"),
        pytest.param(without("followers", "follows = :job", "follows >= :job"), 6, {"I20"}, id="a chain overtaken"),
        pytest.param(without("fire", "AND next_at = :seen"), 9, {"I21"}, id="a slot run twice"),
    ],
)
def test_a_planted_bug_is_seen(
    play: Callable[..., Told], monkeypatch: pytest.MonkeyPatch, plant: Plant, seed: int, found: set[str]
) -> None:
    plant(monkeypatch)
    seen: set[str] = set()
    for following in range(seed, seed + SEEDS):  # the first, as long as the package acts as it did
        seen |= {sentence.split(":")[0] for sentence in play(following).broken}
        if seen & found:
            return
    pytest.fail(f"expected one of {sorted(found)} to break, got: {sorted(seen)}")


def test_a_failing_seed_is_shrunk_to_the_faults_that_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_steps_go_unnoticed(monkeypatch)
    runs = (simulation.run(0, seed) for seed in range(1046, 1046 + SEEDS))
    failure = next(failure for run in runs for failure in run.failures if failure.startswith("S6"))
    command, _, kinds = failure.rpartition(": ")[2].partition(" --without ")
    assert command.startswith("python -m prove repeat simulation ")
    assert "clock" not in kinds.split(",")
    assert len(kinds.split(",")) > len(KINDS) // 2
