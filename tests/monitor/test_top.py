"""`workqueue top`: on a real terminal, in scripts, and where there is neither a terminal nor textual."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from workqueue.cli import group
from workqueue.cli.codes import Code
from workqueue.store import open_store

from support import a_failed_job, claim_one, push

NASTY = "[red]a[/red]\x1b[35mb\x1b]0;title\x07c\u202e"
ENV = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "WORKQUEUE_URL", "COLORTERM")}
SGR = re.compile(rb"\x1b\[([0-9;]*)m")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    store = open_store(tmp_path / "jobs.db")
    a_failed_job(store, queue="mail", name=NASTY)
    runner = store.enlist("mail", "host:7")
    push(store, queue="mail", name="send")
    claim_one(store, runner, queue="mail")
    push(store, queue="mail", name="send")
    store.pause("mail", "held")
    store.close()
    return tmp_path / "jobs.db"


class Terminal:
    """A terminal on which a command runs."""

    def __init__(self, ours: int, child: subprocess.Popen[bytes]) -> None:
        self.ours = ours
        self.child = child
        self.seen = b""
        self._at = 0

    def read(self) -> bool:
        if not select.select([self.ours], [], [], 20)[0]:
            return False
        try:
            more = os.read(self.ours, 65536)
        except OSError:  # Linux says so at the end
            return False
        self.seen += more
        return bool(more)

    def wait_for(self, word: str) -> None:
        """Read until this comes, after what was waited for before."""
        while self.seen.find(word.encode(), self._at) < 0:
            assert self.read(), (word, self.seen[self._at :])
        self._at = self.seen.find(word.encode(), self._at) + len(word)

    def press(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def end(self) -> int:
        while self.read():
            pass
        return self.child.wait(60)


@contextmanager
def on_a_terminal(*arguments: object, size: tuple[int, int] = (100, 30), **env: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    command = [sys.executable, "-m", "workqueue", *map(str, arguments)]
    environment = ENV | {"TERM": "xterm-256color"} | env
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as child:
        os.close(theirs)
        try:
            yield Terminal(ours, child)
        finally:
            child.kill()
            os.close(ours)


def colours(seen: bytes) -> set[bytes]:
    codes = {code for found in SGR.findall(seen) for code in found.split(b";")}
    return {code for code in codes if code[:1] in (b"3", b"4", b"9") and code not in (b"39", b"49", b"3", b"4", b"9")}


def test_on_a_real_terminal(path):
    with on_a_terminal("top", path) as terminal:
        terminal.wait_for("FAILURES")
        terminal.wait_for("ValueError: bad")
        terminal.press("p")
        terminal.wait_for("Pause queue")
        terminal.press("y")
        terminal.wait_for("paused queue")
        terminal.press("\t\t\r")  # at once, as over a slow line
        terminal.wait_for("a traceback")
        terminal.press("q")
        assert terminal.end() == 0
    assert terminal.seen.endswith(b"\x1b[?1004l") or b"\x1b[?1049l" in terminal.seen, "the screen is given back"
    assert b"\x1b[35m" not in terminal.seen and b"\x1b]0;" not in terminal.seen, "no data reach it as they are"
    assert "\u202e".encode() not in terminal.seen
    assert rb"[red]a[/red]\x1b[35mb\x1b]0;title\x07" in terminal.seen
    assert {b"31", b"36"} <= colours(terminal.seen) <= {b"31", b"32", b"33", b"36"}, "the terminal's own colours alone"
    assert open_store(path).paused("mail") == [None, "held"]


def test_whoever_ends_it_leaves_the_terminal_as_it_was(path):
    with on_a_terminal("top", path) as terminal:
        terminal.wait_for("FAILURES")
        terminal.child.terminate()
        assert terminal.end() == 0
    assert b"\x1b[?1049h" in terminal.seen and b"\x1b[?1049l" in terminal.seen
    assert terminal.seen.rfind(b"\x1b[?25h") > terminal.seen.rfind(b"\x1b[?25l"), "the cursor is there again"


def test_who_wants_no_colours_gets_none(path):
    with on_a_terminal("top", path, NO_COLOR="1") as terminal:
        terminal.wait_for("ValueError: bad")
        terminal.press("\x03")
        assert terminal.end() == 0
    assert colours(terminal.seen) == set()
    with on_a_terminal("top", path, NO_COLOR="") as terminal:
        terminal.wait_for("ValueError: bad")
        terminal.press("q")
        assert terminal.end() == 0
    assert b"31" in colours(terminal.seen)


def invoke(*arguments: object, **options: object) -> tuple[int, str]:
    result = CliRunner().invoke(group, [str(argument) for argument in arguments], prog_name="workqueue", **options)  # type: ignore[arg-type]
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_without_a_terminal_it_says_what_to_do(path):
    code, said = invoke("top", path)
    assert code == Code.USAGE
    assert said == (
        "workqueue: expected a terminal to draw on, which this is not; say `workqueue status`, or `workqueue top "
        "--once`\n"
    )
    with on_a_terminal("top", path, TERM="dumb") as terminal:
        assert terminal.end() == Code.USAGE
    assert b"expected a terminal to draw on" in terminal.seen


def test_without_textual_it_names_the_extra(path):
    program = (
        "import sys; sys.modules['textual'] = None\nfrom workqueue.cli import main\n"
        f"sys.argv = ['workqueue', 'top', {str(path)!r}]\nmain()"
    )
    (path.parent / "program.py").write_text(program)
    with on_a_terminal("status", path) as terminal:
        terminal.end()
    ours, theirs = pty.openpty()
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with subprocess.Popen([sys.executable, "-c", program], env=ENV | {"TERM": "xterm"}, **streams) as child:
        os.close(theirs)
        terminal = Terminal(ours, child)
        assert terminal.end() == Code.USAGE
        os.close(ours)
    assert b"expected textual for the monitor, but it is not installed; say pip install" in terminal.seen
    assert b"'.[monitor]' in a clone of workqueue" in terminal.seen


def test_one_frame_needs_no_textual_and_imports_none(path):
    program = (
        "import sys; sys.modules['textual'] = None\nimport workqueue.cli, workqueue.monitor\n"
        f"sys.argv = ['workqueue', 'top', {str(path)!r}, '--once']\nworkqueue.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], env=ENV, capture_output=True, timeout=60, check=True)
    assert b"QUEUES AND TASKS" in done.stdout and done.stderr == b""


def test_one_frame_as_tables_and_as_json(path):
    code, said = invoke("top", path, "--once")
    assert code == 0
    lines = [line.split() for line in said.splitlines()]
    assert ["mail", "no", "runner", "1", "0", "1", "1"] in [line[:7] for line in lines], "the process of it has ended"
    assert ["send", "1", "0", "1", "0"] in [line[:5] for line in lines]
    assert ["2", "host:7", "mail", "2", "send"] in [line[:5] for line in lines]
    assert all(letter.isprintable() or letter == "\n" for letter in said)
    code, said = invoke("top", path, "--once", "--json")
    told = json.loads(said)
    assert code == 0 and said.isascii()
    assert [queue["queue"] for queue in told["queues"]] == ["mail"]
    assert {one["name"]: one["due"] for one in told["standings"]} == {NASTY: 0, "send": 1}
    assert [(one["job"], one["name"], one["runner"]) for one in told["running"]] == [(2, "send", "host:7")]
    assert [(one["job"], one["status"], one["message"]) for one in told["failures"]] == [
        (1, "failed", "ValueError: bad")
    ]
    assert told["paused"] == {"mail": ["held"]} and len(told["minutes"]) == 240


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (["--interval", "10ms"], "expected 100ms to 1h, got: 0.01s"),
        (["--interval", "2d"], "expected 100ms to 1h"),
        (["--json"], "expected --once beside --json"),
    ],
)
def test_what_it_cannot_do_is_refused(path, said, told):
    code, output = invoke("top", path, *said)
    assert code == Code.USAGE and told in output


def test_a_file_that_is_not_there_is_told_before_anything_is_drawn(tmp_path):
    with on_a_terminal("top", tmp_path / "missing.db") as terminal:
        assert terminal.end() == Code.STORE
    assert b"but there is none; check the path" in terminal.seen and b"\x1b[?1049h" not in terminal.seen
    assert not (tmp_path / "missing.db").exists()
