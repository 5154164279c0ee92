"""Checks the links of a folder of HTML pages, as a browser would meet them: served on loopback, page after page.

    python examples/linkcheck.py FOLDER [--start index.html] [--queue linkcheck.db]

One job per URL: unique by it, 200 at once, a rate for each host, three tries. What was found stands in the queue's own
file, written by the job that found it; so it can be killed at any time and run again, and goes on where it stopped.
Exit code 1 when a link is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urldefrag, urljoin, urlsplit
from urllib.request import urlopen

from workqueue import AsyncTask, Backoff, Context, Queue, RecoverableWorkerError, injected

TABLES = (
    "CREATE TABLE IF NOT EXISTS pages (path TEXT PRIMARY KEY, status INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS links (page TEXT, target TEXT, PRIMARY KEY (page, target))",
)


class Links(HTMLParser):
    """The targets of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name == "href" and value and tag in ("a", "link")]


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def get(url: str) -> tuple[int, str]:
    """Give the status, and the text where it is HTML."""
    try:
        with urlopen(url, timeout=10) as answer:  # noqa: S310 - the server that we started
            is_page = answer.headers.get_content_type() == "text/html"
            return answer.status, answer.read().decode("utf-8", "replace") if is_page else ""
    except HTTPError as error:
        error.close()
        return error.code, ""
    except (URLError, TimeoutError, ConnectionError) as error:
        raise RecoverableWorkerError(f"cannot reach {url}: {error}") from error


def checker(queue: Queue, root: str) -> AsyncTask[..., None]:
    """Make the task; `root` is where the server is this time."""

    @queue.task(name="check", retry=Backoff(limit=3, min=0.1), timeout=30, rate="2000/s", rate_by="host", key_by="path")
    async def check(path: str, *, host: str, ctx: Context = injected) -> None:
        status, text = await asyncio.to_thread(get, urljoin(root, path))
        parser = Links()
        parser.feed(text)
        targets = sorted(filter(None, (target_of(path, link) for link in parser.found)))
        with ctx.transaction() as rows:  # with the job's end, or not at all
            rows.execute("INSERT OR REPLACE INTO pages VALUES (?, ?)", (path, status))
            for target in dict.fromkeys(targets):
                rows.execute("INSERT OR IGNORE INTO links VALUES (?, ?)", (path, target))
                if rows.execute("SELECT 1 FROM pages WHERE path = ?", (target,)).fetchone() is None:
                    check.push(target, host=host)

    return check


def target_of(page: str, link: str) -> str | None:
    """Give the path of a link of ours, None for what leads elsewhere."""
    url = urlsplit(urldefrag(urljoin(f"http://here/{page}", link)).url)
    return quote(url.path.lstrip("/"), safe="/%") if url.scheme == "http" and url.netloc == "here" else None


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the links of a folder of HTML pages.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--start", default="index.html", help="the first page")
    parser.add_argument("--queue", default="linkcheck.db", help="the queue's file, which keeps what was found")
    asked = parser.parse_args()
    handler = partial(QuietHandler, directory=str(asked.folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, Queue(asked.queue, concurrency=200) as queue:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with queue.transaction() as rows:
            for table in TABLES:
                rows.execute(table)
        check = checker(queue, f"http://127.0.0.1:{server.server_address[1]}/")
        check.push(asked.start, host=str(asked.folder))
        queue.start()
        queue.wait_idle()
        with queue.transaction() as rows:
            pages = rows.execute("SELECT count(*) FROM pages WHERE status = 200").fetchone()
            broken = rows.execute(
                "SELECT l.page, l.target, p.status FROM links AS l JOIN pages AS p ON p.path = l.target "
                "WHERE p.status <> 200 ORDER BY l.page, l.target"
            ).fetchall()
        failed = queue.jobs(status="failed")
        server.shutdown()
    for page, target, status in broken:
        print(f"{page}: {target} ({status})")
    for job in failed:
        print(f"not checked: {job.decode()['path']}: {job.message}")
    print(f"{pages[0]:,} pages, {len(broken):,} broken links, {len(failed):,} not checked")
    return 1 if broken or failed else 0


if __name__ == "__main__":
    sys.exit(main())
