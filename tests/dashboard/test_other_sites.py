"""What Chromium lets another site do to a dashboard that it is signed in to; and what works without scripts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from browsing import Browser, serving
from workqueue import Queue
from workqueue.dashboard import Token, app

SECRET = "0123456789abcdef0123"


@contextmanager
def another_site(html: str) -> Iterator[str]:
    """A page of somebody else's: under `localhost`, which is another site than 127.0.0.1."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://localhost:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def queue(tmp_path) -> Iterator[Queue]:
    with Queue(tmp_path / "jobs.db", auto_start=False) as made:
        made.push("marker-task")
        yield made


@pytest.fixture
def base(queue) -> Iterator[str]:
    dashboard = app(queue, auth=Token(SECRET), read_only=False)
    with serving(dashboard) as base:
        yield base
    dashboard.close()


def signed_in(page):
    page.goto("/jobs")
    page.get_by_label("Token").fill(SECRET)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Jobs").wait_for()
    return page


def test_a_link_on_another_site_leads_to_the_page_though_its_cookies_are_strict(base, chromium: Browser):
    def journey(page):
        signed_in(page)
        page.goto(site)
        page.get_by_role("link", name="look").click()
        page.get_by_role("heading", name="Jobs").wait_for()
        assert "marker-task" in page.content()
        form = page.locator("#choosing input[name=csrf]").get_attribute("value")
        page.goto("/jobs")
        assert form == page.locator("#choosing input[name=csrf]").get_attribute("value")

    with another_site(f"<link rel=icon href='data:,'><a href='{base}/jobs?queue=default'>look</a>") as site:
        chromium(base, journey, allow=f"elsewhere: ({site}|data:)")


def test_a_form_on_another_site_changes_nothing(base, queue, chromium: Browser):
    html = f"""<link rel=icon href='data:,'><form method=post action='{base}/act/jobs'>
      <input name=deed value=cancel><input name=id value=1><input name=csrf value=x><button>win</button></form>"""

    def journey(page):
        signed_in(page)
        page.goto(site)
        page.get_by_role("button", name="win").click()
        page.get_by_role("heading").wait_for()
        return page.content()

    with another_site(html) as site:
        said = chromium(base, journey, allow=f"elsewhere: ({site}|data:)|40[13]")
    assert "marker-task" not in said
    assert str(queue.get(1).status) == "pending"


def test_another_site_can_neither_frame_nor_read_nor_listen(base, chromium: Browser):
    html = f"""<link rel=icon href='data:,'><iframe src='{base}/jobs'></iframe>
      <script>
        const seen = [];
        for (const mode of ['cors', 'no-cors'])
          fetch('{base}/jobs', {{credentials: 'include', mode}})
            .then((answer) => answer.text()).then((text) => seen.push(text), () => seen.push('no'));
        const stream = new EventSource('{base}/live', {{withCredentials: true}});
        stream.onmessage = () => seen.push('heard');
        stream.onerror = () => seen.push('silent');
        window.seen = seen;
      </script>"""

    def journey(page):
        signed_in(page)
        page.goto(site)
        page.wait_for_function("window.seen.length >= 3")
        assert not any("marker-task" in frame.content() for frame in page.frames if frame != page.main_frame)
        return sorted(page.evaluate("window.seen"))

    with another_site(html) as site:
        seen = chromium(base, journey, allow=".*")
    assert "marker-task" not in "".join(seen)
    assert "heard" not in seen
    assert "silent" in seen


def test_without_scripts_one_can_look_and_act(base, queue, chromium: Browser):
    def journey(page):
        signed_in(page)
        page.get_by_label("Choose job 1").check()
        page.get_by_role("button", name="Cancel").click()
        assert "Cancelled 1 job" in page.locator("#note").inner_text()
        page.locator("tbody th a").click()
        page.locator(".edit summary").click()
        page.get_by_label("New data, as JSON").fill('{"new": 1}')
        page.get_by_role("button", name="Save and retry").click()
        assert "The job is tried again" in page.locator("#note").inner_text()
        page.get_by_role("link", name="Overview").click()
        page.get_by_role("button", name="Pause queue default").click()
        assert "Paused" in page.locator("#note").inner_text()
        page.get_by_role("button", name="Theme").click()
        assert page.locator("html").get_attribute("data-theme") == "light"

    chromium(base, journey, script=False)
    assert queue.get(1).data == b'{"new": 1}'
    assert queue.paused() == [None]


