"""`workqueue run --metrics-port` and its logs, as real processes."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from prometheus_client.parser import text_string_to_metric_families
from workqueue import Queue
from workqueue.cli import probing
from workqueue.cli.probing import Itself, Place, Several
from workqueue.probes import Answer, Beginning, NotWellError

from faces.test_run import App
from lines import PATIENCE, Lines


@pytest.fixture
def app(tmp_path) -> Iterator[App]:
    app = App(tmp_path)
    try:
        yield app
    finally:
        app.close()


def ask(port: int, path: str) -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def until(port: int, path: str, status: int) -> str:
    """Ask until the answer has this status; give its text."""
    end = time.monotonic() + PATIENCE
    while True:
        found, text = ask(port, path)
        if found == status:
            return text
        assert time.monotonic() < end, (found, text)
        time.sleep(0.02)


def port_of(log: Lines) -> int:
    return int(log.until(r"answers /metrics, /livez and /readyz on port (\d+)")[1])


def metrics(port: int) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(ask(port, "/metrics")[1])
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_one_process_answers_until_it_has_drained(app):
    app.push(1)
    child, log = app.run("app:queue", "--metrics-port", "0")
    port = port_of(log)
    log.until("runs 'default'")
    app.events.until("started")
    assert until(port, "/readyz", 200) == "ok\n"
    assert metrics(port)["workqueue_jobs", "default", "running"] == 1
    child.send_signal(signal.SIGTERM)
    app.events.until("told")
    assert until(port, "/readyz", 503) == "the runner takes no new jobs: it ends\n"
    assert ask(port, "/livez") == (200, "ok\n")
    app.open_gate()
    assert child.wait(PATIENCE) == 0


def test_before_it_works_it_is_live_and_not_ready(app):
    (app.folder / "slow.py").write_text("import app\napp.tell('importing')\napp.wait()\nqueue = app.queue")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    child, _ = app.run("slow:queue", "--metrics-port", str(port))
    assert app.events.line() == "importing"
    assert ask(port, "/livez") == (200, "ok\n")
    assert ask(port, "/readyz") == (503, "the program is being imported\n")
    app.open_gate()
    until(port, "/readyz", 200)
    child.send_signal(signal.SIGTERM)
    assert child.wait(PATIENCE) == 0


def test_a_host_that_cannot_be_one_is_said_before_anything_begins(app):
    child, log = app.run("app:queue", "--metrics-port", "0", "--metrics-host", "a..b")
    assert log.until(r"expected to listen on port 0 of a\.\.b, got: ")[0]
    log.to_end()
    assert (child.wait(PATIENCE), len(log.seen)) == (2, 1)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_port_that_is_taken_is_said_before_anything_begins(app, processes):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        child, log = app.run("app:queue", "--metrics-port", str(port), "--processes", processes)
        log.until(rf"expected to listen on port {port} of 127.0.0.1, got: Address already in use")
        assert child.wait(PATIENCE) == 2


def test_a_parent_answers_for_its_processes(app):
    child, log = app.run("app:queue", "--metrics-port", "0", "--processes", "2")
    port = port_of(log)
    pids = [int(log.until(r"process (\d+) runs 'default'")[1]) for _ in range(2)]
    until(port, "/readyz", 200)
    found = metrics(port)
    assert [found["workqueue_processes", state] for state in ("live", "stuck", "down")] == [2, 0, 0]
    assert found["workqueue_runners", "default"] == 2
    os.kill(pids[0], signal.SIGSTOP)
    assert "does not answer" in until(port, "/livez", 503)
    assert ask(port, "/readyz")[0] == 200, "the other one works"
    os.kill(pids[0], signal.SIGCONT)
    until(port, "/livez", 200)
    os.kill(pids[1], signal.SIGKILL)
    log.until("starting another")
    assert ask(port, "/livez")[0] == 200, "who died is started anew: nothing that killing the parent would mend"
    log.until("runs 'default'")
    until(port, "/readyz", 200)
    child.send_signal(signal.SIGTERM)
    assert child.wait(PATIENCE) == 0


class Waiting(Beginning):
    """A process whose store does not answer before it is told to."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.go_on = threading.Event()

    def ready(self) -> None:
        self.asked.release()
        if not self.go_on.wait(PATIENCE):
            raise NotWellError("nobody told it to go on")


@pytest.fixture
def waiting() -> Iterator[tuple[Waiting, Several]]:
    """What a process is asked by its parent, both of them in this one."""
    probes, itself, place = Waiting(), Itself(), Place(1)
    itself.probes = probes
    itself.answer_parent(place.open().detach())
    yield probes, Several([place])
    probes.go_on.set()
    place.close()


