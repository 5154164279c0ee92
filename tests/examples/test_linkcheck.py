"""examples/linkcheck.py on the pages that pydoc makes of the standard library, against a walk of our own over them."""

from __future__ import annotations

import html
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import psycopg
import pytest
from workqueue import Queue

from postgres_fixtures import VERSIONS, Servers

EXAMPLE = Path(__file__).parents[2] / "examples" / "linkcheck.py"
MAKE_PAGES = """
import importlib, pydoc, sys, warnings
from pathlib import Path

warnings.simplefilter("ignore")
folder, pages = Path(sys.argv[1]), pydoc.HTMLDoc()
strange = {"antigravity", "this", "idlelib", "lib2to3", "turtle", "turtledemo", "tkinter"}
for name in sorted(name for name in sys.stdlib_module_names - strange if not name.startswith("_"))[::2]:
    try:
        module = importlib.import_module(name)
    except ImportError:  # of another system
        continue
    (folder / f"{name}.html").write_text(pages.page(pydoc.describe(module), pages.document(module, name)), "utf-8")
"""
PLANTED = """<title>Planted</title>
<a href="abc.html">there</a> <a href='abc.html#Nothing'>there too</a> <a href="nowhere.html">broken</a>
<a href="sub">redirected</a> <a href="&#x67;one.html#part">broken</a> <img src="missing.png"> <img src="there.png">
<A HREF="with%20space.html">there</A> <a href="with space.html">the same</a> <a href="without space.html">broken</a>
<!-- <a href="commented.html">no link</a> --> <a href="mailto:ada@example.org">not followed</a> <a>no link</a>
<a href="http://127.0.0.1:9/else.html">not followed</a> <a href="nowhere.html?again=1">broken</a> <a href="">itself</a>
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    subprocess.run([sys.executable, "-c", MAKE_PAGES, str(folder)], check=True, capture_output=True, timeout=60)
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) > 80
    (folder / "index.html").write_text(
        "".join(f'<li><a href="{name}">{name}</a>\n' for name in [*names, "planted.html"])
    )
    (folder / "planted.html").write_text(PLANTED)
    (folder / "with space.html").write_text("nothing")
    (folder / "there.png").write_bytes(b'<a href="in-no-page.html">')
    (folder / "sub").mkdir()
    (folder / "sub" / "index.html").write_text('<a href="../planted.html">up</a> <a href="lost.html">broken</a>')
    return folder


def broken_by_us(folder: Path, top: str) -> tuple[int, dict[str, set[str]]]:
    """Walk the files; give how many URLs there are, and the broken ones with the pages that hold them."""
    holders: dict[str, set[str]] = {top: set()}
    todo, broken = [top], {}
    while todo:
        url = todo.pop()
        file = folder / unquote(urlsplit(url).path).lstrip("/")
        links: list[str] = []
        if file.is_dir() and not url.endswith("/"):
            links = [f"{url}/"]
        elif not (file := file / "index.html" if file.is_dir() else file).exists():
            broken[url] = holders[url]
        elif file.suffix == ".html":
            text = re.sub(r"<!--.*?-->", "", file.read_text("utf-8"), flags=re.DOTALL)
            quoted = re.findall(r"""<[a-z][^<>]*?\s(?:href|src)=("[^"]*"|'[^']*')""", text, re.IGNORECASE)
            links = [urljoin(url, html.unescape(link[1:-1])).partition("#")[0] for link in quoted]
        for link in links:
            if link.startswith(top):
                if link not in holders:
                    todo.append(link)
                holders.setdefault(link, set()).add(url)
    return len(holders), broken


