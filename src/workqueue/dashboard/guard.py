"""What stands before every page, file and stream: from where one may ask, who may, and what every answer says.

It is the only place where a request is let in, and where a form is read: no page can forget a check.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import inspect
import ipaddress
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from functools import partial
from hmac import compare_digest
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workqueue.dashboard.access import IDLE, Auth, Door

LARGEST_FORM: Final = 1024 * 1024  # bytes; the data of a job that can be edited here take a quarter of it
MOST_FIELDS: Final = 2000
GUESS: Final = 1.0  # seconds that one takes
_GUESSES: Final = 8  # at a time
_LONGEST_QUEUE: Final = 2.0  # seconds that a guess waits for its turn
_MOST_KNOWN: Final = 64  # ways to say a secret
_FORM_TIME: Final = 20.0  # seconds until a form has arrived
_HOST: Final = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9_.-]{1,253})(?::\d{0,5})?")
_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
_FORWARDED: Final = re.compile(r"forwarded|via|x-real-ip|x-forwarded-.*")
ENTRANCE: Final = "workqueue.entrance"
_FORM_TOKEN: Final = 43  # characters of 32 bytes
_SAFE: Final = ("GET", "HEAD")
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_SAID: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # With no-referrer a browser sends `Origin: null` with our own forms; to others, this tells as little.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class Guesses:
    """Lets secrets be tried: so many at a time, and each for a second, right or wrong. Safe from any thread.

    One that was right before passes at once, so that whoever guesses shuts out nobody who was let in.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free = [0.0] * _GUESSES  # when; a heap
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, None] = OrderedDict()

    async def are_right(self, said: str, compare: Callable[[], bool]) -> bool:
        """Say whether what was said is right, as `compare` finds it. Raises Refused where too many ask, before that."""
        digest = hashlib.blake2b(said.encode("utf-8", "surrogatepass"), key=self._key).digest()
        if digest in self._known:
            return True
        await asyncio.sleep(self._turn())
        if not compare():
            return False
        with self._lock:
            self._known[digest] = None
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        return True

    def _turn(self) -> float:
        """Take a turn; give the seconds until it ends."""
        now = time.monotonic()
        with self._lock:
            begins = max(now, self._free[0])
            if begins - now > _LONGEST_QUEUE:
                raise Refused(429, "Too many guesses", "Wait a moment, and try again.", {"retry-after": "5"})
            heapq.heapreplace(self._free, begins + GUESS)
        return begins + GUESS - now


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the guard lets in.

    hosts: names by which the dashboard is asked for, beside those of this machine's loopback. any_address: bare IP
    addresses too, which no name of somebody else's can stand for. auth: None lets in whoever is on this machine.
    """

    hosts: frozenset[str] = frozenset()
    any_address: bool = False
    auth: Auth = None
    door: Door | None = None
    guesses: Guesses = msgspec.field(default_factory=Guesses)
    read_only: bool = True
    cookie: str = "workqueue"
    open_paths: Collection[str] = ()  # need no sign-in; those that end with / stand for all below
    free_posts: Collection[str] = ()  # change nothing in the store, so they may be posted though it is read-only


class Refused(Exception):
    """Not let in. status: of HTTP; title, text: for people; headers: what the answer says beside them."""

    def __init__(self, status: int, title: str, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.title = title
        self.text = text
        self.headers = dict(headers or {})


Refuse: TypeAlias = Callable[[Request, Refused], Response]
"""Makes the answer to what was not let in."""


class Entrance(msgspec.Struct, frozen=True, kw_only=True):
    """What the guard found out, for the pages: the token for their forms, the form that came, and who is there.

    session: the cookie of it that came, if any.
    """

    csrf: str
    form: list[tuple[str, str]] = []
    signed_in: bool = False
    session: str = ""


def entrance(connection: HTTPConnection) -> Entrance:
    """Give what the guard found out."""
    found: Entrance = connection.scope[ENTRANCE]
    return found


class Guard:
    """ASGI: lets a request through to `inner` with an Entrance in its state, or answers it with `refuse`."""

    def __init__(self, inner: ASGIApp, rules: Rules, refuse: Refuse) -> None:
        self._inner = inner
        self._rules = rules
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        request = Request(scope, receive)
        name = f"{self._rules.cookie}-form"
        csrf = request.cookies.get(name, "")
        is_new = len(csrf) < _FORM_TOKEN
        if is_new:
            csrf = secrets.token_urlsafe(32)
        try:
            entrance = await self._let_in(request, csrf, is_new=is_new)
        except Refused as refused:  # without a new token: other pages that are open still have the old one
            await self._refuse(request, refused)(scope, receive, _Finished(send))
            return
        finished = _Finished(send, cookie(request, name, csrf) if is_new else None, self._renewed(request, entrance))
        await self._inner({**scope, ENTRANCE: entrance}, receive, finished)

    def _renewed(self, request: Request, entrance: Entrance) -> str | None:
        """Give the cookie by which a session stays open, if it is time for another."""
        door = self._rules.door
        session = None if door is None or not entrance.session else door.renewed(entrance.session)
        return None if session is None else session_cookie(request, self._rules.cookie, session)

    async def _let_in(self, request: Request, csrf: str, *, is_new: bool) -> Entrance:
        rules, headers, path = self._rules, request.headers, path_of(request)
        self._check_host(headers)
        if request.method not in (*_SAFE, "POST"):
            raise Refused(405, "No such method", "Expected GET, HEAD or POST.", {"allow": "GET, HEAD, POST"})
        site = headers.get("sec-fetch-site", "none")
        if request.method in _SAFE and site not in ("same-origin", "none"):
            if headers.get("sec-fetch-mode") != "navigate":
                raise Refused(403, "Not from elsewhere", "Expected this to be asked for by a page of the dashboard.")
            if site == "cross-site":
                # A link elsewhere led here, so our cookies stayed behind. Asked again by our own page, they come.
                raise Refused(200, "Opening", "The page opens in a moment.", {"refresh": "0"})
        signed_in = await self._is_known(request)
        session = request.cookies.get(f"{rules.cookie}-session", "") if signed_in else ""
        if not signed_in and not _is_among(path, rules.open_paths):
            raise self._unknown(request)
        if request.method in _SAFE:
            return Entrance(csrf=csrf, signed_in=signed_in, session=session)
        if rules.read_only and path not in rules.free_posts:
            raise Refused(403, "Read-only", "This dashboard only looks. Start it with --allow-write to act from here.")
        _check_origin(headers, site)
        form = await _read_form(request)
        told = [value for name, value in form if name == "csrf"]
        if is_new or len(told) != 1 or not compare_digest(told[0].encode(), csrf.encode()):
            raise Refused(
                403, "The form is out of date", "Go back, reload the page, and try again. Nothing was changed."
            )
        return Entrance(csrf=csrf, form=form, signed_in=signed_in, session=session)

    def _check_host(self, headers: Headers) -> None:
        rules, told = self._rules, headers.getlist("host")
        name = _host_name(told[0]) if len(told) == 1 else ""
        if name in _LOOPBACK or name in rules.hosts or (rules.any_address and _is_address(name)):
            return
        raise Refused(
            421,
            "Asked for by another name",
            "Expected the Host header to name this dashboard, so that no page elsewhere can reach it under a name of "
            f"its own. If it is yours, allow it: --allow-host NAME, or hosts=[…]. Got: {name[:100] or 'none'}",
        )

    async def _is_known(self, request: Request) -> bool:
        rules = self._rules
        if rules.door is not None:
            header = request.headers.get("authorization")
            if header is not None:
                return await rules.guesses.are_right(header, partial(rules.door.knows_header, header))
            return rules.door.holds(request.cookies.get(f"{rules.cookie}-session", ""))
        if callable(rules.auth):
            answer = rules.auth(HTTPConnection(request.scope))
            return (await answer if inspect.isawaitable(answer) else answer) is True
        return request.client is not None and _is_loopback(request.client.host) and not _is_passed_on(request)

    def _unknown(self, request: Request) -> Refused:
        rules = self._rules
        if rules.door is None:
            return Refused(
                403,
                "Not for you",
                "The application does not let you see this."
                if callable(rules.auth)
                else "Only who is on the same machine may see this; auth=… lets others in.",
            )
        if "text/html" in request.headers.get("accept", ""):  # who sees this; a browser's own dialog is for nobody
            if request.method in _SAFE:
                return Refused(303, "Sign in", "", {"location": sign_in(request)})
            return Refused(403, "You are not signed in", "Sign in, and try again. Nothing was changed.")
        return Refused(401, "Sign in", "Expected a session, or an Authorization header.", {"www-authenticate": "Basic"})


class _Finished:
    """Says with every answer what all of them say.

    token: the cookie of the forms, if that is new; comes with a page. session: that of a session that stays open; comes
    with what nobody keeps, and not where another one is said, or none.
    """

    def __init__(self, send: Send, token: str | None = None, session: str | None = None) -> None:
        self._send = send
        self._token = token
        self._session = session

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _SAID.items():
                headers[name] = value
            headers.setdefault("cache-control", "no-store")
            if self._token is not None and headers.get("content-type", "").startswith("text/html"):
                headers.append("set-cookie", self._token)
            if self._session is not None and headers["cache-control"] == "no-store":
                name = self._session.partition("=")[0]
                if not any(told.startswith(f"{name}=") for told in headers.getlist("set-cookie")):
                    headers.append("set-cookie", self._session)
        await self._send(message)


def cookie(request: Request, name: str, value: str, *, max_age: int | None = None) -> str:
    """Give a Set-Cookie header: for this dashboard alone, out of reach of scripts and of other sites."""
    answer = Response()
    answer.set_cookie(
        name,
        value,
        max_age=max_age,
        path=request.scope.get("root_path") or "/",
        secure="https" in (request.url.scheme, request.headers.get("x-forwarded-proto")),
        httponly=True,
        samesite="strict",
    )
    return answer.headers["set-cookie"]


def session_cookie(request: Request, name: str, session: str) -> str:
    """Give the header that lets a browser keep a session; an empty one ends it there."""
    return cookie(request, f"{name}-session", session, max_age=IDLE if session else 0)


def path_of(request: Request) -> str:
    """Give the path below where the dashboard is mounted."""
    path: str = request.scope["path"]
    root: str = request.scope.get("root_path", "").rstrip("/")
    return path[len(root) :] if root and (path + "/").startswith(root + "/") else path


def sign_in(request: Request) -> str:
    """Give the address that asks who is there, and then leads back here."""
    root = request.scope.get("root_path", "").rstrip("/")
    asked = path_of(request) + (f"?{request.url.query}" if request.url.query else "")
    return f"{root}/sign-in?{urlencode({'back': asked})}"


def _is_among(path: str, known: Collection[str]) -> bool:
    return any(path.startswith(one) if one.endswith("/") and one != "/" else path == one for one in known)


def _host_name(host: str) -> str:
    """Give the name in a Host header, without its port; nothing if it is no such header."""
    found = _HOST.fullmatch(host.lower())
    return found[1].rstrip(".") if found else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def _is_passed_on(request: Request) -> bool:
    """Say whether a proxy on this machine asks for somebody else, as far as that shows.

    nginx speaks HTTP/1.0 to what is behind it, unless it is told otherwise; no browser does.
    """
    return request.scope.get("http_version") == "1.0" or any(map(_FORWARDED.fullmatch, request.headers.keys()))


def _check_origin(headers: Headers, site: str) -> None:
    """A browser says where a form was sent from; a program that says nothing has no cookies of somebody else."""
    origin = headers.get("origin")
    try:
        ours = origin is None or urlsplit(origin).netloc.lower() == headers["host"].lower()
    except ValueError:
        ours = False
    if not ours or site not in ("same-origin", "none"):
        raise Refused(403, "Not from here", "Expected the form to be sent by a page of this dashboard.")


async def _read_form(request: Request) -> list[tuple[str, str]]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Refused(415, "Not a form", "Expected application/x-www-form-urlencoded.")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refused(415, "Packed", "Expected a form that need not be unpacked.")
    try:
        async with asyncio.timeout(_FORM_TIME):
            body = await _read_body(request)
        told = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except TimeoutError as error:
        raise Refused(408, "Too slow", f"Expected the form within {_FORM_TIME:g} seconds.") from error
    except ValueError as error:
        raise Refused(400, "Not a form", f"Expected a form of at most {MOST_FIELDS} fields, in UTF-8.") from error
    return [(name, value.replace("\r\n", "\n")) for name, value in told]  # browsers send each end of a line so


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > LARGEST_FORM:
                raise Refused(413, "Too large", f"Expected a form of at most {LARGEST_FORM:,} bytes.")
    except ClientDisconnect as error:
        raise Refused(400, "Not a form", "The form ended early.") from error
    return bytes(body)