def test_a_process_says_that_it_lives_while_its_store_keeps_it_waiting(waiting, monkeypatch):
    monkeypatch.setattr(probing, "_PATIENCE", 10.0)
    probes, several = waiting
    with ThreadPoolExecutor(4) as pool:
        ready = [pool.submit(several.ask, "/readyz") for _ in range(3)]
        assert probes.asked.acquire(timeout=PATIENCE)
        assert several.ask("/livez") == Answer(200, "ok\n")
        assert not any(one.done() for one in ready)
        probes.go_on.set()
        assert {one.result(PATIENCE) for one in ready} == {Answer(200, "ok\n")}


def test_what_nobody_waits_for_any_more_is_forgotten(waiting, monkeypatch):
    monkeypatch.setattr(probing, "_PATIENCE", 0.0)
    probes, several = waiting
    for _ in range(5):
        assert several.ask("/readyz") == Answer(503, "worker process 1 does not answer\n")
    [place] = several._places
    assert place._conversation._waiting == {}
    probes.go_on.set()
    monkeypatch.setattr(probing, "_PATIENCE", PATIENCE)
    assert several.ask("/readyz") == Answer(200, "ok\n")


def test_who_waits_is_told_when_the_process_ends(waiting, monkeypatch):
    monkeypatch.setattr(probing, "_PATIENCE", PATIENCE)
    probes, several = waiting
    [place] = several._places
    with ThreadPoolExecutor(1) as pool:
        ready = pool.submit(several.ask, "/readyz")
        assert probes.asked.acquire(timeout=PATIENCE)
        place.close()
        assert ready.result(PATIENCE) == Answer(503, "worker process 1 has ended\n")
    assert several.ask("/readyz") == Answer(503, "worker process 1 is being started\n")


def test_logs_are_lines_of_json_when_asked_for(app):
    (app.folder / "says.py").write_text(
        "import logging\nimport app\n\nlogging.basicConfig(format='mine: %(message)s')\n\n\n"
        "class Says(app.Worker):\n    def do_work(self, ctx, job):\n"
        "        logging.getLogger('says').info('told', extra={'user': 'ada'})\n        super().do_work(ctx, job)\n\n\n"
        "queue = app.Queue('jobs.db', Says(), auto_start=False, poll_rate=0.1)\n"
    )
    app.push(1, "fail", "\x1b[31mred\nnext \x9b")
    child, log = app.run("says:queue", "--log-format", "json", "--log-level", "info")
    log.until("told")
    said = json.loads(log.seen[-1])
    assert {name: said[name] for name in ("logger", "message", "user", "job_id", "task", "queue", "attempt")} == {
        "logger": "says",
        "message": "told",
        "user": "ada",
        "job_id": 1,
        "task": "fail",
        "queue": "default",
        "attempt": 1,
    }
    log.until("ValueError")
    assert json.loads(log.seen[-1])["message"].startswith("job 1 'fail', attempt 1: ValueError: \x1b[31mred\nnext \x9b")
    child.send_signal(signal.SIGTERM)
    log.to_end()
    assert all(json.loads(line) and line.isascii() and line.isprintable() for line in log.seen)
    assert child.wait(PATIENCE) == 0


def test_children_log_as_their_parent_was_told(app):
    child, log = app.run("app:queue", "--processes", "2", "--log-format", "json", "--log-level", "warning")
    with Queue(app.folder / "jobs.db") as queue:
        queue.push("fail", "now")
    log.until("ValueError")
    child.send_signal(signal.SIGTERM)
    log.to_end()
    assert [json.loads(line)["task"] for line in log.seen] == ["fail"]
    assert child.wait(PATIENCE) == 0


@pytest.mark.parametrize("form", ["json", "text"])
def test_isolated_jobs_log_as_the_worker_does(app, form):
    (app.folder / "alone.py").write_text(
        "import logging\nfrom workqueue import Queue\n\nlogging.basicConfig(format='mine: %(message)s')\n"
        "queue = Queue('jobs.db', poll_rate=0.1)\n\n\n"
        "@queue.task(name='says', isolated=True)\ndef says() -> None:\n"
        "    logging.getLogger('says').info('told\\nin two', extra={'user': 'ada'})\n"
        "    logging.getLogger('says').debug('not asked for')\n"
    )
    with Queue(app.folder / "jobs.db") as queue:
        queue.push("says", {})
    child, log = app.run("alone:queue", "--log-format", form, "--log-level", "info")
    log.until("in two")
    if form == "json":
        said = json.loads(log.seen[-1])
        assert {name: said[name] for name in ("logger", "message", "user", "job_id", "task", "queue", "attempt")} == {
            "logger": "says",
            "message": "told\nin two",
            "user": "ada",
            "job_id": 1,
            "task": "says",
            "queue": "default",
            "attempt": 1,
        }
    else:
        assert log.seen[-2].endswith(" INFO says: told [job 1 'says', attempt 1]")
    child.send_signal(signal.SIGTERM)
    log.to_end()
    assert not any("mine:" in line or "not asked for" in line for line in log.seen)
    assert child.wait(PATIENCE) == 0
