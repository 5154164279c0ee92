"""Who is let in, from where, and what every answer says: rows 92 to 103 of the threats we know of, as tests."""

from __future__ import annotations

import base64
import os
import re
import statistics
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import pytest
from dashboard_support import HERE, Visitor, text_of, value_of
from workqueue.dashboard import Password, Token, access, app, guard
from workqueue.dashboard.access import IDLE, SESSION, Door, Links, read_auth
from workqueue.errors import InvalidOption, StoreUnavailable, UsageError

ADA = Password("ada", "correct horse")
LONG = Token("0123456789abcdef0123456789abcdef")
PAGES = [
    "/", "/jobs", "/jobs/1", "/queue?id=default", "/tasks", "/schedules", "/batches", "/runners",
    "/confirm?deed=cancel", "/confirm/batch?id=1", "/live", "/metrics",
]  # fmt: skip
FORMS = ["/act/jobs", "/act/all", "/act/edit", "/act/pause", "/act/schedule", "/act/batch"]


# 95: open to the world


@pytest.mark.parametrize("path", PAGES)
def test_without_auth_only_this_machine_is_let_in(visit, path):
    stranger = Visitor(visit().app, client=("192.0.2.7", 1234))
    answer = stranger.get(path)
    assert answer.status_code == 403
    assert "Only who is on the same machine" in text_of(answer.text)


@pytest.mark.parametrize(
    "header",
    ["x-forwarded-for", "forwarded", "x-real-ip", "via", "x-forwarded-proto", "X-Forwarded-Host", "x-forwarded-prefix"],
)
def test_without_auth_what_a_proxy_passes_on_is_not_let_in(visit, header):
    assert visit().get("/", headers={header: "192.0.2.7"}).status_code == 403


@pytest.mark.parametrize("changes", [{"client": None}, {"http_version": "1.0"}])
def test_without_auth_who_may_be_anybody_is_not_let_in(visit, changes):
    """A Unix socket has no address; and nginx, as it comes, says nothing of whom it asks for."""
    dashboard = visit().app

    async def behind(scope, receive, send):
        await dashboard({**scope, **changes}, receive, send)

    answer = Visitor(behind).get("/")
    assert answer.status_code == 403
    assert "auth=" in text_of(answer.text)
    assert Visitor(behind).get("/livez").status_code == 200


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_this_machine_has_several_addresses(visit, address):
    assert Visitor(visit().app, client=(address, 1)).get("/").status_code == 200


@pytest.mark.parametrize("options", [{"hosts": ["jobs.example.org"]}, {"any_address": True}])
def test_other_names_than_this_machines_need_auth(queue, options):
    with pytest.raises(InvalidOption, match="expected auth="):
        app(queue, **options)


@pytest.mark.parametrize("path", FORMS)
def test_it_is_read_only_unless_asked(visit, queue, path):
    job_id = queue.push("task")
    answer = visit().fill(path, deed="cancel", id=job_id, queue="default", name="task")
    assert answer.status_code == 403
    assert "only looks" in text_of(answer.text)
    assert queue.get(job_id).status == 0


def test_a_read_only_page_has_no_forms_that_act(visit, queue):
    queue.push("task")
    looking = visit()
    for path in ("/", "/jobs", "/jobs/1", "/queue?id=default"):
        assert re.findall(r'action="([^"]*)"', looking.get(path).text) in (["/theme"], ["/theme", "/jobs"]), path


# signing in


