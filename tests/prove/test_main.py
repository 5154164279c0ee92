"""The command that proves: its sizes, its exit codes, its record and its page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from prove.__main__ import main
from prove.harnesses import HARNESSES
from prove.reliability import Reliability, Score, save, with_table
from prove.verdict import Verdict

from prove import model, reliability


def call(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def verdict(**changes: object) -> Verdict:
    fields = {"harness": "crash", "seed": 7, "seconds": 1.0, "counts": {"kills": 1234, "lost": 0}}
    return Verdict(**(fields | changes))  # type: ignore[arg-type]


def record(**changes: object) -> Reliability:
    fields = {
        "commit": "abc",
        "command": "python -m prove run quick",
        "machine": {"CPU": "one, 2 cores"},
        "versions": {"apsw": "3"},
        "verdicts": [verdict()],
    }
    return Reliability(**(fields | changes))  # type: ignore[arg-type]


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """One harness that gives what the test says, and notes how it was called."""
    told: dict[str, object] = {"verdict": verdict()}

    def run(seconds: float, seed: int) -> object:
        told.update(seconds=seconds, seed=seed)
        return told["verdict"]

    monkeypatch.setitem(HARNESSES, "crash", (run, 0.5))
    return told


def test_one_line_for_each_harness(harness: dict[str, object]) -> None:
    result = call("run", "3m", "--only", "crash", "--seed", "9")
    assert result.output == "crash: 1,234 kills, 0 lost (seed 7, 1 s)\n"
    assert (result.exit_code, harness["seconds"], harness["seed"]) == (0, 180.0, 9)


def test_quick_is_the_same_each_time(harness: dict[str, object]) -> None:
    assert call("run", "quick", "--only", "crash").exit_code == 0
    assert harness["seed"] == 1


def test_a_broken_promise_is_printed_and_fails(harness: dict[str, object]) -> None:
    harness["verdict"] = verdict(failures=["job 3 is lost (python -m prove repeat crash 7 0)"], remarks=["no strace"])
    result = call("run", "1s", "--only", "crash")
    assert result.exit_code == 1
    assert "  BROKEN job 3 is lost (python -m prove repeat crash 7 0)\n  (no strace)\n" in result.output


def test_a_harness_is_run_and_repeated() -> None:
    assert call("run", "1s", "--only", "simulation", "--seed", "3").exit_code == 0
    result = call("repeat", "simulation", "1")
    assert (result.exit_code, result.output.partition(":")[0]) == (0, "simulation")


def test_harnesses_run_at_once_are_told_in_their_order() -> None:
    words = ["run", "1s", "--only", "simulation", "--only", "model", "--at-once", "2", "--seed", "3"]
    command = [sys.executable, "-m", "prove", *words]  # as it is called: what is run must be found by other processes
    told = subprocess.run(command, cwd=reliability.ROOT, capture_output=True, text=True, check=True).stdout
    found = [line.partition(":")[0] for line in told.splitlines() if "(seed 3, " in line]
    assert found == ["model", "simulation"]


@pytest.mark.parametrize(
    "words",
    [
        ["run", "soon"],
        ["run", "1s", "--only", "rain"],
        ["run", "1s", "--only", "model", "--write"],
        ["repeat", "model", "x"],
        ["repeat", "cuts", "x"],
        ["planted", "--only", "lease", "--write"],
    ],
)
def test_other_words_are_refused(words: list[str]) -> None:
    result = call(*words)
    assert result.exit_code == 2
    assert "expected" in result.output or "Invalid value" in result.output


def test_the_model_tells_engines_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workqueue.store.memory.engine.MemoryStore.size", lambda *_: None)
    found = model.FILE.repeat(["1"])
    assert found.counts["differences"] == 1
    assert "(python -m prove repeat model 1)" in found.failures[0]
    assert "state.open(" in found.failures[0]


PAGE = f"before\n{reliability._BEGIN}\nold\n{reliability._END}\nafter\n"


def test_the_table_stands_between_its_marks() -> None:
    powercut = verdict(harness="powercut", counts={"cuts: disks": 5, "damage: logs": 2}, failures=["x (repeat cuts 1)"])
    score = Score(
        commit="def",
        seconds=9,
        bugs={"a": "t", "b": ""},
        terms={"c": "t", "PostgreSQL: d": "t"},
        again="ghi",
        untried={"PostgreSQL": 7},
    )
    page = with_table(
        PAGE, record(verdicts=[verdict(), powercut], planted=score, peers=[verdict(harness="crash: huey")])
    )
    assert page.startswith("before\n")
    assert page.endswith("\nafter\n")
    assert "old" not in page
    assert "| crash | 7 | 1,234 kills, 0 lost | 0 |\n| cuts | 7 | 5 disks | 1 |\n| damage | 7 | 2 logs | 0 |" in page
    assert "at commit def (those that survived there, and new ones, were tried at ghi): **1 of 2 caught**." in page
    assert "for SQLite, dropped one at a time, the tests noticed **1 of 1**." in page
    assert "for PostgreSQL, dropped one at a time, the tests noticed **1 of 1**; 7 more were not tried yet." in page
    assert "Survivors: `b`." in page
    assert "| huey | 1,234 kills, 0 lost |" in page
    assert with_table(page, record()) == with_table(PAGE, record())


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="expected the lines"):
        with_table("no marks", record())


def test_what_is_saved_is_read_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reliability, "RECORD", tmp_path / "R.json")
    monkeypatch.setattr(reliability, "PAGE", tmp_path / "page.md")
    (tmp_path / "page.md").write_text(PAGE)
    assert reliability.load() is None
    save(record())
    assert reliability.load() == record()
    assert "1,234 kills" in (tmp_path / "page.md").read_text()


def test_the_page_is_made_from_the_record() -> None:
    found = reliability.load()
    assert found is not None, "expected RELIABILITY.json; say `make prove`"
    page = reliability.PAGE.read_text(encoding="utf-8")
    assert with_table(page, msgspec.structs.replace(found)) == page
