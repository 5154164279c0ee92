"""The port for probes: what is answered, to whom, and for how long a client may take."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta

import pytest
from workqueue import Queue, UsageError
from workqueue.cli import listening
from workqueue.cli.listening import Listener
from workqueue.errors import StoreUnavailable
from workqueue.liveness import Pulse
from workqueue.metrics import CONTENT_TYPE
from workqueue.probes import PLAIN, Answer, Beginning, QueueProbes, StoreProbes, answer
from workqueue.store.memory.engine import MemoryStore

HERE = "127.0.0.1"


class Done:
    def id(self) -> str:
        return "done"

    def do_work(self, ctx, job) -> None: ...


@contextmanager
def listener(ask, host: str = HERE) -> Iterator[int]:
    found = Listener(host, 0, ask)
    found.start()
    try:
        yield found.port
    finally:
        found.close()


def ask_at(port: int, path: str, method: str = "GET", host: str = HERE) -> tuple[int, dict[str, str], bytes]:
    with closing(http.client.HTTPConnection(host, port, timeout=30)) as connection:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()


def raw(port: int, said: bytes) -> bytes:
    with socket.create_connection((HERE, port), timeout=30) as connection:
        connection.sendall(said)
        found = b""
        while piece := connection.recv(65536):
            found += piece
        return found


@pytest.fixture
def queue() -> Iterator[Queue]:
    with Queue(":memory:", Done()) as queue:
        yield queue


# what is asked


def test_a_process_that_works_is_live_and_ready_and_has_metrics(queue):
    probes = QueueProbes(queue)
    with listener(lambda path: answer(probes, path)) as port:
        for path in ("/livez", "/readyz", "/livez?verbose"):
            status, headers, body = ask_at(port, path)
            assert (status, headers["Content-Type"], body) == (200, PLAIN, b"ok\n")
        status, headers, body = ask_at(port, "/metrics")
        assert (status, headers["Content-Type"]) == (200, CONTENT_TYPE)
        assert b'workqueue_runners{queue="default"} 1\n' in body
        assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")


def test_head_is_get_without_the_body(queue):
    probes = QueueProbes(queue)
    with listener(lambda path: answer(probes, path)) as port:
        status, headers, body = ask_at(port, "/livez", "HEAD")
        assert (status, headers["Content-Length"], body) == (200, "3", b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"])
def test_other_methods_are_refused(method):
    with listener(lambda path: pytest.fail("was asked")) as port:
        status, headers, body = ask_at(port, "/metrics", method)
        assert (status, headers["Allow"], body) == (405, "GET, HEAD", b"only GET and HEAD\n")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/METRICS", "/../metrics", "/livez%00"])
def test_elsewhere_there_is_nothing(path):
    with listener(lambda path: answer(Beginning(), path)) as port:
        status, _, body = ask_at(port, path)
        assert (status, body) == (404, b"there are /metrics, /livez and /readyz\n")


def test_it_listens_on_the_newer_internet_protocol_too():
    with listener(lambda path: answer(Beginning(), path), "::1") as port:
        assert ask_at(port, "/livez", host="::1")[0] == 200


def test_a_port_that_is_taken_is_a_clear_error():
    with (
        listener(lambda path: None) as port,
        pytest.raises(UsageError, match=rf"port {port} of 127.0.0.1, got: Address already in use"),
    ):
        Listener(HERE, port, lambda path: None)


def test_a_host_that_is_none_is_a_clear_error():
    with pytest.raises(UsageError, match="expected to listen on port 0 of no such host"):
        Listener("no such host", 0, lambda path: None)


# what the answers are


def test_before_it_works_it_is_live_but_not_ready():
    assert answer(Beginning(), "/livez") == Answer(200, "ok\n")
    assert answer(Beginning(), "/readyz") == Answer(503, "the program is being imported\n")
    assert answer(Beginning(), "/metrics") == Answer(200, "", CONTENT_TYPE)


def test_while_it_drains_it_is_live_but_not_ready():
    began, go_on = threading.Event(), threading.Event()

    class Waiting(Done):
        def do_work(self, ctx, job) -> None:
            began.set()
            go_on.wait(30)

    with Queue(":memory:", Waiting()) as queue:
        probes = QueueProbes(queue)
        queue.push("n")
        assert began.wait(30)
        stopping = threading.Thread(target=queue.stop)
        stopping.start()
        while not getattr(queue.pulse(), "stopping", True):
            pass
        assert answer(probes, "/livez") == Answer(200, "ok\n")
        assert answer(probes, "/readyz") == Answer(503, "the runner takes no new jobs: it ends\n")
        go_on.set()
        stopping.join()
        assert queue.pulse() is None
        for path in ("/livez", "/readyz"):
            assert answer(probes, path) == Answer(503, "the runner has ended\n")


def test_a_runner_that_does_nothing_any_more_is_not_live(queue, monkeypatch):
    probes = QueueProbes(queue)
    monkeypatch.setattr(queue, "pulse", lambda: Pulse(timedelta(minutes=2, seconds=1), stopping=False))
    for path in ("/livez", "/readyz"):
        assert answer(probes, path) == Answer(503, "the runner has done nothing for 121 s\n")


def test_a_store_that_is_away_makes_it_unready_but_not_dead(queue, monkeypatch):
    probes = QueueProbes(queue)

    def away(*_: object) -> None:
        raise StoreUnavailable("expected a disk", path="nowhere")

    monkeypatch.setattr(MemoryStore, "paused", away)
    monkeypatch.setattr(MemoryStore, "overview", away)
    assert answer(probes, "/livez") == Answer(200, "ok\n")
    assert answer(probes, "/readyz") == Answer(503, "the store does not answer: expected a disk\n")
    assert answer(probes, "/metrics") == Answer(503, "expected the store to answer: expected a disk\n")


def test_a_bug_is_told_in_the_log_and_not_to_the_client(caplog):
    class Bug(Beginning):
        def metrics(self) -> str:
            raise ZeroDivisionError("secret")

    assert answer(Bug(), "/metrics") == Answer(500, "an error of workqueue's; its log has it\n")
    assert "secret" in caplog.text


def test_a_process_that_only_looks_is_ready_when_its_store_answers():
    store = MemoryStore()
    assert [answer(StoreProbes(store), path) for path in ("/livez", "/readyz")] == [Answer(200, "ok\n")] * 2
    store.close()
    found = answer(StoreProbes(store), "/readyz")
    assert found is not None
    assert found.status == 503


# clients that are slow, or mean it


@pytest.fixture
def hasty(monkeypatch) -> None:
    monkeypatch.setattr(listening, "_PATIENCE", 0.2)


@pytest.mark.parametrize("said", [b"", b"GET", b"GET /livez HTTP/1.1\r\nX: "])
def test_who_does_not_finish_asking_is_let_go(hasty, said):
    with listener(lambda path: answer(Beginning(), path)) as port:
        assert b" 200 " not in raw(port, said)


def test_a_byte_now_and_then_does_not_win_time(hasty):
    closed = threading.Event()
    with (
        listener(lambda path: answer(Beginning(), path)) as port,
        socket.create_connection((HERE, port), timeout=30) as connection,
    ):
        connection.settimeout(0.05)
        for _ in range(200):
            try:
                connection.sendall(b"x")
                if not connection.recv(100):
                    closed.set()
            except TimeoutError:
                continue
            except OSError:
                closed.set()
            if closed.is_set():
                break
        assert closed.is_set()


def test_who_does_not_take_the_answer_is_let_go(hasty, monkeypatch):
    gone = threading.Event()
    close = listening._Server.close_request
    monkeypatch.setattr(listening._Server, "close_request", lambda *given: (close(*given), gone.set()))
    with (
        listener(lambda path: Answer(200, "x" * 20_000_000)) as port,
        socket.create_connection((HERE, port), timeout=30) as connection,
    ):
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert gone.wait(30)


def test_many_silent_clients_keep_nobody_away(monkeypatch):
    with listener(lambda path: answer(Beginning(), path)) as port:
        silent = [socket.create_connection((HERE, port), timeout=30) for _ in range(3 * listening._MOST)]
        try:
            assert ask_at(port, "/livez")[0] == 200
            assert silent[0].recv(1) == b"", "the oldest was let go"
        finally:
            for connection in silent:
                connection.close()


@pytest.mark.parametrize(
    "said",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_question_gets_no_answer_and_breaks_nothing(said):
    with listener(lambda path: answer(Beginning(), path)) as port:
        assert b" 200 " not in raw(port, said)
        assert ask_at(port, "/livez")[0] == 200


def test_the_request_does_not_come_back_in_the_answer_as_markup():
    with listener(lambda path: answer(Beginning(), path)) as port:
        found = raw(port, b"GET / <script>alert(1)</script>\r\n\r\n")
        assert found.startswith(b"400 ")
        assert b"<" not in found
