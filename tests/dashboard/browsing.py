"""Debian's Chromium, driven by playwright on a thread of its own, and dashboards that it can reach.

On its own thread, because playwright's loop would be a running one for whatever else a test does on the main one.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from workqueue.dashboard.server import Server
from workqueue.dashboard.site import Dashboard

T = TypeVar("T")
KEPT = Path(__file__).parents[2] / "build" / "screenshots"  # of the run, for people to look at; git does not know it
_NAMES = ("chromium-headless-shell", "chromium", "google-chrome")
_LOUD = ("error", "warning")
_SILENT = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]
_WATCH = """
window.reports = [];
document.addEventListener("securitypolicyviolation", (event) => window.reports.push(
  `${event.violatedDirective} ${event.blockedURI} ${event.sample} ${event.sourceFile}:${event.lineNumber}`));
"""


def found() -> str | None:
    """Where a Chromium is."""
    given = os.environ.get("WORKQUEUE_TEST_CHROMIUM")
    return given or next((path for path in map(shutil.which, _NAMES) if path), None)


class Complaint(AssertionError):
    """A page did what none may do: an error, a dialog, a report of its policy, a request to elsewhere."""


class Browser:
    """One Chromium, for all tests of a pytest process."""

    def __init__(self, path: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="browser")
        self._thread.submit(self._start, path).result()

    def _start(self, path: str) -> None:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=path, args=_SILENT)

    def close(self) -> None:
        def stop() -> None:
            self._browser.close()
            self._playwright.stop()

        self._thread.submit(stop).result()
        self._thread.shutdown()

    def __call__(
        self,
        base: str,
        journey: Callable[[Any], T],
        *,
        width: int = 1280,
        theme: str = "light",
        script: bool = True,
        allow: str = "(?!)",
    ) -> T:
        """Go through `journey` with a new page; raises Complaint. allow: errors that the journey brings about."""
        return self._thread.submit(self._go, base, journey, width, theme, script, re.compile(allow)).result()

    def _go(
        self, base: str, journey: Callable[[Any], T], width: int, theme: str, script: bool, allow: re.Pattern[str]
    ) -> T:
        context = self._browser.new_context(
            base_url=base, viewport={"width": width, "height": 900}, color_scheme=theme, java_script_enabled=script
        )
        context.set_default_timeout(15_000)
        if script:
            context.add_init_script(_WATCH)
        page, complaints = context.new_page(), []

        def complain(text: str) -> None:
            if not allow.search(text):
                complaints.append(text)

        def dismiss(dialog: Any) -> None:
            complain(f"dialog: {dialog.message}")
            dialog.dismiss()

        page.on("dialog", dismiss)
        page.on("pageerror", lambda error: complain(f"error: {error}"))
        page.on(
            "console", lambda said: complain(f"console: {said.text} {said.location}") if said.type in _LOUD else None
        )
        page.on("request", lambda asked: None if asked.url.startswith(base) else complain(f"elsewhere: {asked.url}"))
        try:
            result = journey(page)
            if script:
                for report in page.evaluate("window.reports"):
                    complain(f"policy: {report}")
        finally:
            context.close()
        if complaints:
            raise Complaint("\n".join(complaints))
        return result


@contextmanager
def serving(dashboard: Dashboard) -> Iterator[str]:
    """Serve a dashboard by our own server, on a free port, inside the block."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(dashboard)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.handle_exit(signal.SIGTERM, None)
            thread.join(20)
            assert not thread.is_alive()


def keep(page: Any, name: str) -> None:
    """Keep a picture of the page."""
    KEPT.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=KEPT / f"{name}.png", full_page=True)
