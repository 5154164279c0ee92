"""A mutant: a copy of the package with a bug planted, and the first test that notices."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

ROOT: Final = Path(__file__).parents[1]
HUNG: Final = "a test that hung"
_PATIENCE: Final = 1_800.0  # seconds; what hangs has noticed, too
_HARNESS: Final = "prove:"
_HARNESS_TIME: Final = "25s"
_QUIETLY: Final = ("-x", "-q", "--tb=no", "--assert=plain", "-rfE", "-p", "no:cacheprovider")
_LIMITED: Final = (
    "--timeout=60",
    "--timeout-method=thread",
)  # by a thread, for a query that never ends hears no signal
_TIMED_OUT: Final = "+ Timeout +"
_NO_TESTS: Final = 5  # pytest's exit code
_NOT_FOUND: Final = "ERROR: not found: "
_ON_FILES: Final = ("-k", "not postgres and not psycopg")
_ON_SERVERS: Final = ("-k", "postgres or psycopg")
_MEMORY: Final = Path("/dev/shm")  # where a flush costs nothing


@dataclass(frozen=True)
class Change:
    """`old`, which stands once in `path` (below src/workqueue), becomes `new`."""

    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """A known mistake, by its name; one of `suites` must fail with its changes made.

    suites: what pytest is told, or prove:HARNESS for a run of that.
    """

    name: str
    suites: Sequence[str]
    changes: Sequence[Change]

    def plant(self, source: Path) -> None:
        """Change the copy of the package in `source`. Raises ValueError when a text is not there, or not once."""
        for change in self.changes:
            file = source / "workqueue" / change.path
            text = file.read_text(encoding="utf-8")
            if text.count(change.old) != 1:
                raise ValueError(
                    f"{self.name}: expected {change.old!r} once in {change.path}, got: {text.count(change.old)} times; "
                    "the package has moved on, so move the plant"
                )
            file.write_text(text.replace(change.old, change.new), encoding="utf-8")

    def caught_by(self, servers: Mapping[str, str] | None = None) -> str:
        """Give the first test that fails with the bug in; "" when it survived.

        servers: the URLs of PostgreSQL servers by version, for tests that do not end theirs; else they start their own.
        Raises ValueError as `plant`, and where there are no such tests: then nobody has looked.
        """
        with TemporaryDirectory(prefix="workqueue-prove-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
            source = Path(folder) / "src"
            shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
            self.plant(source)
            return _first_failure(self.suites, source, Path(folder), self._which(), servers or {})

    def _which(self) -> Sequence[str]:
        """Give the choice of tests, where the changes are to one engine alone."""
        for engine, which in (("store/sqlite/", _ON_FILES), ("store/postgres/", _ON_SERVERS)):
            if all(change.path.startswith(engine) for change in self.changes):
                return which
        return ()


def _first_failure(
    suites: Sequence[str], source: Path, folder: Path, which: Sequence[str], servers: Mapping[str, str]
) -> str:
    environment = os.environ | {
        "PYTHONPATH": f"{source}{os.pathsep}{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "",  # the next run reads what this one compiled of the tests
        "WORKQUEUE_TEST_SERVERS": json.dumps(dict(servers)),
        "CI": "true",  # hypothesis draws the same each time
        "WORKQUEUE_HYPOTHESIS": "unshrunk",
    }

    def run(*words: str) -> subprocess.CompletedProcess[str] | None:
        command = [sys.executable, "-m", *words]
        try:
            return subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=_PATIENCE, check=False
            )
        except subprocess.TimeoutExpired:
            return None

    tests = [suite for suite in suites if not suite.startswith(_HARNESS)]
    if tests:
        done = run("pytest", *_QUIETLY, *_LIMITED, f"--basetemp={folder / 'tmp'}", *which, *tests)
        if done is not None and (done.returncode == _NO_TESTS or _NOT_FOUND in done.stderr):
            raise ValueError(f"expected tests that there are, got: {' '.join([*which, *tests])}")
        if done is None or _TIMED_OUT in done.stdout + done.stderr:
            return HUNG
        if done.returncode:
            failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
            return (
                failed[0].split(" ", 1)[1].partition(" - ")[0]
                if failed
                else f"pytest itself (exit code {done.returncode})"
            )
    for harness in (suite.removeprefix(_HARNESS) for suite in suites if suite.startswith(_HARNESS)):
        done = run("prove", "run", _HARNESS_TIME, "--seed", "1", "--only", harness)
        if done is None:
            return HUNG
        if done.returncode:
            return f"python -m prove run {_HARNESS_TIME} --only {harness}"
    return ""
