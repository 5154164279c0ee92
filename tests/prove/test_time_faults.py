"""The harness of time: its scenes pass, and a package that judged time badly would be caught."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from prove.time_faults import edges, machine, scenes
from prove.time_faults.machine import Machine, WallClock

from prove import time_faults


@pytest.mark.parametrize("scene", [scenes.delays, scenes.death_after_step])
def test_a_scene_passes(scene):
    played = time_faults.play(scene, 1, 0)
    assert played.broken == []
    assert played.counts["jobs"] > 0
    assert played.counts["clock steps"] > 0


def test_the_edges_pass():
    counts, broken, _ = edges.play(random.Random(1))
    assert broken == []
    assert counts["jobs"] > 0


def test_the_clock_of_a_machine_is_set_for_all_its_processes(tmp_path):
    ours, theirs, another = (WallClock(tmp_path / "clock", slot) for slot in (0, 0, 1))
    before = ours()
    ours.step(timedelta(days=-1))
    assert theirs() < before - 86_000_000_000
    assert another() >= before
    assert ours.furthest() >= before
    theirs.stand_still()
    assert ours() == ours()
    ours.go_on()
    assert theirs() < before


# planted bugs, in the worker processes


def planted(monkeypatch: pytest.MonkeyPatch, tmp_path, patch: str) -> None:
    """Let each worker process begin with this patch of the package."""
    (tmp_path / "sitecustomize.py").write_text(f"import workqueue\n{patch}\n")
    monkeypatch.setattr(machine, "ROOT", _Root(tmp_path, machine.ROOT))


class _Root:
    """Stands before the real folders on the path."""

    def __init__(self, first, root) -> None:
        self._words = f"{first}:{root}"
        self._root = root

    def __str__(self) -> str:
        return self._words

    def __truediv__(self, name: str):
        return self._root / name


def test_a_rescuer_that_minds_no_step_is_caught(monkeypatch, tmp_path):
    planted(
        monkeypatch,
        tmp_path,
        "from workqueue.upkeep import Upkeep\nUpkeep._notice = lambda *_: None",
    )
    monkeypatch.setattr(scenes, "drawn_step", lambda _: timedelta(hours=1))
    rounds = (time_faults.play(scenes.steps_beside_leases, 1, number) for number in range(10))  # a beat may be in time
    robbed = next((played for played in rounds if played.counts["living runners robbed"]), None)
    assert robbed is not None
    assert any("was taken from runner" in text for text in robbed.broken)


def test_a_store_that_gives_jobs_out_early_is_caught(monkeypatch, tmp_path):
    planted(
        monkeypatch,
        tmp_path,
        "from workqueue.store.sqlite import claiming, engine, line\n"
        "really = claiming._promote\n"
        "claiming._promote = lambda connection, now, want: really(connection, now + 10**9, want)\n"
        "line.Horizon.is_due = lambda self, now: self.next_at is not None\n"
        "engine._may_claim = lambda *_: True\n",
    )

    def waits(machine: Machine, draw: random.Random) -> None:
        machine.push("quick", delay=100)
        worker = machine.start()
        assert worker.wait("began")
        worker.end()

    played = time_faults.play(waits, 1, 0)
    assert any("before its run_at" in text for text in played.broken)
    assert played.counts["before their time"] == 1


def test_a_job_that_is_never_run_is_caught(monkeypatch):
    monkeypatch.setattr(scenes, "until", lambda condition, patience=0.0: condition())

    def stands(machine: Machine, draw: random.Random) -> None:
        machine.push("quick")
        scenes._work_on(machine)

    played = time_faults.play(stands, 1, 0)
    assert played.broken == ["new jobs are not run any more"]


def test_a_claim_a_microsecond_early_is_caught(monkeypatch):
    really = edges.SetClock.__call__
    monkeypatch.setattr(edges.SetClock, "__call__", lambda clock: really(clock) + 1)
    _, broken, _ = edges.play(random.Random(1))
    assert any("claimed early" in text for text in broken)


def test_a_scene_is_repeated_by_its_words():
    verdict = time_faults.repeat(["edges", "7", "0"])
    assert verdict.failures == []
    with pytest.raises(ValueError, match="got: edges seven"):
        time_faults.repeat(["edges", "seven"])
