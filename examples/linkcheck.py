"""Check the links of a site: fetch each page once, follow its links, and say which lead nowhere, and where they stand.

    python examples/linkcheck.py FOLDER                     serves its HTML files on 127.0.0.1, and checks that
    python examples/linkcheck.py http://127.0.0.1:8000/

Each URL is one job. Press Ctrl-C, kill -9 it or pull the plug, and run it again: it goes on where it stopped. A page's
links are stored, and their jobs pushed, in the transaction that completes the page's own job; so no link is missing,
and no page is fetched again but those that were being fetched just then. Links to other hosts are not followed.

The queue, and the tables beside it, are in linkcheck.db (or --queue: a file, or postgresql://HOST/NAME); delete that to
begin anew.
"""

import argparse
import asyncio
import sys
import threading
from contextlib import ExitStack
from datetime import timedelta
from email.parser import BytesParser
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, urldefrag, urljoin, urlsplit

from workqueue import AsyncTask, Backoff, Context, Queue, RecoverableWorkerError, injected

TABLES = (
    "CREATE TABLE IF NOT EXISTS site (given TEXT PRIMARY KEY, url TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS checked (url TEXT PRIMARY KEY, status INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS links (url TEXT, page TEXT, PRIMARY KEY (url, page))",
)
BROKEN = "SELECT url, status FROM checked WHERE status >= 400 ORDER BY url"
HOLDING = "SELECT page FROM links WHERE url = ? ORDER BY page"
BUSY = (429, 500, 502, 503, 504)


def dialect(sql: str, queue: Queue) -> str:
    """Give a statement in the words of what keeps the queue: a parameter is ? to SQLite, and %s to psycopg."""
    return sql.replace("?", "%s") if queue.path.startswith("postgresql://") else sql


def make_check(queue: Queue, rate: str) -> AsyncTask[[str, str], None]:
    """Make the task. A URL is one job, and stays one for a day after it was pushed."""
    note_page = dialect("INSERT INTO checked VALUES (?, ?)", queue)
    note_link = dialect("INSERT INTO links VALUES (?, ?)", queue)

    @queue.task(
        name="check",
        retry=Backoff(min=timedelta(seconds=0.2), max=timedelta(seconds=10), jitter=True, limit=4),
        retry_on=OSError,  # refused, reset, timed out
        timeout=30,
        rate=rate,
        rate_by="host",
        key_by="url",
        unique_for=timedelta(days=1),
    )
    async def check(host: str, url: str, *, ctx: Context = injected) -> None:
        status, links = await fetch(url)
        ours = [(host, link) for link in links if urlsplit(link).netloc == host]
        with ctx.transaction() as database:
            database.execute(note_page, (url, status))
            for _, link in ours:
                database.execute(note_link, (link, url))
            check.push_many(ours)

    return check


async def fetch(url: str) -> tuple[int, list[str]]:
    """Give the status and the links of a page. Raises OSError, and RecoverableWorkerError when the server is busy."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    try:
        target = quote(parts._replace(scheme="", netloc="").geturl() or "/", safe="/?&=%:@!$'()*+,;~")
        writer.write(f"GET {target} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode())
        answer = await reader.read()
    finally:
        writer.close()
    if not answer.startswith(b"HTTP/"):
        raise ConnectionError(f"expected an answer of HTTP, got: {answer[:40]!r}")
    head, _, body = answer.partition(b"\r\n\r\n")
    first, _, fields = head.partition(b"\r\n")
    status, headers = int(first.split()[1]), BytesParser().parsebytes(fields)
    if status in BUSY:
        wait = headers.get("Retry-After", "")
        raise RecoverableWorkerError(f"the server says {status}", delay=int(wait) if wait.isdecimal() else None)
    if "Location" in headers:
        return status, absolute(url, [headers["Location"]])
    if status >= 400 or headers.get_content_type() != "text/html":
        return status, []
    page = Page()
    page.feed(body.decode(headers.get_content_charset("utf-8"), "replace"))
    return status, absolute(urljoin(url, page.base), page.links)


class Page(HTMLParser):
    """What a page links to, as it is written there."""

    def __init__(self) -> None:
        super().__init__()
        self.base = ""
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is not None and name in ("href", "src"):
                if tag == "base":
                    self.base = value
                else:
                    self.links.append(value)


def absolute(base: str, links: list[str]) -> list[str]:
    """Give each link once, as a URL without the part behind `#`; only those of http."""
    found: dict[str, None] = {}
    for link in links:
        try:
            url = urldefrag(urljoin(base, link.strip())).url
        except ValueError:  # no URL at all, as http://[
            continue
        if url.startswith("http://"):
            found[url] = None
    return list(found)


def serve(folder: Path, port: int) -> ThreadingHTTPServer:
    """Serve the files of a folder on 127.0.0.1, from threads of their own. port: 0 for a free one."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        request_queue_size = 256

    server = Server(("127.0.0.1", port), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def site_of(queue: Queue, given: str, stack: ExitStack) -> str:
    """Give the URL to begin at. A folder is served where it was the last time: its URLs are in the file."""
    with queue.transaction() as database:
        for table in TABLES:
            database.execute(table)
        row = database.execute("SELECT given, url FROM site").fetchone()
    if row is not None and row[0] != given:
        sys.exit(f"{queue.path} is of {row[0]}; choose another --queue")
    url = given if row is None else str(row[1])
    if not given.startswith("http://"):
        server = serve(Path(given), 0 if row is None else urlsplit(url).port or 0)
        stack.callback(server.shutdown)
        url = f"http://127.0.0.1:{server.server_port}/"
    if row is None:
        with queue.transaction() as database:
            database.execute(dialect("INSERT INTO site VALUES (?, ?)", queue), (given, url))
    return url


def report(queue: Queue) -> int:
    """Print the broken links, each with the pages that hold it; give how many there are."""
    with queue.transaction() as database:
        total = database.execute("SELECT count(*) FROM checked").fetchone()
        broken = {str(url): str(status) for url, status in database.execute(BROKEN).fetchall()}
        for job in queue.jobs(status="failed", name="check", limit=1_000_000):
            broken[job.decode(dict[str, str])["url"]] = job.message
        for url, why in sorted(broken.items()):
            print(f"{why}  {url}")
            for (page,) in database.execute(dialect(HOLDING, queue), (url,)).fetchall():
                print(f"    on {page}")
    print(f"{total[0] if total else 0} URLs checked, {len(broken)} broken")
    return len(broken)


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the links of a site; run again to go on.")
    parser.add_argument("site", help="a folder of HTML files, or http://127.0.0.1:PORT/")
    parser.add_argument("--queue", default="linkcheck.db", metavar="FILE|URL", help="where it is kept (%(default)s)")
    parser.add_argument("--rate", default="2000/second", help="requests to the host at most (%(default)s)")
    options = parser.parse_args()
    given = options.site if options.site.startswith("http://") else str(Path(options.site).resolve(strict=True))
    with ExitStack() as stack:
        queue = stack.enter_context(Queue(options.queue, concurrency=200, grace=1))
        start = site_of(queue, given, stack)
        check = make_check(queue, options.rate)
        check.push(urlsplit(start).netloc, start)  # the same job, if it was pushed before
        queue.start()
        while not queue.wait_idle(timeout=5):
            print(f"{queue.size().waiting:,} URLs are left", file=sys.stderr)
        return 1 if report(queue) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped; run it again to go on")
