"""The bench runs, and prints its rows. How fast anything is is not asserted here."""

import subprocess
import sys
from pathlib import Path

import pytest
from prove.postgres import versions
from tests.postgres_fixtures import NOT_TESTED

ROOT = Path(__file__).parents[2]

pytest.importorskip("huey")


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *options], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def quickly(folder: Path, *scenarios: str) -> str:
    only = [word for name in scenarios for word in ("--only", name)]
    done = bench("--quick", "--folder", str(folder), *only)
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == [], "it left something behind"
    return done.stdout


def first_cells(text: str) -> list[str]:
    return [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]


def test_a_quick_run_prints_a_row_for_each_figure(tmp_path: Path) -> None:
    said = quickly(
        tmp_path,
        "push",
        "push-many",
        "push-within",
        "drain",
        "drain-two",
        "waiting",
        "unlimited",
        "limited",
        "rescue",
        "memory",
        "pages",
    )
    head, _, *rows = first_cells(said)
    assert head == "what"
    assert rows == [
        "push one at a time, one thread, flushed",
        "`push_many`",
        "file: INSERT of the application's and a push, one transaction",
        "drain no-op jobs, one process",
        "the same, against the fastest embedded peer even without its flush",
        "drain, two processes",
        "claim with 1,000,000 waiting",
        "drain jobs without limits, beside 100,000 that wait in closed lanes",
        "drain jobs of which at most 100 run at once, one process",
        "kill -9 of one of two worker processes: its jobs run again",
        "memory while draining 1,000,000 jobs",
        "dashboard: a page with 1,000,000 jobs",
    ]
    assert "SQLite" in said
    lines = [line for line in said.splitlines() if line.startswith("|")]
    for line in (lines[2], lines[6]):
        for peer in ("huey", "persist-queue", "litequeue"):
            assert f"{peer}, flushed: " in line
            assert f"{peer}, not flushed: " in line
        assert "µs a job" in line


def test_the_payloads_and_the_profile_are_tables_of_their_own(tmp_path: Path) -> None:
    said = quickly(tmp_path, "payloads", "profile")
    titles = [line for line in said.splitlines() if line.startswith("## ")]
    assert titles == [
        "## Payloads: the rates",
        "## Payloads: bytes written for each job",
        "## Where the time goes: a push by one thread",
        "## Where the time goes: a drain, 500 jobs a transaction",
    ]
    cells = first_cells(said)
    assert "bytes written to claim and settle a job of 1 MiB" in cells
    assert cells.count("1 MiB") == 5
    assert "the flush" in cells


@pytest.mark.skipif(not versions(), reason=f"{NOT_TESTED}PostgreSQL")
def test_the_server_has_rows_and_tables_of_its_own(tmp_path: Path) -> None:
    said = quickly(
        tmp_path, "postgres-push", "postgres-within", "postgres-drain", "postgres-wal", "postgres-snapshot", "copy"
    )
    cells = first_cells(said)
    assert cells[2:8] == [
        "PostgreSQL: push one at a time, one thread",
        "PostgreSQL: push, 32 threads",
        "PostgreSQL: `push_many`",
        "PostgreSQL: INSERT of the application's and a push, one transaction",
        "PostgreSQL: drain no-op jobs, one process",
        "PostgreSQL: drain no-op jobs, two processes",
    ]
    assert cells[cells.index("payload") + 2 :][:3] == ["100 B", "10 KiB", "1 MiB"]
    assert any(cell.endswith("s, snapshot gone") for cell in cells)
    assert cells[-2:] == ["file → PostgreSQL", "PostgreSQL → file"]
    for line in [line for line in said.splitlines() if line.startswith("| PostgreSQL: drain")]:
        for peer in ("PgQueuer", "procrastinate"):
            assert f"{peer}: " in line  # its figures, or why it is missing


def test_a_peer_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hidden" / "litequeue").mkdir(parents=True)
    (tmp_path / "hidden" / "litequeue" / "__init__.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"))
    (tmp_path / "files").mkdir()
    said = quickly(tmp_path / "files", "drain")
    assert "**not measured, because it is missing here**: litequeue: not here" in said
    assert "**missing** litequeue: not here" in said
    assert "litequeue, flushed" not in said


def test_the_page_is_written_from_a_whole_run_only() -> None:
    done = bench("--quick", "--write")
    assert done.returncode == 2
    assert "expected --write to be alone" in done.stderr
