"""What the command line does on a terminal and not elsewhere: colours, tables that fit; what is offered after Tab."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner
from workqueue import Queue
from workqueue.cli import group
from workqueue.cli.progress import progress

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
NASTY = "a\x1b[31mred\u202eevil\u200b" + "漢字" * 30
ENV = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "WORKQUEUE_URL")}


class Failing:
    def id(self) -> str:
        return "failing"

    def do_work(self, ctx: object, job: object) -> None:
        raise ValueError("no luck at all, and a long story of why that was so")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.db"
    with Queue(path, Failing()) as queue:
        queue.push(NASTY[:60], 1)
        queue.push("mail", 2)
        queue.wait_idle(10)
        queue.stop()
        queue.push("later", 3)
    return path


def on_a_terminal(*arguments: object, columns: int = 200, **env: str) -> str:
    """What a terminal is told."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "workqueue", *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=ENV | {"COLUMNS": str(columns), "TERM": "xterm"} | env,
    ) as child:
        os.close(theirs)
        seen = b""
        try:
            while select.select([ours], [], [], 60)[0]:
                try:
                    more = os.read(ours, 65536)
                except OSError:  # Linux says so at the end
                    break
                seen += more
            assert child.wait(60) in (0, 1)
        finally:
            child.kill()
            os.close(ours)
    return seen.decode().replace("\r\n", "\n")


def test_on_a_terminal_a_status_has_its_colour(path):
    text = on_a_terminal("jobs", path)
    assert "\x1b[31mfailed" in text and "\x1b[1mID" in text
    assert "\x1b[31mred" not in text, "only ours"
    assert r"a\x1b[31mred\u202eevil\u200b" in text
    assert "\x1b[31m     2" in on_a_terminal("status", path)


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_who_wants_none_gets_none(path, env):
    assert "\x1b" not in on_a_terminal("jobs", path, **env) + on_a_terminal("status", path, **env)


def test_an_empty_no_color_asks_for_nothing(path):
    assert "\x1b[31mfailed" in on_a_terminal("jobs", path, NO_COLOR="")


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_a_table_is_cut_to_fit_a_terminal(path, columns):
    lines = on_a_terminal("jobs", path, columns=columns, NO_COLOR="1").splitlines()
    assert len(lines) == 4
    wide = [sum(2 if ord(letter) > 0x3000 else 1 for letter in line) for line in lines]
    assert max(wide) <= max(columns, 8 * 8 + 14), lines
    assert any("…" in line for line in lines)
    assert lines[0].startswith("ID  QUEUE") and lines[3].split()[2] == "pending"


def test_a_table_in_a_pipe_is_whole(path):
    command = [sys.executable, "-m", "workqueue", "jobs", str(path)]
    done = subprocess.run(command, capture_output=True, env=ENV | {"COLUMNS": "40"}, timeout=60, check=True)
    assert done.stdout.decode().count("ValueError: no luck at all, and a long story of why that wa…") == 2
    assert b"\x1b" not in done.stdout


def test_long_work_has_a_bar_on_a_terminal_only(path, tmp_path):
    text = on_a_terminal("backup", path, tmp_path / "copy.db")
    assert re.search(r"copying pages .* (\d+)/\1\b", text) and "backed up 3 jobs" in text
    with Queue(path, id="many") as queue:
        queue.push_many("n", range(1200))
    assert "cancelling" in on_a_terminal("cancel", path, "--queue", "many", "--yes")
    command = [sys.executable, "-m", "workqueue", "clean", str(path), "--status", "cancelled", "--yes"]
    done = subprocess.run(command, capture_output=True, env=ENV, timeout=60, check=True)
    assert (done.stdout, done.stderr) == (b"deleted 1,200\n", b"")


@pytest.fixture
def unheard() -> Iterator[Callable[[int, FrameType | None], None]]:
    """What hears SIGTERM where nobody else does: it would end the tests."""

    def unheard(number: int, frame: FrameType | None) -> None:
        pytest.fail("nobody heard it")

    before = signal.signal(signal.SIGTERM, unheard)
    yield unheard
    signal.signal(signal.SIGTERM, before)


def test_a_terminal_gets_its_cursor_back_when_long_work_is_ended(monkeypatch, unheard):
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    with pytest.raises(SystemExit) as ended, progress() as tell:
        tell("copying", 1, 10)
        assert screen.getvalue().rfind(HIDE) > screen.getvalue().rfind(SHOW)
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 143
    assert screen.getvalue().rfind(SHOW) > screen.getvalue().rfind(HIDE)
    assert signal.getsignal(signal.SIGTERM) is unheard


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


# completion


@pytest.fixture
def here(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("WORKQUEUE_URL", raising=False)
    monkeypatch.chdir(path.parent)
    return path.parent


def offered(*words: str) -> list[str]:
    """What bash is told to offer for the last of the words."""
    *before, incomplete = words
    shell = BashComplete(group, {}, "workqueue", "_WORKQUEUE_COMPLETE")
    return [item.value for item in shell.get_completions(list(before), incomplete)]


def test_the_shell_offers_commands_statuses_names_and_queues(here, monkeypatch):
    assert {"status", "show", "schedules"} <= set(offered("s"))
    assert offered("jobs", "jobs.db", "--status", "f") == ["failed"]
    assert offered("jobs", "jobs.db", "--name", "m") == ["mail"]
    assert offered("jobs", "jobs.db", "--queue", "") == ["default"]
    assert offered("schedules", "tr") == ["trigger"]
    monkeypatch.setenv("WORKQUEUE_URL", "jobs.db")
    assert offered("pause", "--name", "l") == ["later"]
    assert offered("push", "jobs.db", "m") == ["mail"]
    assert offered("cancel", "17", "--name", "m") == ["mail"], "17 is no file here"
    assert offered("push", "mail", "--queue", "") == ["default"]


def test_the_shell_is_told_nothing_where_nothing_can_be_known(here):
    assert offered("jobs", "--name", "m") == []
    assert offered("jobs", "missing.db", "--name", "m") == []
    assert offered("jobs", "jobs.db", "--name", "a") == [], "what would steer it"
    (here / "pyproject.toml").write_text("[tool.workqueue]\nnothing = 1")
    assert offered("jobs", "--name", "m") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell):
    result = CliRunner().invoke(group, ["completion", shell], prog_name="workqueue")
    assert f"_WORKQUEUE_COMPLETE={shell}_complete" in result.stdout


def test_the_script_is_answered(path):
    told = {"_WORKQUEUE_COMPLETE": "bash_complete", "COMP_WORDS": "workqueue jobs --status f", "COMP_CWORD": "3"}
    done = subprocess.run([sys.executable, "-m", "workqueue"], env=ENV | told, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"plain,failed\n", b"")
