"""Golden tests: what each command prints, whole, as text and as JSON. `WORKQUEUE_GOLDEN=write` writes the files anew.

A store's clock stands still here, and what differs from machine to machine is masked; so a changed line is a changed
command, and is to be looked at like any other code.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from prove.clock import FakeClock
from workqueue import Backoff
from workqueue import store as stores
from workqueue.cli import _COMMANDS, group
from workqueue.cli.codes import MEANINGS
from workqueue.job import Lane, Terms
from workqueue.schedule import Schedule
from workqueue.store import copying
from workqueue.store.contract import Store
from workqueue.store.sqlite.engine import SqliteStore

from support import (
    again,
    apply,
    claim_all,
    claim_one,
    completed,
    handed_back,
    lost,
    new_job,
    push,
    raised,
    settled_at_once,
)

GOLDEN = Path(__file__).parent / "golden"
LEASE = timedelta(minutes=1)
NASTY = "a\x1b[31mred\u202eevil\u200b 漢字 \x00"

SCENES = {
    "status": ["status jobs.db", "status jobs.db --queue mail", "status jobs.db --json", "status empty.db"],
    "jobs": [
        "jobs jobs.db",
        "jobs jobs.db --status failed --queue mail",
        "jobs jobs.db --name send --newest --limit 2",
        "jobs jobs.db --text ada@",
        "jobs jobs.db --batch 1",
        "jobs jobs.db --after 3 --before 6 --json",
        "jobs jobs.db --name nobody",
    ],
    "show": [f"show jobs.db {job}" for job in (2, 3, 5, 7, 9, 12)] + ["show jobs.db 3 --json", "show jobs.db 99"],
    "why": [f"why jobs.db {job}" for job in range(1, 13)] + ["why jobs.db 7 --json", "why jobs.db 99"],
    "check": ["check jobs.db", "check jobs.db --json"],
    "push": [
        'push new.db send {"to":"ada"} --after 10m',
        "push new.db send 1 --at 2030-01-31T12:00+01:00 --priority 3",
        "push new.db send {bad",
        "push new.db send 1 --at soon",
        "push new.db send",
    ],
    "cancel": [
        "cancel jobs.db 1 9 3 99",
        "cancel jobs.db --name send",
        "cancel jobs.db --queue mail --yes",
        "cancel jobs.db",
    ],
    "retry": ["retry jobs.db 2 3 4 9 1", "retry jobs.db --status failed", "retry jobs.db", "jobs jobs.db --queue mail"],
    "restore": ["restore jobs.db 3", "restore jobs.db", "restore jobs.db", "restore jobs.db 3 --queue other"],
    "clean": [
        "clean jobs.db",
        "clean jobs.db --yes",
        "clean jobs.db 4 1 --yes",
        "clean jobs.db --status cancelled --text x",
        "clean jobs.db --status completed --yes",
        "clean jobs.db --status pending",
    ],
    "pause": [
        "pause jobs.db --queue mail",
        "pause jobs.db --queue mail --name send --name remind",
        "pause jobs.db --queue mial",
    ],
    "resume": [
        "resume jobs.db --queue other",
        "resume jobs.db --queue other",
        "resume jobs.db --queue mail --name held",
    ],
    "schedules": [
        "schedules jobs.db",
        "schedules list jobs.db --json",
        "schedules pause jobs.db report --queue mail",
        "schedules jobs.db --queue mail",
        "schedules resume jobs.db report --queue mail",
        "schedules pause jobs.db report",
        "schedules empty.db",
    ],
    "batches": [
        "batches jobs.db",
        "batches list jobs.db --limit 1 --json",
        "batches jobs.db --before 1",
        "batches show jobs.db 1",
        "batches show jobs.db 1 --json",
        "batches show jobs.db 9",
        "batches cancel jobs.db 1",
        "batches cancel jobs.db 1 --yes",
        "batches jobs.db --limit 1",
        "batches cancel jobs.db 1 --yes",
        "batches empty.db",
    ],
    "serve": [
        "serve missing.db --port 0",
        "serve jobs.db --host 0.0.0.0",
        "serve jobs.db --host jobs.example.org",
        "serve jobs.db --auth ada",
        "serve jobs.db --auth ada:short",
    ],
    "top": [
        "top jobs.db --once",
        "top empty.db --once",
        "top jobs.db",
        "top jobs.db --json",
        "top jobs.db --once --interval 5ms",
        "top missing.db --once",
    ],
    "backup": [
        "backup jobs.db b.db",
        "backup jobs.db b.db",
        "backup jobs.db b.db --force --json",
        "backup jobs.db jobs.db",
    ],
    "copy": [
        "copy jobs.db moved.db",
        "copy empty.db moved.db --verify",
        "copy jobs.db snapshot.db --while-running --json",
    ],
    "reopen": ["reopen jobs.db", "copy empty.db moved.db", "status empty.db", "push empty.db n 1", "reopen empty.db"],
    "migrate": ["migrate jobs.db", "migrate mysql://me:secret@host/jobs"],
    "bench": ["bench . --seconds 0.1", "bench . --seconds 0.1 --json"],
    "run": ["run", "run app", "run no_such_module:queue", "run app:queue --watch --processes 2"],
    "completion": ["completion tcsh"],
    "configuration": ["status", "statsu", "--nothing", "status jobs.db --nothing", "why jobs.db", "status missing.db"],
}
MASKS = [
    (r"in \d+\.\d s\b", "in N s"),
    (r"in [\d.]+ s, [\d,]+ a second", "in N s, N a second"),
    (r"[\d,]+ bytes", "N bytes"),
    (r'("(?:seconds|bytes)"|"(?:b|jobs|empty)\.db(?:-\w+)?"): [\d.]+', r"\1: N"),
    (r"SQLite( +)3\.[\d.]+", r"SQLite\1V"),
    (r'"version": "[\d.]+"', '"version": "V"'),
    (r"note: SQLite V .*", "note: SQLite V …"),
    (r'"SQLite V [^"]*"', '"SQLite V …"'),
    (r"file system( +)\S+", r"file system\1F"),
    (r'"file_system": "[^"]*"', '"file_system": "F"'),
    (r"( page_size +|\"page_size\": \")\d+", r"\1N"),
    (r"(?m)^ *\"?(?:mmap_size|fullfsync|checkpoint_fullfsync)\b.*\n", ""),
    (r"\b[0-9a-f]{16}\b(?=  )", "C" * 16),
]
OF_THE_MACHINE = re.compile(
    r"(?m)^(a flush takes|note:| *\"?(?:system|python|machine|versions|conclusion)\b\"?:? +).*$"
)
FIGURE = re.compile(r"\d[\d,]*(\.\d+)?(e-\d+)?")


class Clocked(SqliteStore):
    """A store of a file, by the clock of the test, whoever opens it."""

    clock = FakeClock()

    def __init__(self, path, **options) -> None:
        super().__init__(path, **(options | {"clock": Clocked.clock}))


@pytest.fixture
def here(tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder with a store in which there is a job of each kind, and one that is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORKQUEUE_URL", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(Clocked, "clock", FakeClock())
    monkeypatch.setattr(stores, "SqliteStore", Clocked)
    monkeypatch.setattr(copying, "_DYING", 0.0)  # those that are alive here stay so
    Clocked(tmp_path / "empty.db").close()
    with closing(Clocked(tmp_path / "jobs.db")) as store:
        fill(store, Clocked.clock)
        yield tmp_path


def fill(store: Store, clock: FakeClock) -> None:
    mail = {"queue": "mail", "name": "send", "data": b'{"to":"ada@example.org","times":[1,2]}'}
    runner = store.enlist("mail", "host:1")
    store.introduce(runner, LEASE, ["send", "remind"])
    store.enlist("visits", "host:2")
    push(store, **mail, delay=timedelta(hours=2))  # 1
    push(store, **mail, backoff=Backoff(limit=5))  # 2
    apply(store, again(claim_one(store, runner, queue="mail"), timedelta(minutes=5)))
    settled_at_once(store, raised, **mail)  # 3
    store.cancel(push(store, **(mail | {"name": NASTY, "data": b"\x00\xff"})))  # 4
    settled_at_once(store, lost, **(mail | {"name": "remind"}))  # 5
    push(store, **(mail | {"name": "sned"}), priority=-1)  # 6
    lane = Terms(limit=Lane("visit host=a", most=1), rate=Lane("visit", starts=9, per=LEASE), key="a", order="o")
    push(store, queue="visits", name="visit", terms=lane)  # 7
    visitor = store.enlist("visits", "host:3")
    store.introduce(visitor, LEASE, None)
    claim_one(store, visitor, queue="visits")
    batch = store.batches.open("visits")
    later = Terms(limit=lane.limit, batch=batch, expires_at=clock.now() + timedelta(hours=1))
    push(store, queue="visits", name="visit", terms=later)  # 8
    push(store, queue="visits", name="visit", terms=Terms(follows_batch=batch))  # 9
    store.pause("other", None)
    store.pause("mail", "held")
    store.push([new_job(queue="mail", name="held")])  # 10
    push(store, queue="other", name="alone")  # 11
    done = push(store, queue="other", name="done")  # 12
    store.resume("other", None)
    worker = store.enlist("other", "host:4")
    claims = {claim.job.id: claim for claim in claim_all(store, worker, queue="other")}
    apply(store, completed(claims[done], stays=True), handed_back(claims[11]))
    store.retire(worker)
    store.pause("other", None)
    slot = clock.now() + timedelta(minutes=90)
    store.schedules.put("mail", "report", Schedule(every="0 3 * * *", timezone="Europe/Berlin"), slot)
    store.schedules.put("visits", "tick", Schedule(every=timedelta(minutes=5)), clock.now() + timedelta(minutes=5))
    clock.advance(timedelta(seconds=20))
    assert claim_all(store, runner, queue="none") == []


def transcript(folder: Path, commands: list[str]) -> str:
    """What a person would see, who gives these commands one after another."""
    parts: list[str] = []
    for command in commands:
        result = CliRunner().invoke(group, command.split(), prog_name="workqueue", terminal_width=100)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        said = result.output.replace(f"{folder}/", "/here/").replace(str(folder), "/here")
        for pattern, mask in MASKS:
            said = re.sub(pattern, mask, said)
        if command.startswith("bench ."):
            said = FIGURE.sub("N", OF_THE_MACHINE.sub(r"\1…", said))
        code = f"[exit {int(result.exit_code)}]\n" if result.exit_code else ""
        parts.append(f"$ workqueue {command}\n{said}{code}")
    return "\n".join(parts)


def judge(name: str, found: str) -> None:
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("WORKQUEUE_GOLDEN") == "write":
        GOLDEN.mkdir(exist_ok=True)
        path.write_text(found)
    assert found == path.read_text(), "look at the difference; if it is meant, WORKQUEUE_GOLDEN=write"


@pytest.mark.parametrize("name", SCENES)
def test_what_a_command_prints(here, name):
    judge(name, transcript(here, SCENES[name]))


def helps() -> list[str]:
    beneath = ("schedules trigger", "schedules pause", "batches show", "batches cancel")
    return ["--help", *(f"{name} --help" for name in (*_COMMANDS, *beneath))]


def test_what_help_says(here):
    judge("help", transcript(here, helps()))


def test_there_is_a_golden_file_for_each_command():
    assert set(_COMMANDS) <= SCENES.keys()
    assert {path.stem for path in GOLDEN.iterdir()} == {*SCENES, "help"}


def test_each_command_has_examples_and_says_in_a_line_what_it_does():
    for name in _COMMANDS:
        command = group.get_command(None, name)  # type: ignore[arg-type]
        assert "Examples:\n  workqueue" in command.epilog or "Examples:\n  eval" in command.epilog, name
        assert command.short_help.endswith(".") and len(command.short_help) < 55, name
        assert all(param.help for param in command.params if getattr(param, "opts", [""])[0].startswith("--")), name


def test_nothing_in_a_golden_file_could_steer_a_terminal():
    for path in GOLDEN.iterdir():
        assert {letter for letter in path.read_text() if not letter.isprintable()} <= {"\n"}, path
    assert len(MEANINGS) > 5
