"""Two hundred strings that have hurt dashboards, in every field there is: Chromium shows them, and nothing else."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import msgspec
import pytest
from browsing import Browser, serving
from hostile import CANARY, STRINGS, packed
from prove.clock import FakeClock
from workqueue import Queue
from workqueue.dashboard import app
from workqueue.job import Lane, NewJob, Terms
from workqueue.schedule import Schedule
from workqueue.store.contract import Store, Want
from workqueue.store.sqlite.engine import SqliteStore

from support import LEASE, raised

NAMES = [text.replace("\0", "") for text in packed(255)]  # which no name, key or lane may have


def test_there_are_two_hundred_and_none_twice():
    assert len(set(STRINGS)) == len(STRINGS) >= 200


@pytest.fixture
def store(tmp_path):
    store = SqliteStore(tmp_path / "jobs.db", clock=FakeClock())
    fill(store)
    yield store
    store.close()


def fill(store: Store) -> None:
    """Put them into queues, names, data, keys, lanes, orders, schedules, runners, errors and tracebacks."""
    for at, name in enumerate(NAMES):
        strings = [name] if at else STRINGS  # in the data of one are all
        everything = "\n".join(strings)
        lane = Lane(name, most=3)
        terms = Terms(key=name, limit=lane, order=name)
        data = json.dumps({name: strings, "plain": everything, "at": at}).encode()
        job = NewJob(queue=name, name=name, data=data, terms=terms)
        store.push([job, NewJob(queue=name, name=name, data=name.encode())])
        store.schedules.put(name, name, Schedule(every="0 4 * * *"), store.now())
        runner = store.enlist(name, name)
        claim = store.turn([], Want(name, runner, LEASE, 10)).claims[0]
        store.turn([msgspec.structs.replace(raised(claim, name), traceback=everything)], None)
        store.pause(name, name)
        batch = store.batches.open(name)
        store.push([NewJob(queue=name, name=name, data=b"{}", terms=Terms(batch=batch))])


def test_data_of_jobs_are_text(store, chromium: Browser):
    dashboard = app(store, read_only=False)

    def journey(page):
        paths = ["/", "/jobs", "/tasks", "/schedules", "/batches", "/runners"]
        ids = range(1, 3 * len(NAMES) + 1)
        paths += [f"/jobs/{job_id}" for job_id in ids if job_id % 3 == 1]
        paths += [f"/queue?{urlencode({'id': name, 'range': '15m'})}" for name in NAMES]
        paths += [f"/confirm?{urlencode({'deed': 'cancel', 'queue': name})}" for name in NAMES[::8]]
        for path in paths:
            page.goto(path, wait_until="domcontentloaded")
            found = page.evaluate(f"[typeof window.{CANARY}, document.querySelectorAll('main h1').length]")
            assert found == ["undefined", 1], path

    with serving(dashboard) as base:
        chromium(base, journey)
    dashboard.close()


def test_what_is_typed_into_an_address_is_text(tmp_path, chromium: Browser):
    with Queue(tmp_path / "jobs.db", auto_start=False) as queue:
        queue.push("task")
        dashboard = app(queue, read_only=False)

        def journey(page):
            texts = packed(200)
            for at, text in enumerate(texts):
                other, third = texts[at - 1], texts[at - 2]
                paths = [
                    f"/jobs?{urlencode({'queue': text, 'name': other, 'text': third, 'said': text, 'n': text})}",
                ]
                if at % 10 == 0:
                    paths += [f"/{urlencode({'a': text})}", f"/sign-in?{urlencode({'back': text, 'key': text})}"]
                if at == 0:  # what cannot be is told whole
                    paths += [f"/jobs?{urlencode({name: ' '.join(STRINGS)})}" for name in ("status", "before", "queue")]
                for path in paths:
                    page.goto(path, wait_until="domcontentloaded")
                    assert page.evaluate(f"typeof window.{CANARY}") == "undefined", path

        with serving(dashboard) as base:
            chromium(base, journey, allow="40[0-9]|Failed to load")
        dashboard.close()


def test_what_is_typed_into_a_form_is_text(tmp_path, chromium: Browser):
    with Queue(tmp_path / "jobs.db", auto_start=False) as queue:
        queue.push("task", {"a": 1})
        dashboard = app(queue, read_only=False)

        def journey(page):
            page.goto("/jobs/1")
            for text in ("\n".join(STRINGS), json.dumps(STRINGS)):
                page.locator(".edit").evaluate("part => part.open = true")
                page.get_by_label("New data, as JSON").fill(text)
                page.get_by_role("button", name="Save", exact=True).click()
                page.wait_for_load_state("domcontentloaded")
                assert page.evaluate(f"typeof window.{CANARY}") == "undefined"

        with serving(dashboard) as base:
            chromium(base, journey, allow="400")
        dashboard.close()
        assert json.loads(queue.get(1).data) == STRINGS
