"""The example crawls real pages, those of Python's own documentation generator, and finds what a plain walker finds."""

from __future__ import annotations

import os
import pkgutil
import pydoc
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "linkcheck.py"
PACKAGES = (
    "email",
    "json",
    "html",
    "http",
    "logging",
    "urllib",
    "xml",
    "asyncio",
    "sqlite3",
    "collections",
    "encodings",
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    """A folder of pages whose links lead to each other, to nowhere, and out of it."""
    folder = tmp_path_factory.mktemp("pages")
    names = [*PACKAGES]
    for package in PACKAGES:
        paths = getattr(sys.modules.get(package) or __import__(package), "__path__", [])
        names += [f"{package}.{module.name}" for module in pkgutil.iter_modules(paths) if module.name != "__main__"]
    for name in list(names):
        try:
            thing, _ = pydoc.resolve(name, forceload=0)
        except (pydoc.ErrorDuringImport, ImportError):  # a module of another system
            names.remove(name)
            continue
        page = pydoc.html.page(pydoc.describe(thing), pydoc.html.document(thing, name))
        (folder / f"{name}.html").write_text(page)
    links = "".join(f'<a href="{name}.html#top">{name}</a>' for name in names)
    (folder / "index.html").write_text(f'<a href="lost%20page.html">x</a><a href="https://else.example/">y</a>{links}')
    return folder


def walked(folder: Path) -> tuple[set[str], set[tuple[str, str]]]:
    """Walk the files without any server: the pages that can be reached, and the links that lead nowhere."""
    reached, broken, ahead = set(), set(), ["index.html"]
    while ahead:
        page = ahead.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in re.findall(r'<a [^>]*?href="([^"]+)"', (folder / page).read_text()):
            target = link.partition("#")[0]
            if ":" in target or target.startswith("//") or not target:
                continue
            if (folder / target.replace("%20", " ")).is_file():
                ahead.append(target)
            elif target != ".":
                broken.add((page, target))
    return reached, broken


def command(folder: Path, queue: Path) -> list[str]:
    return [sys.executable, str(EXAMPLE), str(folder), "--queue", str(queue)]


def test_it_finds_what_a_plain_walker_finds_though_it_was_killed(pages, tmp_path):
    queue = tmp_path / "q.db"
    started = subprocess.Popen(command(pages, queue), stdout=subprocess.DEVNULL)
    until = time.monotonic() + 30
    while time.monotonic() < until and started.poll() is None and checked(queue) < 20:
        time.sleep(0.005)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    done = subprocess.run(command(pages, queue), capture_output=True, text=True, timeout=100, check=False)
    reached, broken = walked(pages)
    said = {(page, target) for page, target in re.findall(r"^(\S+): (\S+) \(404\)$", done.stdout, re.MULTILINE)}
    assert ("index.html", "lost%20page.html") in broken
    assert {link for link in said if link in broken} == broken
    assert f"{len(reached):,} pages" in done.stdout.splitlines()[-1], (done.stdout[-500:], done.stderr[-2000:])
    assert done.returncode == 1
    assert len(reached) > 100


def checked(queue: Path) -> int:
    """Say how many pages the program that runs has checked."""
    try:
        with sqlite3.connect(queue) as connection:
            return connection.execute("SELECT count(*) FROM pages").fetchone()[0]
    except sqlite3.Error:
        return 0