def check(*arguments: str, folder: Path, expect: int = 1) -> str:
    """Run it to its end; give what it said."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments], cwd=folder, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout


def reported(said: str) -> tuple[str, dict[str, tuple[str, set[str]]]]:
    """Give its last line, and of each broken URL why it is, and the pages that hold it."""
    *lines, last = said.splitlines()
    broken: dict[str, tuple[str, set[str]]] = {}
    url = ""
    for line in lines:
        if line.startswith("    on "):
            broken[url][1].add(line.removeprefix("    on "))
        else:
            why, _, url = line.rpartition("  ")
            assert url not in broken
            broken[url] = (why, set())
    return last, broken


def assert_right(said: str, folder: Path, top: str) -> None:
    total, expected = broken_by_us(folder, top)
    last, broken = reported(said)
    assert {url: pages for url, (_, pages) in broken.items()} == expected
    assert {why for why, _ in broken.values()} == {"404"}
    assert last == f"{total} URLs checked, {len(expected)} broken"


class Site(SimpleHTTPRequestHandler):
    """Serves a folder, and counts. From its `stop_at`th request on it holds all; at a hundred `reached` is set."""

    requests: Counter[str]
    reached: threading.Event
    go_on: threading.Event
    stop_at: int

    def do_GET(self) -> None:
        self.requests[self.path] += 1
        if self.requests.total() >= self.stop_at:
            if self.requests.total() >= self.stop_at + 100:
                self.reached.set()
            assert self.go_on.wait(60)
        page = self.path.rpartition("/")[2]
        if page == "busy.html" and self.requests[self.path] == 1:
            self.send_response(503)
            self.send_header("Retry-After", "0")
            self.end_headers()
        elif page == "dead.html" or (page == "flaky.html" and self.requests[self.path] == 1):
            self.close_connection = True  # without an answer
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None: ...


@contextmanager
def served(folder: Path, *, stop_at: int = 10**9) -> Iterator[tuple[str, type[Site]]]:
    """Serve a folder; give its URL, and what was asked."""

    class Counting(Site):
        requests = Counter[str]()
        reached = threading.Event()
        go_on = threading.Event()

    Counting.stop_at = stop_at

    class Server(ThreadingHTTPServer):
        request_queue_size = 256

        def handle_error(self, *_: object) -> None: ...  # who asked was killed

    with Server(("127.0.0.1", 0), partial(Counting, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", Counting
        finally:
            Counting.go_on.set()
            server.shutdown()
            thread.join()


def test_the_report_is_that_of_a_walk_over_the_files(site, tmp_path):
    said = check(str(site), folder=tmp_path)
    top = re.search(r"on (http://127\.0\.0\.1:\d+/)", said)
    assert top is not None
    assert_right(said, site, top[1])
    planted = {
        url.removeprefix(top[1]) for url, (_, pages) in reported(said)[1].items() if f"{top[1]}planted.html" in pages
    }
    assert planted == {"nowhere.html", "gone.html", "missing.png", "without space.html", "nowhere.html?again=1"}
    assert check(str(site), folder=tmp_path) == said  # it had finished, and the URLs are the same
    assert "is of" in stopped(str(tmp_path), folder=tmp_path)


def stopped(*arguments: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, str(EXAMPLE), *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1
    return done.stderr


@pytest.fixture(params=["file", "url"])
def place(request: pytest.FixtureRequest, tmp_path: Path, postgres_servers: Servers) -> Iterator[str]:
    """Where the queue is: a file, or the URL of an empty database."""
    with postgres_servers.database(VERSIONS[-1]) if request.param == "url" else nullcontext("") as url:
        yield url or str(tmp_path / "links.db")


def test_killed_in_the_middle_it_goes_on_where_it_stopped(site, tmp_path, place):
    with served(site, stop_at=60) as (url, asked):
        process = subprocess.Popen([sys.executable, str(EXAMPLE), url, "--queue", place], cwd=tmp_path)
        assert asked.reached.wait(60)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        with closing(psycopg.connect(place) if "://" in place else sqlite3.connect(place)) as connection:
            done = {urlsplit(row[0]).path for row in connection.execute("SELECT url FROM checked").fetchall()}
        assert 0 < len(done) < 60
        before = asked.requests.copy()
        asked.stop_at = 10**9
        asked.go_on.set()
        said = check(url, "--queue", place, folder=tmp_path)
        assert_right(said, site, url)
        again = asked.requests - before
        assert not done & {urlsplit(path).path for path in again}
        assert set((before + again).values()) <= {1, 2}
    with Queue(place) as queue:
        assert queue.check() == []
        assert (queue.size().waiting, queue.size().failed) == (0, 0)


def test_what_is_busy_or_drops_the_connection_is_tried_again(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    names = ["busy", "flaky", "dead", "fine"]
    (folder / "index.html").write_text("".join(f'<a href="{name}.html">{name}</a>' for name in names))
    for name in names:
        (folder / f"{name}.html").write_text('<a href="index.html">up</a>')
    with served(folder) as (url, asked):
        last, broken = reported(check(url, folder=tmp_path))
    assert broken == {
        f"{url}dead.html": ("ConnectionError: expected an answer of HTTP, got: b''", {url, f"{url}index.html"})
    }
    assert last == "5 URLs checked, 1 broken"
    counts = {path: asked.requests[path] for path in asked.requests}
    assert counts == {"/": 1, "/index.html": 1, "/busy.html": 2, "/flaky.html": 2, "/dead.html": 4, "/fine.html": 1}
