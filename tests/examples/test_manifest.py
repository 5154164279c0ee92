"""examples/manifest.py on real trees, killed and stopped at random, against sha256sum and a pass of our own."""

import hashlib
import importlib.util
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType

import psycopg
import pytest
from workqueue import Queue

EXAMPLE = Path(__file__).parents[2] / "examples" / "manifest.py"
SHA256SUM = shutil.which("sha256sum")
ODD_NAMES = [
    b"a b",
    b" first and last ",
    b"new\nline",
    b"\nfirst",
    b"back\\slash",
    b"\\n",
    "schön.txt".encode(),
    b"na\xefve",  # not UTF-8
    b"-",
    b"--help",
    b"*",
    b"'\"$HOME`",
    b"x" * 255,
    b"sub/dir/deep",
    b"sub/\xff/deep",
]
needs_sha256sum = pytest.mark.skipif(SHA256SUM is None, reason="needs sha256sum")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with odd names, an empty file, links, a pipe, and a slice of the standard library."""
    top = tmp_path / "tree"
    top.mkdir()
    for name in ODD_NAMES:
        path = os.path.join(os.fsencode(top), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(b"in " + name)
    (top / "empty").touch()
    (top / "link").symlink_to("empty")
    (top / "link to a folder").symlink_to("sub")
    (top / "dangling").symlink_to("nowhere")
    os.mkfifo(top / "pipe")
    library = Path(sysconfig.get_path("stdlib"))
    for package in ("json", "logging", "email"):
        shutil.copytree(library / package, top / "library" / package, ignore=shutil.ignore_patterns("__pycache__"))
    return top


@pytest.fixture
def large_tree(tree: Path) -> Path:
    """The same, with so many files that the walk takes several transactions and the hashing some seconds."""
    for number in range(2500):
        folder = tree / "many" / str(number % 7)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.txt").write_text(f"file {number}\n")
    return tree


@pytest.fixture(scope="module")
def manifest() -> ModuleType:
    spec = importlib.util.spec_from_file_location("manifest", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(folder: Path, *options: str) -> list[str]:
    return [sys.executable, str(EXAMPLE), str(folder), *options]


def run(folder: Path, *options: str, expect: int = 0) -> str:
    """Run it to its end beside the folder; give what it said."""
    done = subprocess.run(
        command(folder, *options), cwd=folder.parent, capture_output=True, text=True, errors="replace", timeout=120
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def output(folder: Path) -> Path:
    return folder.parent / f"manifest-of-{folder.name}"


def hashed_by_us(folder: Path) -> dict[bytes, tuple[str, int]]:
    found = {}
    for parent, _, names in os.walk(os.fsencode(folder)):
        for name in names:
            path = os.path.join(parent, name)
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as file:
                    data = file.read()
                found[os.path.relpath(path, os.fsencode(folder))] = (hashlib.sha256(data).hexdigest(), len(data))
    return found


def in_the_table(out: Path | str) -> dict[bytes, tuple[str, int]]:
    """out: the folder, or the URL of the queue."""
    with closing(psycopg.connect(out) if isinstance(out, str) else sqlite3.connect(out / "jobs.db")) as connection:
        rows = connection.execute("SELECT path, sha256, size FROM manifest").fetchall()
    assert len({row[0] for row in rows}) == len(rows)
    return {path: (sha256, size) for path, sha256, size in rows}


def assert_complete(folder: Path, out: Path, url: str | None = None) -> None:
    """The table and SHA256SUMS hold every file of the folder once, sha256sum agrees, and the queue is sound."""
    expected = hashed_by_us(folder)
    assert in_the_table(url or out) == expected
    lines = (out / "SHA256SUMS").read_bytes().splitlines()
    assert len(lines) == len(set(lines)) == len(expected)
    if SHA256SUM is not None:
        check = [SHA256SUM, "--check", "--strict", "--quiet", str(out / "SHA256SUMS")]
        done = subprocess.run(check, cwd=folder, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
    with Queue(url or out / "jobs.db") as queue:
        assert queue.check() == []
        assert (queue.size().waiting, queue.size().failed) == (0, 0)


def count(out: Path | str, table: str) -> int:
    """Say how many rows a table has by now; 0 while it cannot be read. out: the folder, or the URL of the queue."""
    if isinstance(out, str):
        with closing(psycopg.connect(out)) as connection:
            row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone()
            return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] if row == (True,) else 0
    try:
        connection = sqlite3.connect(f"file:{out / 'jobs.db'}?mode=ro", uri=True)
        try:
            return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.Error:
        return 0


def has_ended(process: subprocess.Popen[str], *, within: float) -> bool:
    try:
        process.wait(timeout=within)
    except subprocess.TimeoutExpired:
        return False
    return True


def ends_before(process: subprocess.Popen[str], reached: Callable[[], bool]) -> bool:
    """Wait until something is reached, or the process ends; say whether it ended."""
    until = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < until
        if has_ended(process, within=0.005):
            return True
    return False


def test_on_a_database_it_does_the_same_and_goes_on_when_killed(large_tree: Path, postgres: str) -> None:
    out, options = output(large_tree), ("--queue", postgres)
    for table, least in (("walked", 1), ("walked", 1500), ("manifest", 200), ("manifest", 900)):
        with subprocess.Popen(
            command(large_tree, *options), cwd=large_tree.parent, stdout=subprocess.DEVNULL, text=True
        ) as one:
            ends_before(one, lambda table=table, least=least: count(postgres, table) >= least)
            one.kill()
    said = run(large_tree, *options, "--retry-failed")
    assert_complete(large_tree, out, postgres)
    assert f"{len(hashed_by_us(large_tree)):,} files" in said
    assert "it had finished before" in run(large_tree, *options)
    assert not (out / "jobs.db").exists()


def test_a_manifest_of_odd_names_satisfies_sha256sum(tree: Path) -> None:
    said = run(tree)
    assert_complete(tree, output(tree))
    assert f"{len(hashed_by_us(tree)):,} files" in said
    assert not list(output(tree).glob("*.part"))


def test_run_again_says_that_it_had_finished_and_mends_the_manifest(tree: Path) -> None:
    run(tree)
    (output(tree) / "SHA256SUMS").write_text("spoiled")
    assert "it had finished before" in run(tree)
    assert_complete(tree, output(tree))


def test_files_that_came_later_are_added(tree: Path) -> None:
    run(tree)
    (tree / "late").write_text("late")
    assert "hashing 1 files" in run(tree)
    assert_complete(tree, output(tree))


def test_the_output_folder_is_left_out_when_it_lies_inside(tree: Path) -> None:
    out = tree / "library" / "fixity"
    run(tree, "--out", str(out), "--concurrency", "1")
    paths = in_the_table(out)
    assert not [path for path in paths if path.startswith(b"library/fixity")]
    assert len(paths) == len([path for path in hashed_by_us(tree) if not path.startswith(b"library/fixity")])


def test_the_output_folder_must_not_be_the_folder(tree: Path) -> None:
    assert "another folder than FOLDER" in run(tree, "--out", str(tree), expect=2)


def test_another_folder_of_the_same_name_is_refused(tree: Path, tmp_path: Path) -> None:
    run(tree)
    other = tmp_path / "other" / "tree"
    other.mkdir(parents=True)
    assert "of another folder" in run(other, "--out", str(output(tree)), expect=2)
    assert_complete(tree, output(tree))


def test_what_cannot_be_read_is_listed_kept_and_retried(tree: Path, manifest: ModuleType) -> None:
    out = output(tree)
    out.mkdir()
    with Queue(out / "jobs.db") as queue:  # the walk alone: as if killed after it
        manifest.make_tables(queue, tree)
        assert manifest.walk(queue, tree, out, frozenset()) == []
    (tree / "empty").unlink()
    (tree / "a b").rename(tree / "moved")
    (tree / "a b").mkdir()

    said = run(tree, expect=1)
    assert "FileNotFoundError" in said and "empty" in said
    assert "IsADirectoryError" in said and "a b" in said
    assert set(hashed_by_us(tree)) - set(in_the_table(out)) == set()
    assert len((out / "SHA256SUMS").read_bytes().splitlines()) == len(in_the_table(out))
    assert "it had finished before" in run(tree, expect=1)
    run(tree, "--retry-failed", expect=1)

    (tree / "empty").touch()
    (tree / "a b").rmdir()
    shutil.copy(tree / "moved", tree / "a b")
    run(tree, "--retry-failed")
    assert_complete(tree, out)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, manifest: ModuleType) -> None:
    unlisted: list[OSError] = []
    assert list(manifest.regular_files(os.fsencode(tmp_path / "gone"), b"", frozenset(), unlisted)) == []
    assert [type(error) for error in unlisted] == [FileNotFoundError]


@needs_sha256sum
@pytest.mark.parametrize("name", [name for name in ODD_NAMES if name != b"-"])
def test_a_line_is_as_sha256sum_writes_it(name: bytes, tree: Path, manifest: ModuleType) -> None:
    said = subprocess.run([SHA256SUM, "--", name], cwd=tree, capture_output=True, timeout=60).stdout
    assert manifest.manifest_line(name, hashlib.sha256(b"in " + name).hexdigest()) == said


def test_a_carriage_return_is_escaped(manifest: ModuleType) -> None:
    assert manifest.manifest_line(b"a\rb", "00") == b"\\00  a\\rb\n"


def test_killed_at_random_instants_it_goes_on_where_it_stopped(large_tree: Path) -> None:
    out = output(large_tree)
    seed = random.randrange(2**32)
    print(f"{seed = }")
    draw = random.Random(seed)
    in_the_walk = [draw.randint(1, 2500) for _ in range(2)]
    at_a_time = [draw.uniform(0, 0.5) for _ in range(2)]
    in_the_hashing = [draw.randint(150, 600) for _ in range(3)]

    def killed(stop: Callable[[subprocess.Popen[str]], bool]) -> None:
        with subprocess.Popen(command(large_tree), cwd=large_tree.parent, stdout=subprocess.DEVNULL, text=True) as one:
            stop(one)
            one.kill()

    for walked in in_the_walk:
        killed(lambda one, least=walked: ends_before(one, lambda: count(out, "walked") >= least))
    for seconds in at_a_time:
        killed(lambda one, within=seconds: has_ended(one, within=within))
    for more in in_the_hashing:
        least = count(out, "manifest") + more
        killed(lambda one, least=least: ends_before(one, lambda: count(out, "manifest") >= least))

    run(large_tree, "--retry-failed")  # whoever is killed three times over the same file finds it in the archive
    assert_complete(large_tree, out)


def test_ctrl_c_stops_soon_and_the_same_command_goes_on(large_tree: Path) -> None:
    out = output(large_tree)
    for least in (1, 300):
        with subprocess.Popen(
            command(large_tree),
            cwd=large_tree.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell ignores it
        ) as process:
            assert not ends_before(process, lambda least=least: count(out, "manifest") >= least)
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=60)
        assert process.returncode == 130, said
        assert "to go on: " in said and "Traceback" not in said
        with Queue(out / "jobs.db") as queue:
            left = queue.jobs(limit=10_000)
            assert left
            assert not [job for job in left if job.lost or str(job.status) != "pending"]
    run(large_tree)
    assert_complete(large_tree, out)
