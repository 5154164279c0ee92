"""The bench runs, and prints its rows. How fast anything is is not asserted here."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytest.importorskip("huey")


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *options], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def test_a_quick_run_prints_a_row_for_each_figure_and_leaves_nothing_behind(tmp_path: Path) -> None:
    scenarios = ("push-many", "drain", "drain-two", "rescue")
    only = [word for name in scenarios for word in ("--only", name)]
    done = bench("--quick", "--folder", str(tmp_path), *only)
    assert done.returncode == 0, done.stderr
    head, _, *rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert "stands at" in head
    assert [row.split("|")[1].strip() for row in rows] == [
        "`push_many`",
        "drain no-op jobs, one process",
        "the same, against the fastest embedded peer without its fsync",
        "drain, two processes",
        "kill -9 of one of two worker processes: its jobs run again",
    ]
    assert "SQLite" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_page_is_written_from_a_whole_run_only() -> None:
    done = bench("--quick", "--write")
    assert done.returncode == 2
    assert "expected --write to be alone" in done.stderr