def test_where_streams_are_refused_the_page_asks_now_and_then(queue, chromium: Browser, monkeypatch):
    from workqueue.dashboard import live

    monkeypatch.setattr(live, "MOST_STREAMS", 0)
    dashboard = app(queue)

    def journey(page):
        page.clock.install()
        page.goto("/jobs")
        page.locator("#link-state", has_text="every 15s").wait_for()
        queue.push("another")
        page.clock.run_for(16_000)
        page.locator("tbody tr", has_text="another").wait_for()

    with serving(dashboard) as base:
        chromium(base, journey, allow="503")
    dashboard.close()


def test_a_page_says_that_its_session_has_ended_and_leads_to_the_sign_in(queue, chromium: Browser):
    dashboard = app(queue, auth=Token(SECRET), period=0.05)

    def journey(page):
        signed_in(page)
        page.locator("#link-state", has_text="live").wait_for()
        other = page.context.new_page()
        other.goto("/")
        other.get_by_role("button", name="Sign out").click()
        other.get_by_label("Token").wait_for()
        queue.push("another")
        page.locator("#link-state").get_by_role("link", name="signed out").click()
        page.get_by_label("Token").fill(SECRET)
        page.get_by_role("button", name="Sign in").click()
        page.locator("tbody tr", has_text="another").wait_for()

    with serving(dashboard) as base:
        chromium(base, journey)
    dashboard.close()


def test_a_page_says_that_a_dashboard_started_anew_does_not_know_it(queue, chromium: Browser):
    first, second = app(queue, auth=Token(SECRET), period=0.05), app(queue, auth=Token(SECRET * 2), period=0.05)
    now = [first]

    async def either(scope, receive, send):
        await now[0](scope, receive, send)

    def journey(page):
        signed_in(page)
        page.locator("#link-state", has_text="live").wait_for()
        now[0] = second
        first.live.close()
        page.locator("#link-state").get_by_role("link", name="signed out").wait_for()

    either.live = second.live
    with serving(either) as base:
        chromium(base, journey, allow="401")
    for dashboard in (first, second):
        dashboard.close()


def test_a_page_says_that_nobody_answers(queue, chromium: Browser):
    dashboard = app(queue, period=0.05)

    def journey(page):
        page.goto("/jobs")
        page.locator("#link-state", has_text="live").wait_for()
        page.route("**/jobs", lambda route: route.abort())
        queue.push("another")
        page.locator("#link-state", has_text="no answer").wait_for()
        page.unroute("**/jobs")
        queue.push("a third")
        page.locator("tbody tr", has_text="a third").wait_for()
        assert page.locator("#link-state").inner_text() == "live"

    with serving(dashboard) as base:
        chromium(base, journey, allow="ERR_FAILED")
    dashboard.close()


def test_one_who_chooses_is_not_disturbed(queue, chromium: Browser):
    dashboard = app(queue, read_only=False, period=0.05)

    def journey(page):
        page.goto("/jobs")
        page.locator("#link-state", has_text="live").wait_for()
        page.get_by_label("Choose job 1").check()
        with page.expect_response(lambda answer: answer.url.endswith("/jobs")):
            queue.push("another")
        assert page.get_by_label("Choose job 1").is_checked()
        assert page.locator("tbody tr").count() == 1
        page.get_by_label("Choose job 1").uncheck()
        queue.push("a third")
        page.locator("tbody tr", has_text="a third").wait_for()

    with serving(dashboard) as base:
        chromium(base, journey)
    dashboard.close()
