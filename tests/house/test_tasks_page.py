"""The programs of docs/tasks.md run, and print what stands beside their lines."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import workqueue

PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"
MODULE = "# app.py\n"
SAID = re.compile(r"^ *print\(.*\)  # (.*)$|^# (.+)$", re.MULTILINE)  # beside its print, or below those of a loop


def test_the_blocks_of_the_page_are_a_module_and_a_program_that_prints_what_they_say(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    program = "\n".join(block for block in blocks if not block.startswith(MODULE))
    (tmp_path / "app.py").write_text("\n".join(block for block in blocks if block.startswith(MODULE)))
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(Path(workqueue.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = [beside or below for beside, below in SAID.findall(program)]
    assert len(said) > 20
    assert done.stdout.splitlines() == said


def test_every_option_of_a_task_and_of_a_push_stands_on_the_page():
    """Where the table has it, or a program uses it."""
    from workqueue.registry import Options
    from workqueue.task import BaseTask

    page = PAGE.read_text()
    options = {*Options.__annotations__, *BaseTask.using.__annotations__} - {"return"}
    assert [option for option in sorted(options) if not re.search(rf"\b{option}\b", page)] == []
