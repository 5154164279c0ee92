"""axe-core finds nothing to complain of, on any page, in either theme."""

from __future__ import annotations

from importlib.resources import files

import pytest
from browsing import Browser, serving
from sightseeing import furnished
from workqueue import Queue
from workqueue.dashboard import Token, app

ALL = [
    "/?range=15m",  # short charts: what is looked for in a row of their figures is in each
    "/queue?id=default&range=15m",
    "/jobs",
    "/jobs?text=unheard",
    "/jobs/1",
    "/jobs/3",
    "/jobs/9",
    "/tasks",
    "/schedules",
    "/batches",
    "/batches/1",
    "/jobs?batch=1&status=pending",
    "/runners",
    "/confirm?deed=delete&status=failed",
    "/nowhere",
]
COLOURED = [
    "/?range=15m",
    "/jobs",
    "/jobs/1",
    "/runners",
    "/confirm?deed=delete&status=failed",
]  # every colour there is
FEW = ["/?range=15m", "/jobs", "/jobs/1"]  # on a phone the same markup is laid out in another way
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}
AXE = (files("axe_playwright_python") / "axe.min.js").read_text()


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory):
    """The address of a dashboard with something on each page."""
    with Queue(tmp_path_factory.mktemp("lived-in") / "jobs.db", auto_start=False) as queue:
        furnished(queue)
        dashboard = app(queue, read_only=False)
        with serving(dashboard) as base:
            yield base
        dashboard.close()


def stumbles(page, path: str) -> list[str]:
    page.goto(path)
    page.evaluate("document.querySelectorAll('details').forEach((part) => part.open = true)")
    page.evaluate(AXE)  # by the debugger's hand: the page's policy lets no script in
    found = page.evaluate("async rules => (await axe.run(rules)).violations", RULES)  # all it saw is long to hand over
    return [
        f"{path}: {one['id']} ({one['impact']}): {one['help']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for one in found
        for node in one["nodes"]
    ]


@pytest.mark.parametrize(
    ("theme", "width", "pages"),
    [("light", 1280, ALL), ("dark", 1280, COLOURED), ("light", 390, FEW)],
    ids=["light", "dark", "phone"],
)
def test_a_screen_reader_stumbles_over_nothing(lived_in, chromium: Browser, theme, width, pages):
    def journey(page):
        return [stumble for path in pages for stumble in stumbles(page, path)]

    found = chromium(lived_in, journey, theme=theme, width=width, allow="40[04]")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_signing_in_needs_no_eyes(tmp_path, chromium: Browser, theme):
    with Queue(tmp_path / "jobs.db", auto_start=False) as queue:
        dashboard = app(queue, auth=Token("0123456789abcdef"))
        with serving(dashboard) as base:
            assert chromium(base, lambda page: stumbles(page, "/sign-in?back=/jobs"), theme=theme) == []
        dashboard.close()


def test_everything_is_reached_by_the_keyboard(lived_in, chromium: Browser):
    def journey(page):
        page.goto("/jobs")
        seen = []
        for _ in range(60):
            page.keyboard.press("Tab")
            seen.append(page.evaluate(NAME_OF_FOCUS))
            if seen[-1] == "":
                break
        assert seen[0] == "Skip to the page"
        outlines = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outlines is not None
        for wanted in ("Overview", "Find", "Retry", "Choose all on this page", "Choose job"):
            assert any(wanted in name for name in seen), (wanted, seen)
        page.goto("/jobs")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        return page.evaluate("document.activeElement.id")

    assert chromium(lived_in, journey) == "main"


NAME_OF_FOCUS = """
(() => {
  const at = document.activeElement;
  return at === document.body ? "" : (at.getAttribute("aria-label") || at.innerText || at.name || at.id).trim();
})()
"""
