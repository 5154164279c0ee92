"""The public types say what they mean, to mypy and to pyright: good.py passes, and of bad.py every marked line fails.

And no other line of it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TypeAlias

import pytest
import workqueue

HERE = Path(__file__).parent
SOURCE = Path(workqueue.__file__).parents[1]
MARK = "  # error"
FILES = ("good.py", "bad.py")
Errors: TypeAlias = dict[str, dict[int, str]]  # of each file: line → message


@pytest.fixture(scope="module", params=["mypy", "pyright"])
def errors(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Errors:
    """What a type checker says of both files."""
    pytest.importorskip(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    found = by_mypy(folder) if request.param == "mypy" else by_pyright(folder)
    assert found["bad.py"], "it did not look"
    return found


def by_mypy(folder: Path) -> Errors:
    command = ["--strict", "--config-file=", "--follow-imports=silent", "--no-error-summary", f"--cache-dir={folder}"]
    done = run("mypy", *command, *FILES, MYPYPATH=str(SOURCE))
    assert done.returncode == 1, done.stdout + done.stderr
    found: Errors = {file: {} for file in FILES}
    for file, line, message in re.findall(r"^(\w+\.py):(\d+): error: (.*)$", done.stdout, re.MULTILINE):
        found[file][int(line)] = message
    return found


def by_pyright(folder: Path) -> Errors:
    """Strictly, but for what is no mistake in the two files: expressions without use, and names that nobody reads."""
    settings = {
        "extraPaths": [str(SOURCE)],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "reportUnusedExpression": False,
        "reportUnusedCoroutine": False,
        "reportUnusedVariable": False,
        "reportUnusedFunction": False,
    }
    for file in FILES:
        shutil.copy(HERE / file, folder)
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    done = run("pyright", "--outputjson", "--pythonpath", sys.executable, "--project", str(folder))
    assert done.returncode == 1, done.stdout + done.stderr
    found: Errors = {file: {} for file in FILES}
    for said in json.loads(done.stdout)["generalDiagnostics"]:
        if said["severity"] == "error":
            found[Path(said["file"]).name][said["range"]["start"]["line"] + 1] = said["message"]
    return found


def run(module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=HERE,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_good_lines_pass(errors):
    assert errors["good.py"] == {}


def test_marked_lines_fail_and_no_others(errors):
    lines = (HERE / "bad.py").read_text(encoding="utf-8").splitlines()
    marked = {number: line.strip() for number, line in enumerate(lines, start=1) if line.endswith(MARK)}
    assert len(marked) > 70
    assert {number: line for number, line in marked.items() if number not in errors["bad.py"]} == {}
    assert {number: said for number, said in errors["bad.py"].items() if number not in marked} == {}
