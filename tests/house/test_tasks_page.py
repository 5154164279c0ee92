"""The programs of docs/tasks.md run, and print what stands beside their lines."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"


def test_the_blocks_of_the_page_are_one_program_that_prints_what_they_say(tmp_path):
    program = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    said = re.findall(r"^print\(.*\)  # (.*)$", program, re.MULTILINE)
    assert len(said) > 6
    assert done.stdout.splitlines() == said
