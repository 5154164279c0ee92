"""Five journeys of somebody who runs a queue, in Chromium, on both engines. Pictures of them: build/screenshots."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from browsing import Browser, keep, serving
from workqueue import Backoff, Queue
from workqueue.dashboard import app


class Place:
    """A program with a queue, its worker, and a dashboard of it."""

    def __init__(self, path: str, engine: str, chromium: Browser) -> None:
        self.engine = engine
        self.queue = Queue(path, auto_start=False, concurrency=2, poll_rate=0.1)
        self.gate = threading.Event()
        self.mended = False
        self.chromium = chromium

        @self.queue.task(name="export")
        def export(number: int) -> None:
            assert self.gate.wait(30)

        @self.queue.task(name="mail", retry=Backoff(limit=2, min=0.001))
        def mail(to: str, token: str = "") -> None:
            if to.endswith(".invalid") and not self.mended:
                raise ConnectionError(f"no route to {to}")

        self.export, self.mail = export, mail

    @contextmanager
    def visit(self) -> Iterator[str]:
        dashboard = app(self.queue, read_only=False, period=0.1)
        try:
            with serving(dashboard) as base:
                yield base
        finally:
            self.gate.set()
            dashboard.close()
            self.queue.close()

    def some_failures(self) -> None:
        for number in range(3):
            self.mail.push(f"user{number}@host{number}.invalid", token="hunter2-marker")
        self.mail.push("ada@example.org")
        self.queue.start()
        assert self.queue.wait_idle(20)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path, chromium) -> Place:
    path = tmp_path / "jobs.db" if request.param == "sqlite" else request.getfixturevalue("postgres")
    return Place(path, request.param, chromium)


def figure(page, label: str):
    return page.locator(".figure", has_text=label).locator(".figure-value")


def test_watching_jobs_run(place):
    from playwright.sync_api import expect

    def journey(page):
        page.goto("/")
        expect(page.locator("#link-state")).to_have_text("live")
        expect(figure(page, "Running")).to_have_text("0")
        for number in range(3):
            place.export.push(number)
        expect(figure(page, "Waiting")).to_have_text("3")
        place.queue.start()
        expect(figure(page, "Running")).to_have_text("2")
        expect(figure(page, "Waiting")).to_have_text("1")
        keep(page, f"watch-{place.engine}")
        page.get_by_role("link", name="Runners").click()
        expect(page.locator("#running tbody tr")).to_have_count(2)
        place.gate.set()
        expect(page.locator("#running")).to_contain_text("Nothing runs just now.")
        page.get_by_role("link", name="Overview").click()
        expect(figure(page, "Waiting")).to_have_text("0")

    with place.visit() as base:
        place.chromium(base, journey)


def test_finding_a_failed_job_and_reading_why(place):
    from playwright.sync_api import expect

    def journey(page):
        page.goto("/")
        figure(page, "Failed").click()
        expect(page.locator("#jobs tbody tr")).to_have_count(3)
        page.get_by_label("Message or data").fill("host1.invalid")
        page.get_by_role("button", name="Find").click()
        expect(page.locator("#jobs tbody tr")).to_have_count(1)
        assert "status=failed" in page.url
        page.locator("#jobs tbody th a").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("mail")
        expect(page.locator("#story > li")).to_have_count(4)
        expect(page.locator("#traceback-2 pre")).to_contain_text("ConnectionError: no route to user1@host1.invalid")
        expect(page.locator("#traceback-1 pre")).not_to_be_visible()
        page.locator("#traceback-1 summary").click()
        expect(page.locator("#traceback-1 pre")).to_be_visible()
        expect(page.locator("#why")).to_contain_text("failed")
        expect(page.locator("#data")).to_contain_text('"token": "••••••"')
        assert "hunter2" not in page.content()
        keep(page, f"why-{place.engine}")

    with place.visit() as base:
        place.some_failures()
        place.chromium(base, journey)


def test_editing_a_failed_job_and_trying_it_again(place):
    from playwright.sync_api import expect

    def journey(page):
        page.goto("/jobs/1")
        page.locator(".edit summary").click()
        field = page.get_by_label("New data, as JSON")
        field.fill(field.input_value().replace("user0@host0.invalid", "grace@example.org"))
        keep(page, f"edit-{place.engine}")
        page.get_by_role("button", name="Save and retry").click()
        expect(page.locator("#note")).to_contain_text("The job is tried again")
        assert "said=" not in page.url
        expect(page.locator("main")).to_contain_text("completed")  # it has left, and the page says so by itself
        page.goto("/jobs?status=failed")
        expect(page.locator("#jobs tbody tr")).to_have_count(2)

    with place.visit() as base:
        place.some_failures()
        place.chromium(base, journey, allow="404")


def test_pausing_and_resuming(place):
    from playwright.sync_api import expect

    def journey(page):
        place.queue.start()
        page.goto("/")
        row = page.locator("#queues tbody tr", has_text="default")
        row.get_by_role("button", name="Pause queue default").click()
        expect(page.locator("#note")).to_contain_text("Paused")
        expect(row.locator(".badge")).to_have_text("paused")
        place.export.push(1)
        expect(figure(page, "Waiting")).to_have_text("1")
        page.locator("#queues a", has_text="default").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("paused")
        keep(page, f"pause-{place.engine}")
        assert not place.queue.wait_idle(0.3)
        page.get_by_role("button", name="Resume").click()
        expect(figure(page, "Running")).to_have_text("1")
        place.gate.set()
        expect(figure(page, "Running")).to_have_text("0")

    with place.visit() as base:
        place.chromium(base, journey)
        assert place.queue.wait_idle(10)


def test_trying_again_all_that_match(place):
    from playwright.sync_api import expect

    def journey(page):
        page.goto("/jobs?status=failed&name=mail")
        expect(page.locator("#jobs tbody tr")).to_have_count(3)
        page.get_by_label("Choose job 1").check()
        expect(page.locator("#chosen-count")).to_have_text("1 chosen:")
        page.get_by_label("Choose all on this page").check()
        expect(page.locator("#chosen-count")).to_have_text("3 chosen:")
        page.locator(".bulk-all").get_by_role("link", name="Retry").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Retry all jobs that match?")
        expect(page.locator(".narrow .facts")).to_contain_text("How many")
        keep(page, f"bulk-{place.engine}")
        place.mended = True
        page.get_by_role("button", name="Retry them").click()
        expect(page.locator("#note")).to_have_text("3 jobs are tried again: they are due now.")
        expect(page.locator("#jobs")).to_contain_text("No jobs match.")

    with place.visit() as base:
        place.some_failures()
        place.chromium(base, journey)
        assert place.queue.wait_idle(10)
        assert place.queue.size().failed == 0
