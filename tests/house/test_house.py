"""Rules about the code itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import workqueue
from workqueue.job import JobStatus
from workqueue.lifecycle import MOVES

from sources import parsed

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "workqueue"
MODULES = sorted(SRC.rglob("*.py"))
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
SQL_WORDS = re.compile(r"\b(SELECT\s+\S|INSERT\s+(OR|INTO)|UPDATE\s+\w+\s+SET|DELETE\s+FROM|CREATE\s+TABLE)")


def committed() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    return [ROOT / line for line in listed.stdout.splitlines()] if listed.returncode == 0 else list(ROOT.rglob("*"))


def name(path: Path) -> str:
    return str(path.relative_to(SRC))


def of_each_module(rule: Callable[[Path], None]) -> Callable[[], None]:
    """Make one test of a rule: one for each module would cost more than to apply it."""

    def test() -> None:
        broken = {}
        for path in MODULES:
            try:
                rule(path)
            except AssertionError as error:
                broken[name(path)] = str(error)
        assert broken == {}

    return test


@of_each_module
def test_a_module_says_what_lives_in_it(path):
    if path.read_text():
        assert ast.get_docstring(parsed(path.read_text()))


@of_each_module
def test_a_module_is_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= 400, "give a part of it a room of its own"


@of_each_module
def test_only_the_clock_reads_the_time_of_day(path):
    if name(path) == "store/clock.py":
        return
    calls = re.findall(r"time\.time\(|time_ns\(|datetime\.now\(|utcnow\(|date\.today\(", path.read_text())
    assert calls == []


@of_each_module
def test_sql_stands_in_sql_files(path):
    texts = [node.value for node in ast.walk(parsed(path.read_text())) if isinstance(node, ast.Constant)]
    docs = [ast.get_docstring(node, clean=False) for node in ast.walk(parsed(path.read_text())) if is_documented(node)]
    assert [t for t in texts if isinstance(t, str) and t not in docs and SQL_WORDS.search(t)] == []


@of_each_module
def test_data_is_never_executed(path):
    tree = parsed(path.read_text())
    imported = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert imported.isdisjoint({"pickle", "marshal", "shelve", "yaml", "dill", "cloudpickle"})
    assert called.isdisjoint({"eval", "exec", "compile", "__import__"})
    if "importlib" in imported:
        # executor/child.py: a child imports the functions that its parent has registered, by names of the parent's.
        # metrics.py: asks importlib.metadata for our own version.
        known = (
            "metrics.py",
            "cli/__init__.py",
            "cli/loading.py",
            "cli/reload.py",
            "store/sql.py",
            "executor/child.py",
        )
        assert name(path) in known, "nothing imports what data name"


@of_each_module
def test_nothing_is_unpacked_that_may_become_a_thousand_times_as_large(path):
    """Row 102 of the threats we know of: data are stored, sent and shown as they came."""
    tree = parsed(path.read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {"gzip", "bz2", "lzma", "zipfile", "tarfile", "compression"}.isdisjoint(at.split(".")[0] for at in names)
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert called.isdisjoint({"decompress", "decompressobj", "unpack_archive"})  # zlib has checksums too


@of_each_module
def test_nothing_is_asserted_at_run_time_and_nothing_swallowed(path):
    for node in ast.walk(parsed(path.read_text())):
        assert not isinstance(node, ast.Assert)
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None
            if isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException"):
                assert not all(isinstance(step, ast.Pass) for step in node.body)


def test_the_names_that_the_package_gives_are_there_and_sorted():
    assert workqueue.__all__ == sorted(workqueue.__all__)
    assert all(hasattr(workqueue, public) for public in workqueue.__all__)


def test_the_map_names_every_room():
    house = (ROOT / "docs" / "architecture.md").read_text()
    assert [name(path) for path in MODULES if path.name != "__init__.py" and path.name not in house] == [], (
        "docs/architecture.md does not show these"
    )


def test_the_picture_shows_the_moves():
    picture = re.findall(r"^ {4}(\w+) --> (\w+)", (ROOT / "docs" / "lifecycle.md").read_text(), re.MULTILINE)
    assert {(JobStatus[a], JobStatus[b]) for a, b in picture} == {(a, b) for a, to in MOVES.items() for b in to}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_program_of_the_readme_runs_again_and_again_and_its_jobs_elsewhere(tmp_path):
    [program] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "program.py").write_text(program)
    said = "Size(waiting=1, failed=0)"
    for _ in range(2):
        assert _printed(tmp_path, "program.py") == ["sent to ada@example.org at attempt 2", said]
    others = "import program; print(program.queue.size(), program.queue.task.names())"
    assert _printed(tmp_path, "-c", others) == [f"{said} ['send']"], "as `workqueue run program:queue` finds it"


def _printed(folder: Path, *words: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "", "TMPDIR": str(folder)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_nothing_names_a_registry():
    hosts = [
        ".".join(host) for host in (("pypi", "org"), ("files", "pythonhosted"), ("npmjs", "org"), ("deb", "debian"))
    ]
    for path in committed():
        if path.is_file():
            text = path.read_bytes()
            assert [host for host in hosts if host.encode() in text] == [], path


@pytest.mark.parametrize("lock", ["run.txt", "test.txt"])
def test_a_lock_has_hashes_and_no_addresses(lock):
    text = (ROOT / "requirements" / lock).read_text()
    assert "://" not in text
    assert text.count("==") <= text.count("--hash=sha256:")


def is_documented(node: ast.AST) -> bool:
    return isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
