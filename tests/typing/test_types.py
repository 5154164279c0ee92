"""The public types say what they mean: good.py passes mypy, and every line marked in bad.py fails, and no other."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import workqueue

HERE = Path(__file__).parent
MARK = "  # error"


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, str]]:
    """What mypy says of both files: line → message."""
    pytest.importorskip("mypy")
    command = ["mypy", "--strict", "--config-file=", "--follow-imports=silent", "--no-error-summary"]
    command += [f"--cache-dir={tmp_path_factory.mktemp('mypy')}", "good.py", "bad.py"]
    source = str(Path(workqueue.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=HERE,
        env=os.environ | {"MYPYPATH": source},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    found: dict[str, dict[int, str]] = {"good.py": {}, "bad.py": {}}
    for file, line, message in re.findall(r"^(\w+\.py):(\d+): error: (.*)$", done.stdout, re.MULTILINE):
        found[file][int(line)] = message
    return found


def test_good_lines_pass(errors):
    assert errors["good.py"] == {}


def test_marked_lines_fail_and_no_others(errors):
    lines = (HERE / "bad.py").read_text(encoding="utf-8").splitlines()
    marked = {number: line.strip() for number, line in enumerate(lines, start=1) if line.endswith(MARK)}
    assert len(marked) > 30
    assert {number: line for number, line in marked.items() if number not in errors["bad.py"]} == {}
    assert {number: said for number, said in errors["bad.py"].items() if number not in marked} == {}


def test_pyright_says_the_same():
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", "good.py", "bad.py"]
    source = str(Path(workqueue.__file__).parents[1])
    done = subprocess.run(
        command,
        cwd=HERE,
        env=os.environ | {"PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    said = json.loads(done.stdout)["generalDiagnostics"]
    found = {(Path(one["file"]).name, one["range"]["start"]["line"] + 1) for one in said if one["severity"] == "error"}
    lines = (HERE / "bad.py").read_text(encoding="utf-8").splitlines()
    assert found == {("bad.py", number) for number, line in enumerate(lines, start=1) if line.endswith(MARK)}
