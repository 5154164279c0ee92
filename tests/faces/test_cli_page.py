"""docs/cli.md and the code say the same: commands, options, examples, reasons, and exit codes."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import click
import pytest
import workqueue
from workqueue import why
from workqueue.cli import _COMMANDS, group
from workqueue.cli.codes import MEANINGS, Code

from sources import parsed

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
SOURCES = sorted((Path(workqueue.__file__).parent / "cli").glob("*.py"))
CONTEXT = click.Context(group, info_name="workqueue", **group.context_settings)
EXAMPLES = re.compile(r"^ *(?:\$ )?(workqueue \S.*)$", re.MULTILINE)


def command_of(name: str) -> click.Command:
    command = group.get_command(CONTEXT, name)
    assert command is not None
    return command


def examples() -> list[str]:
    found = EXAMPLES.findall(PAGE) + re.findall(r"`(workqueue [a-z]+ [^`…\n]+)`", PAGE)
    for name in _COMMANDS:
        found += EXAMPLES.findall(command_of(name).epilog or "")
    return sorted(set(found))


def test_the_exit_codes_of_the_page_are_those_of_the_code():
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", PAGE[PAGE.index("## Exit codes") :], re.MULTILINE)
    assert [(Code(int(code)), meaning) for code, meaning in rows] == list(MEANINGS.items())
    assert set(MEANINGS) == set(Code)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_no_command_exits_with_a_number_of_its_own(source):
    for node in ast.walk(parsed(source.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("exit", "_exit"):
            assert not any(isinstance(argument, ast.Constant) for argument in node.args), ast.unparse(node)


def test_each_command_stands_on_the_page():
    assert re.findall(r"^\| .*?\[`(\w+)`\]\(#\w+\)", PAGE, re.MULTILINE) == [
        name
        for name in _COMMANDS
        if name != "resume"  # beside pause
    ]
    sections = re.findall(r"^## `(\w+)`$", PAGE, re.MULTILINE)
    assert set(_COMMANDS) - set(sections) == {"resume", "reopen"}
    assert set(re.findall(r"\]\(#(\w+)\)", PAGE)) <= set(sections)


def test_each_option_that_changes_what_a_command_does_stands_on_the_page():
    options = {
        option
        for name in _COMMANDS
        for param in command_of(name).params
        if isinstance(param, click.Option) and not param.hidden
        for option in param.opts
    }
    assert [option for option in sorted(options) if option not in PAGE] == []


@pytest.mark.parametrize("line", examples())
def test_an_example_is_taken_as_it_stands(line, tmp_path, monkeypatch):
    """Parsed, and not done: so an option that was renamed is found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKQUEUE_URL", "jobs.db")
    words = shlex.split(re.split(r" [|<>] ", line)[0], comments=True)[1:]
    command: click.Command = command_of(words.pop(0))
    if isinstance(command, click.Group):
        name = words.pop(0) if words and words[0] in command.commands else "list"
        command = command.commands[name]
    command.make_context(command.name, words, parent=CONTEXT)


def test_the_page_explains_each_reason_that_why_gives():
    words = {
        node.args[0].value
        for node in ast.walk(parsed(Path(why.__file__).read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Said"
        if isinstance(node.args[0], ast.Constant)
    }
    assert len(words) > 25
    table = PAGE[PAGE.index("| reason |") : PAGE.index("## `schedules`")]
    known = set(re.findall(r"`([a-z ]+)`", table))
    words |= {"waiting", "retrying", "gone"}
    assert words <= known
    assert known - words == {"copy"}, "which gives no such reason any more"
