"""docs/from-go.md keeps its word: each row names a test that exists, and its program runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from sources import parsed

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/from-go.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| Go ")
]
NAMES = """
Backoff Attempt Factor Jitter Min Max Expiration Limit Copy Duration ForAttempt GetAttempt Reset
Job Status ID Name Data RetryCount Message ExpectAt DecodeJob Bytes String JobStatus Uack Ack Nack Failed
Init InitTiming InitExtend WithArchive WithAutoStart WithBackoff WithBatchSize WithPollRate
Queue Push PushAfter PushBytes Size CleanFailedJobs RestoreFailedJobs Start Stop Close
Worker DoWork RecoverableWorkerError
"""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: re.findall(r"\w+", row[0])[0])
def test_each_row_names_an_existing_test(row):
    assert len(row) == 4, row
    path, _, name = row[3].strip("`").partition("::")
    functions = [node.name for node in parsed((ROOT / path).read_text(encoding="utf-8")).body if is_test(node)]
    assert name in functions


def test_each_row_has_a_test_of_its_own():
    tests = [row[3] for row in ROWS]
    assert len(set(tests)) == len(tests) == 23


def test_no_name_of_the_seed_is_missing():
    words = set(re.findall(r"\w+", " ".join(row[0] for row in ROWS)))
    assert sorted(set(NAMES.split()) - words) == []


def test_the_program_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    programs = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert programs
    for program in programs:
        exec(compile(program, "docs/from-go.md", "exec"), {"__name__": "program"})
    assert capsys.readouterr().out == "sent to ada@example.org\n"


def is_test(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