@pytest.mark.parametrize("path", [*PAGES, "/nowhere"])
@pytest.mark.parametrize("secret", [ADA, LONG])
def test_nothing_is_seen_without_the_secret(visit, secret, path):
    stranger = visit(auth=secret)
    answer = stranger.get(path, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in?back=")
    assert stranger.get(path, headers={"accept": "application/json"}).status_code == 401


@pytest.mark.parametrize(
    ("secret", "fields"), [(ADA, {"user": "ada", "secret": "correct horse"}), (LONG, {"secret": LONG.token})]
)
def test_who_shows_the_secret_comes_where_they_were_going(visit, secret, fields):
    guest = visit(auth=secret)
    asked = guest.get("/jobs?status=failed")
    assert asked.url.path == "/sign-in"
    answer = guest.post(
        "/sign-in", data={"csrf": value_of("csrf", asked.text), "back": value_of("back", asked.text), **fields}
    )
    assert answer.status_code == 200
    assert str(answer.url) == f"{HERE}/jobs?status=failed"
    assert guest.get("/").status_code == 200


@pytest.mark.parametrize("secret", [ADA, LONG])
@pytest.mark.parametrize("typed", ["", "x", "correct horse ", "ada", "correct\0horse", "é" * 40])
def test_a_wrong_guess_stays_outside(visit, secret, typed):
    guest = visit(auth=secret)
    answer = guest.post("/sign-in", data={"csrf": guest.csrf("/sign-in"), "user": "ada", "secret": typed})
    assert answer.status_code == 403
    assert "That is not right." in text_of(answer.text)
    assert guest.get("/", follow_redirects=False).status_code == 303


def test_a_token_in_the_address_of_the_form_is_not_taken(visit):
    guest = visit(auth=LONG)
    assert guest.get(f"/sign-in?secret={LONG.token}&key={LONG.token}").status_code == 200
    assert guest.get("/", follow_redirects=False).status_code == 303


def test_programs_send_the_secret_with_each_request(visit):
    basic = base64.b64encode(b"ada:correct horse").decode()
    wrong = base64.b64encode(b"ada:correct horsf").decode()
    program = visit(auth=ADA)
    assert program.get("/jobs", headers={"authorization": f"Basic {basic}"}).status_code == 200
    for header in (f"Basic {wrong}", "Basic !", "Bearer correct horse", "", "Basic", "Basic 4oKs"):
        assert program.get("/jobs", headers={"authorization": header, "accept": "*/*"}).status_code == 401
    bearer = visit(auth=LONG)
    assert bearer.get("/jobs", headers={"authorization": f"Bearer {LONG.token}"}).status_code == 200
    assert bearer.get("/jobs", headers={"authorization": f"bearer {LONG.token}x", "accept": "*/*"}).status_code == 401


def test_the_application_may_say_who_is_let_in(visit):
    async def is_staff(connection):
        return connection.headers.get("x-user") == "staff"

    guest = visit(auth=is_staff, hosts=["jobs.example.org"])
    assert guest.get("/", headers={"x-user": "staff", "host": "jobs.example.org"}).status_code == 200
    assert guest.get("/").status_code == 403
    for odd in (None, 1, "yes"):
        assert visit(auth=lambda connection, odd=odd: odd).get("/").status_code == 403
    assert visit(auth=lambda connection: True).get("/").status_code == 200


@pytest.fixture
def clock() -> list[float]:
    """The seconds since 1970, as doors see them."""
    return [1_800_000_000.0]


@pytest.fixture
def signed_in(visit, clock) -> Visitor:
    guest = visit(auth=LONG, read_only=False)
    guest.app._door._now = lambda: clock[0]
    guest.post("/sign-in", data={"csrf": guest.csrf("/sign-in"), "secret": LONG.token})
    return guest


def door(clock: list[float], *, token: Token = LONG, place: str = "a") -> Door:
    return Door(token, place=place, now=lambda: clock[0], links=None)


def session_of(guest: Visitor) -> str:
    return next(value for name, value in guest.cookies.items() if name.endswith("-session"))


def is_in(guest: Visitor, session: str | None = None) -> bool:
    """Whether it is let in, with what its cookie says now, or with another."""
    name = next((name for name in guest.cookies if name.endswith("-session")), "")
    told = {} if session is None else {"cookie": f"{name}={session}"}
    return guest.get("/", headers=told, follow_redirects=False).status_code == 200


def test_who_signs_out_ends_the_session_wherever_its_cookies_are(signed_in, clock):
    stolen = [session_of(signed_in)]
    clock[0] += 600
    assert is_in(signed_in)
    stolen.append(session_of(signed_in))
    assert len(set(stolen)) == 2
    assert all(is_in(signed_in, cookie) for cookie in stolen)
    other = Visitor(signed_in.app)
    other.post("/sign-in", data={"csrf": other.csrf("/sign-in"), "secret": LONG.token})
    token = signed_in.csrf("/")
    clock[0] += 600
    answer = signed_in.post("/sign-out", data={"csrf": token}, follow_redirects=False)
    assert answer.headers["location"] == "/sign-in"
    assert len([told for told in answer.headers.get_list("set-cookie") if "-session=" in told]) == 1
    assert not any("-session" in name for name in signed_in.cookies)
    assert not is_in(signed_in)
    assert is_in(other)
    assert not any(is_in(other, cookie) for cookie in stolen)


def test_a_session_ends_half_an_hour_after_the_last_request(signed_in, clock):
    for _ in range(4):
        clock[0] += IDLE - 1
        assert is_in(signed_in)
    clock[0] += IDLE
    assert not is_in(signed_in)


def test_a_session_ends_twelve_hours_after_it_began_however_busy_it_is(signed_in, clock):
    for _ in range(SESSION // 1200 - 1):
        clock[0] += 1200
        assert is_in(signed_in)
    clock[0] += 1200
    assert not is_in(signed_in)


def test_the_cookie_of_a_session_is_replaced_by_the_minute_and_the_last_one_holds_no_longer_than_it_would(
    signed_in, clock
):
    first = session_of(signed_in)
    clock[0] += 59
    assert is_in(signed_in)
    assert session_of(signed_in) == first
    clock[0] += 1
    assert is_in(signed_in)
    assert session_of(signed_in) != first
    clock[0] += IDLE - 60
    assert not is_in(signed_in, first)
    assert is_in(signed_in)


def test_what_may_be_kept_by_others_has_no_cookie_of_a_session(signed_in, clock):
    clock[0] += 600
    answer = signed_in.get("/static/dashboard.css?v=1")
    assert "public" in answer.headers["cache-control"]
    assert answer.headers.get_list("set-cookie") == []


def test_forms_have_another_token_after_a_sign_in_and_a_sign_out(signed_in):
    inside = signed_in.csrf("/")
    signed_in.post("/sign-out", data={"csrf": inside})
    outside = signed_in.csrf("/sign-in")
    signed_in.post("/sign-in", data={"csrf": outside, "secret": LONG.token})
    assert len({inside, outside, signed_in.csrf("/")}) == 3


def test_a_session_is_good_for_its_place_and_its_secret_alone(clock):
    session = door(clock).new_session()
    assert door(clock).holds(session), "another process with the same secret"
    assert not door(clock, place="b").holds(session)
    assert not door(clock, token=Token("another" * 4)).holds(session)


def test_a_session_cannot_be_forged(clock):
    began, seen, name, signature = door(clock).new_session().split(".")
    for forged in (
        "",
        "...",
        f"{int(began) + 1}.{seen}.{name}.{signature}",
        f"{began}.{int(seen) + 1}.{name}.{signature}",
        f"{began}.{seen}.x.{signature}",
        f"{began}.{seen}.{name}.",
        "é",
    ):
        assert not door(clock).holds(forged)
        assert door(clock).renewed(forged) is None


def test_what_is_known_of_ended_sessions_stays_small(clock, monkeypatch):
    monkeypatch.setattr(access, "_MOST_ENDED", 3)
    one = door(clock)
    sessions = [one.new_session() for _ in range(5)]
    for session in (*sessions, "forged"):
        one.end(session)
    assert [one.holds(session) for session in sessions] == [True, True, False, False, False]
    clock[0] += SESSION
    one.end(later := one.new_session())
    assert len(one._ended) == 1
    assert not one.holds(later)


# 103: links that are good for once


def test_a_link_signs_in_once_and_the_next_one_is_told(visit):
    told: list[str] = []
    links = Links(told.append)
    first = links.new()
    guest, late = visit(auth=LONG, links=links), None
    answer = guest.get(f"/sign-in?key={first}")
    assert str(answer.url) == f"{HERE}/"
    assert guest.get("/").status_code == 200
    late = Visitor(guest.app)
    assert late.get(f"/sign-in?key={first}").status_code == 403
    assert late.get("/", follow_redirects=False).status_code == 303
    assert len(told) == 1
    assert late.get(f"/sign-in?key={told[0]}").status_code == 200
    assert late.get("/", follow_redirects=False).status_code == 200


def test_asking_only_for_the_head_of_a_link_leaves_it_good(visit):
    links = Links(lambda key: None)
    key, guest = links.new(), visit(auth=LONG, links=links)
    answer = guest.head(f"/sign-in?key={key}", follow_redirects=False)
    assert answer.status_code == 200
    assert not any("-session" in name for name in guest.cookies)
    assert guest.get(f"/sign-in?key={key}", follow_redirects=False).status_code == 303


def test_the_key_of_a_link_may_be_pasted_and_the_secret_behind_it_opens_nothing(visit):
    links = Links(lambda key: None)
    guest = visit(auth=LONG, links=links)
    assert guest.post("/sign-in", data={"csrf": guest.csrf("/sign-in"), "secret": LONG.token}).status_code == 403
    assert guest.post("/sign-in", data={"csrf": guest.csrf("/sign-in"), "secret": links.new()}).status_code == 200
    assert guest.get("/", follow_redirects=False).status_code == 200


def test_a_link_tells_no_other_site(visit):
    links = Links(lambda key: None)
    answer = visit(auth=LONG, links=links).get(f"/sign-in?key={links.new()}", follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"
    assert answer.headers["referrer-policy"] == "same-origin"


def test_of_many_links_that_nobody_opened_the_old_ones_stop_working():
    links = Links(lambda key: None)
    keys = [links.new() for _ in range(40)]
    assert not links.take(keys[0])
    assert links.take(keys[-1])


def test_comparing_takes_as_long_whatever_is_wrong():
    """No judgement on a shared machine: the figures are for people."""
    door = Door(LONG, place="a", now=time.time, links=None)
    guesses = {"first letter": "x" + LONG.token[1:], "last letter": LONG.token[:-1] + "x", "length": "x"}
    taken = {}
    for name, guess in guesses.items():
        rounds = []
        for _ in range(200):
            began = time.perf_counter_ns()
            door.knows("", guess)
            rounds.append(time.perf_counter_ns() - began)
        taken[name] = statistics.median(rounds)
    assert all(not door.knows("", guess) for guess in guesses.values())


@pytest.fixture
def instant(monkeypatch) -> list[float]:
    """The seconds of the clock by which guesses wait: it goes on while they sleep, and only then."""
    now = [1000.0]

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(guard, "GUESS", 1.0)
    monkeypatch.setattr(guard.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(guard.asyncio, "sleep", sleep)
    return now


def told(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}", "accept": "*/*"}


def guess(guest: Visitor, secret: str) -> int:
    """What is answered to this secret in the form of the sign-in."""
    fields = {"csrf": guest.csrf("/sign-in"), "secret": secret}
    return guest.post("/sign-in", data=fields, follow_redirects=False).status_code


def test_a_guess_takes_as_long_whether_it_is_right_or_wrong(visit, instant):
    guest = visit(auth=LONG)
    for secret, status in (("x" * 32, 401), (LONG.token, 200)):
        began = instant[0]
        assert guest.get("/jobs", headers=told(secret)).status_code == status
        assert instant[0] == began + 1
    for secret, status in (("x" * 32, 403), (LONG.token, 303)):
        began = instant[0]
        assert guess(guest, secret) == status
        assert instant[0] == began + 1


def test_what_was_right_before_passes_at_once_and_what_was_wrong_waits_again(visit, instant):
    guest = visit(auth=LONG)
    for secret in ("x" * 32, LONG.token):
        guest.get("/jobs", headers=told(secret))
    began = instant[0]
    assert guest.get("/jobs", headers=told(LONG.token)).status_code == 200
    assert instant[0] == began
    guest.get("/jobs", headers=told("x" * 32))
    assert instant[0] == began + 1


def test_where_many_guess_at_once_the_right_secret_is_refused_like_a_wrong_one(visit, instant):
    guest = visit(auth=LONG)
    assert guest.get("/jobs", headers=told(LONG.token)).status_code == 200
    page = guest.csrf("/sign-in")
    waiting = guest.app._guesses
    turns = [waiting._turn() for _ in range(24)]
    assert turns == [1.0] * 8 + [2.0] * 8 + [3.0] * 8
    for secret in ("x" * 32, LONG.token):
        answer = guest.post("/sign-in", data={"csrf": page, "secret": secret}, follow_redirects=False)
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "5"
    assert guest.get("/jobs", headers=told("x" * 32)).status_code == 429
    assert guest.get("/jobs", headers=told(LONG.token)).status_code == 200, "a program that was let in goes on"
    instant[0] += 5
    assert guess(guest, LONG.token) == 303


def test_what_is_known_of_right_secrets_stays_small(visit):
    guest = visit(auth=LONG)
    for spaces in range(100):
        assert guest.get("/jobs", headers=told(" " * spaces + LONG.token)).status_code == 200
    assert len(guest.app._guesses._known) == 64


def test_secrets_do_not_show_in_messages():
    for secret in (ADA, LONG):
        assert "horse" not in repr(secret)
        assert LONG.token not in repr(secret)


@pytest.mark.parametrize(
    ("text", "secret"), [("ada:correct horse", ADA), (f"{LONG.token}\n", LONG), ("ada:correct horse\n", ADA)]
)
def test_auth_may_stand_in_a_file_of_ones_own(tmp_path, text, secret):
    path = tmp_path / "auth"
    path.write_text(text)
    path.chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        read_auth(str(path))
    path.chmod(0o600)
    assert read_auth(str(path)) == secret


@pytest.mark.parametrize("text", ["", "ada", "ada:short", ":correct horse", "/no/such/file"])
def test_auth_that_is_too_weak_or_none_is_refused(text):
    with pytest.raises(UsageError):
        read_auth(text)


@pytest.mark.parametrize("lines", ["", "a\nb\n", "short"])
def test_a_file_of_auth_has_one_line(tmp_path, lines):
    path = tmp_path / "auth"
    path.write_text(lines)
    os.chmod(path, 0o600)
    with pytest.raises(UsageError):
        read_auth(str(path))


def test_a_file_of_auth_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "auth"
    path.write_bytes(b"ada:correct h\xf6rse")
    path.chmod(0o600)
    with pytest.raises(UsageError, match="to be text in UTF-8, got: .*0xf6"):
        read_auth(str(path))


# 96: DNS rebinding


@pytest.mark.parametrize("path", [*PAGES, "/static/dashboard.css", "/sign-in", "/livez", "/readyz"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8585",
        "",
        "127.0.0.2",
        "@127.0.0.1",
        "a b",
        "[::2]",
    ],
)
def test_another_name_in_the_host_header_is_refused(visit, path, host):
    answer = visit().get(path, headers={"host": host})
    assert answer.status_code == 421
    assert "default" not in text_of(answer.text).replace("default-src", "")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:8585", "localhost."])
def test_this_machine_has_several_names(visit, host):
    assert visit().get("/", headers={"host": host}).status_code == 200


def test_names_can_be_allowed(visit):
    guest = visit(auth=LONG, hosts=["Jobs.Example.org"])
    assert guest.get("/sign-in", headers={"host": "jobs.example.org:443"}).status_code == 200
    assert guest.get("/sign-in", headers={"host": "10.0.0.7"}).status_code == 421
    anywhere = visit(auth=LONG, any_address=True)
    for host in ("10.0.0.7:8585", "[2001:db8::1]"):
        assert anywhere.get("/sign-in", headers={"host": host}).status_code == 200
    assert anywhere.get("/sign-in", headers={"host": "evil.example"}).status_code == 421


# 94: forms of other sites


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8586"},
        {"origin": "http://[bad"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": HERE},
    ],
)
def test_a_form_of_another_page_changes_nothing(visitor, queue, path, headers):
    job_id = queue.push("task")
    fields = {"csrf": visitor.csrf(), "deed": "cancel", "id": job_id, "queue": "default", "done": "0"}
    answer = visitor.post(path, data=fields, headers=headers)
    assert answer.status_code == 403
    assert queue.get(job_id).status == 0


@pytest.mark.parametrize("path", [*FORMS, "/theme", "/sign-out"])
@pytest.mark.parametrize("token", [None, "", "x" * 43, "csrf"])
def test_a_form_without_the_token_of_a_page_changes_nothing(visitor, queue, path, token):
    job_id = queue.push("task")
    answer = visitor.fill(path, csrf=token, deed="cancel", id=job_id, queue="default")
    assert answer.status_code == 403
    assert queue.get(job_id).status == 0


def test_a_token_needs_its_cookie(visitor, queue):
    job_id = queue.push("task")
    token = visitor.csrf()
    visitor.cookies.clear()
    assert visitor.post("/act/jobs", data={"csrf": token, "deed": "cancel", "id": job_id}).status_code == 403
    assert queue.get(job_id).status == 0


@pytest.mark.parametrize("path", [*FORMS, "/theme", "/sign-out"])
def test_looking_at_the_address_of_a_form_does_nothing(visitor, path):
    answer = visitor.get(path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_there_are_no_other_methods(visitor, method):
    assert visitor.request(method, "/jobs").status_code == 405


def test_cookies_are_for_this_site_alone_and_out_of_reach_of_scripts(visit):
    guest = visit(auth=LONG)
    guest.get("/sign-in")
    answer = guest.post("/sign-in", data={"csrf": guest.csrf("/sign-in"), "secret": LONG.token}, follow_redirects=False)
    told = [
        *guest.get("/sign-in", headers={"cookie": ""}).headers.get_list("set-cookie"),
        *answer.headers.get_list("set-cookie"),
    ]
    assert any("-session=" in cookie for cookie in told)
    for cookie in told:
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "Secure" not in cookie
    secure = guest.get("/sign-in", headers={"x-forwarded-proto": "https", "cookie": "a=b"})
    assert all("Secure" in cookie for cookie in secure.headers.get_list("set-cookie"))


def test_a_page_elsewhere_can_link_here_and_read_nothing(visitor, queue):
    queue.push("marker-task")
    visitor.get("/jobs")
    outside = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    opening = visitor.get("/jobs", headers=outside)
    assert opening.status_code == 200
    assert opening.headers["refresh"] == "0"
    assert "marker-task" not in opening.text
    assert "set-cookie" not in opening.headers
    assert visitor.get("/jobs", headers={"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}).text.count(
        "marker-task"
    )
    for mode in ("no-cors", "cors", "same-origin"):
        answer = visitor.get("/jobs", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": mode})
        assert answer.status_code == 403


@pytest.mark.parametrize(
    "back",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/a b",
        "/x\r\nset-cookie: a=b",
        "",
    ],
)
def test_a_form_leads_back_into_the_dashboard_only(visitor, back):
    answer = visitor.fill("/theme", follow=False, theme="dark", back=back)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"
    signing = Visitor(app(visitor.app._desk.queue, auth=LONG))
    answer = signing.post(
        "/sign-in", data={"csrf": signing.csrf("/sign-in"), "secret": LONG.token, "back": back}, follow_redirects=False
    )
    assert answer.headers["location"] == "/"


# 93: what an answer may do


@pytest.mark.parametrize(
    "path", [*PAGES[:-2], "/static/dashboard.js", "/nowhere", "/sign-in", "/jobs/999", "/jobs?before=x"]
)
def test_every_answer_says_what_a_browser_may_do_with_it(visitor, queue, path):
    queue.push("task")
    headers = visitor.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self'",
        "connect-src": "'self'", "form-action": "'self'", "base-uri": "'none'", "frame-ancestors": "'none'",
    }  # fmt: skip
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store" or path.startswith("/static/")


@pytest.mark.parametrize("path", PAGES[:-2])
def test_no_page_has_script_or_style_inside(visitor, queue, path):
    queue.push("task")
    page = visitor.get(path).text
    assert re.findall(r"<script(?! src=)[^>]*>|\sstyle=|\son\w+=|javascript:|<style", page) == []


def test_static_files_are_kept_under_the_name_of_their_version(visitor):
    [script] = re.findall(r'src="(/static/dashboard.js\?v=\w+)"', visitor.get("/").text)
    assert "immutable" in visitor.get(script).headers["cache-control"]
    assert visitor.get("/static/dashboard.js").headers["cache-control"] == "no-store"


# 98: no file of the machine


@pytest.mark.parametrize(
    "path",
    ["../guard.py", "..%2fguard.py", "%2e%2e/guard.py", "....//guard.py", "/etc/passwd", "..\\guard.py", "x%00y"],
)
def test_no_path_of_the_web_is_one_of_the_machine(visitor, path):
    assert visitor.get(f"/static/{path}").status_code == 404


# 101: too much of anything


def test_a_form_has_its_bounds(visitor, monkeypatch):
    token = visitor.csrf()
    large = f"csrf={token}&x={'y' * guard.LARGEST_FORM}"
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert visitor.post("/theme", content=large, headers=kind).status_code == 413
    many = f"csrf={token}&" + "&".join(f"a{at}=1" for at in range(guard.MOST_FIELDS))
    assert visitor.post("/theme", content=many, headers=kind).status_code == 400
    assert visitor.post("/theme", content=f"csrf={token}&a=%ff", headers=kind).status_code == 400
    assert visitor.post("/theme", content=f"csrf={token}&a=é".encode(), headers=kind).status_code == 400
    assert visitor.post("/theme", json={"csrf": token}).status_code == 415
    assert visitor.post("/theme", files={"csrf": b"x"}).status_code == 415

    def slowly():
        yield b"csrf="
        time.sleep(0.2)
        yield token.encode()

    monkeypatch.setattr(guard, "_FORM_TIME", 0.05)
    assert visitor.post("/theme", content=slowly(), headers=kind).status_code in (303, 200, 408)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "x"])
def test_a_form_that_is_packed_is_not_unpacked(visitor, coding):
    """Row 102: a thousand bytes may become a million."""
    packed = zlib.compress(f"csrf={visitor.csrf()}&theme=dark&x={'y' * 1_000_000}".encode())
    kind = {"content-type": "application/x-www-form-urlencoded", "content-encoding": coding}
    answer = visitor.post("/theme", content=packed, headers=kind)
    assert answer.status_code == 415
    assert "unpacked" in text_of(answer.text)


@pytest.mark.parametrize(
    "query",
    [
        "before=x", "before=-1", "before=0", "before=9223372036854775808", "before=1e9", "before=" + "9" * 300,
        "status=unknown", "queue=" + "q" * 256, "name=" + "n" * 256, "text=" + "t" * 201, "before=٣",
    ],
)  # fmt: skip
def test_what_cannot_be_asked_for_is_said(visitor, query):
    answer = visitor.get(f"/jobs?{query}")
    assert answer.status_code == 400
    assert "expected" in text_of(answer.text)


@pytest.mark.parametrize(
    "path",
    [
        "/jobs/0", "/jobs/" + "9" * 30, "/jobs/" + "9" * 5000, "/jobs/12", "/jobs/x", "/jobs/-1", "/jobs/٣",
        "/jobs/%00", "/batches/" + "9" * 30, "/batches/" + "9" * 5000, "/batches/5", "/batches/0",
    ],
)  # fmt: skip
def test_an_id_that_nobody_has_is_not_found(visitor, path):
    assert visitor.get(path).status_code == 404


def test_a_page_however_far_away_costs_as_much(visitor, queue):
    queue.push_many("task", range(120))
    assert "task" in visitor.get("/jobs?before=9223372036854775807").text
    assert text_of(visitor.get("/jobs?before=1").text).count("task") == 0


def test_where_one_came_from_is_kept_for_after_the_sign_in(visit):
    answer = visit(auth=LONG).get("/jobs?text=a%26b", follow_redirects=False)
    [back] = parse_qs(urlsplit(answer.headers["location"]).query)["back"]
    assert back == "/jobs?text=a%26b"


# for those who watch over it


def test_probes_are_answered_without_a_sign_in_and_metrics_with_one(visit, queue):
    queue.push("marker-task")
    guest = visit(auth=LONG)
    for path in ("/livez", "/readyz"):
        answer = guest.get(path)
        assert (answer.status_code, answer.text) == (200, "ok\n")
    assert guest.get("/metrics", headers={"accept": "*/*"}).status_code == 401
    answer = guest.get("/metrics", headers={"authorization": f"Bearer {LONG.token}"})
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "workqueue_" in answer.text


def test_a_probe_says_when_the_store_is_away(visit, queue, monkeypatch):
    guest = visit()

    def away(queue):
        raise StoreUnavailable("away", path="x")

    monkeypatch.setattr(queue._store, "paused", away)
    assert guest.get("/readyz").status_code == 503
    assert guest.get("/livez").status_code == 200


def test_where_the_store_is_and_what_it_says_is_told_to_who_is_signed_in_alone(visit, queue, monkeypatch, caplog):
    guest = visit(auth=LONG)

    def away(queue):
        raise StoreUnavailable("expected /home/ada/jobs.db to answer", path="x")

    monkeypatch.setattr(queue._store, "paused", away)
    answer = guest.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "the store does not answer\n")
    assert "/home/ada/jobs.db" in caplog.text
    assert "/home/ada/jobs.db" in guest.get("/readyz", headers={"authorization": f"Bearer {LONG.token}"}).text


def test_whether_it_lives_is_said_though_all_threads_wait_for_the_store(visit, queue, monkeypatch):
    asked, go_on = threading.Semaphore(0), threading.Event()

    def away(queue):
        asked.release()
        assert go_on.wait(30)

    monkeypatch.setattr(queue._store, "paused", away)
    guest = visit()
    with ThreadPoolExecutor(10) as pool:
        ready = [pool.submit(Visitor(guest.app).get, "/readyz") for _ in range(8)]
        for _ in ready:
            assert asked.acquire(timeout=30)
        live = pool.submit(Visitor(guest.app).get, "/livez")
        try:
            assert live.result(10).status_code == 200
        finally:
            go_on.set()
        assert [one.result(30).status_code for one in ready] == [200] * 8
