"""The dashboard put together: which page answers at which address, and what is said when one cannot."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Final, TypeAlias

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from workqueue.dashboard import filters, guard
from workqueue.dashboard.access import Auth, Door, Links, Password, Token
from workqueue.dashboard.acting import Acting
from workqueue.dashboard.desk import Desk, Place
from workqueue.dashboard.guard import Guard, Guesses, Refused, Rules
from workqueue.dashboard.live import Live, mark
from workqueue.dashboard.pages import SIGHT, Looking
from workqueue.dashboard.rendering import SEEN, STATIC, Pages
from workqueue.errors import InvalidOption, StoreError, UsageError
from workqueue.logs import Log
from workqueue.probes import StoreProbes, answer
from workqueue.redaction import SECRETS, Redaction
from workqueue.store.clock import system_clock

log = Log("workqueue.dashboard")

Answer: TypeAlias = Callable[[Request], Awaitable[Response]]
_PROBES: Final = ("/livez", "/readyz", "/metrics")
_OPEN: Final = ("/sign-in", "/static/", "/livez", "/readyz")  # metrics name tasks and queues
_FREE: Final = ("/sign-in", "/sign-out", "/theme")
_WRONG_LINK: Final = "That link was used before, or is none of ours. The terminal shows the one that works."
_WRONG: Final = "That is not right."
_LOCAL: Final = ("localhost", "127.0.0.1", "::1", "[::1]")


class Dashboard:
    """An ASGI application that shows the jobs of one store, and changes them where it may. Mount it anywhere.

    place: a queue (schedules of its tasks can be run at once from here), a store, or its path or URL; all queues of it
    are shown. read_only: False lets people act. auth: who may ask; None: who is on this machine. hosts: names by which
    browsers ask for it, beside those of this machine; any_address: bare IP addresses too. redact: members whose values
    are hidden, by name. links: that sign in who opens them first. period: seconds from one look at the figures to the
    next. Raises UnsuitableFile, and InvalidOption for hosts of others without auth.
    """

    def __init__(
        self,
        place: Place,
        *,
        read_only: bool = True,
        auth: Auth = None,
        hosts: Iterable[str] = (),
        any_address: bool = False,
        redact: Iterable[str] = SECRETS,
        links: Links | None = None,
        period: float = 1.0,
    ) -> None:
        named = frozenset(host.lower() for host in hosts)
        if auth is None and (any_address or not named <= set(_LOCAL)):
            raise InvalidOption(
                "expected auth= where others than this machine may ask: Password(…), Token(…), or a function that says "
                f"who may; got none, with hosts {', '.join(sorted(named)) or 'of any address'}",
                name="auth",
                value=None,
            )
        self._desk = Desk(place, period)
        path = self._desk.store.path
        suffix = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        self._cookie = f"workqueue-{suffix}"  # cookies are shared by all ports of a host
        secret = auth if isinstance(auth, Password | Token) else None
        self._door = (
            None if secret is None else Door(secret, place=suffix, now=lambda: system_clock() / 1_000_000, links=links)
        )
        self.live = Live(self._desk)
        self._probes = StoreProbes(self._desk.store)
        redaction = Redaction(redact)
        self._pages = Pages(
            label=path,
            read_only=read_only,
            cookie=self._cookie,
            may_sign_out=self._door is not None,
            clean=redaction.text,
        )
        looking = Looking(self._desk, self._pages, redaction)
        acting = Acting(self._desk, self._pages, looking, redaction)
        self._guesses = Guesses()
        rules = Rules(
            hosts=named,
            any_address=any_address,
            auth=auth,
            door=self._door,
            guesses=self._guesses,
            read_only=read_only,
            cookie=self._cookie,
            open_paths=_OPEN,
            free_posts=_FREE,
        )
        self._app = Guard(self._routes(looking, acting), rules, self._refuse)

    @property
    def path(self) -> str:
        """What its store was opened as, for messages."""
        return self._desk.store.path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def close(self) -> None:
        """End the streams, and let go of the store, if it was opened here. Safe to call twice."""
        self.live.close()
        self._desk.close()

    def _routes(self, looking: Looking, acting: Acting) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self._fresh(looking.overview)),
                Route("/queue", self._fresh(looking.queue)),
                Route("/jobs", self._fresh(looking.jobs)),
                Route("/jobs/{id}", self._fresh(looking.job)),
                Route("/tasks", self._fresh(looking.tasks)),
                Route("/schedules", self._fresh(looking.schedules)),
                Route("/batches", self._fresh(looking.batches)),
                Route("/batches/{id}", self._fresh(looking.batch)),
                Route("/runners", self._fresh(looking.runners)),
                Route("/confirm", acting.confirm),
                Route("/confirm/batch", acting.confirm_batch),
                Route("/act/jobs", acting.jobs, methods=["POST"]),
                Route("/act/all", acting.all, methods=["POST"]),
                Route("/act/edit", acting.edit, methods=["POST"]),
                Route("/act/pause", acting.pause, methods=["POST"]),
                Route("/act/schedule", acting.schedule, methods=["POST"]),
                Route("/act/batch", acting.batch, methods=["POST"]),
                Route("/theme", self._theme, methods=["POST"]),
                Route("/sign-in", self._sign_in, methods=["GET", "POST"]),
                Route("/sign-out", self._sign_out, methods=["POST"]),
                Route("/live", self.live.stream),
                *(Route(path, self._probe) for path in _PROBES),
                Mount("/static", _Static(directory=STATIC)),
            ],
            exception_handlers={
                Refused: self._on_refused,
                HTTPException: self._on_http,
                StoreError: self._on_store,
                UsageError: self._on_usage,
                Exception: self._on_bug,
            },
        )

    def _fresh(self, page: Answer) -> Answer:
        """Let a page say which figures it is at least as new as, so that the stream tells it of all later ones."""

        async def marked(request: Request) -> Response:
            request.scope[SIGHT] = sight = await self._desk.sight()
            request.scope[SEEN] = mark(sight)
            return await page(request)

        return marked

    async def _probe(self, request: Request) -> Response:
        """Answer those who watch over the process, and Prometheus."""
        path = guard.path_of(request)
        # Those who ask whether the process lives must not wait for a thread: they may all wait for the store.
        found = answer(self._probes, path) if path == "/livez" else await self._desk.ask(answer, self._probes, path)
        if found is None:
            raise HTTPException(404)
        text = found.text
        if found.status == 503 and not guard.entrance(request).signed_in:
            log.warning("%s says no: %s", path, text.strip())
            text = "the store does not answer\n"  # where it is, and what it says, is not for everybody
        return Response(text, found.status, media_type=found.kind)

    async def _theme(self, request: Request) -> Response:
        told = dict(guard.entrance(request).form)
        answer = self._to(request, filters.back(told))
        self._pages.keep_theme(request, answer, told.get("theme", ""))
        return answer

    async def _sign_in(self, request: Request) -> Response:
        """Ask who is there. A key in the address is a link that is good for once."""
        if self._door is None:
            return self._to(request, "/")
        told = dict(guard.entrance(request).form) if request.method == "POST" else request.query_params
        back, key, error = filters.back(told), told.get("key") or told.get("secret"), ""
        links = self._door.links
        if key is not None and (request.method == "POST" or (links is not None and request.method == "GET")):
            if await self._opens(self._door, told.get("user", ""), key):
                return self._to(request, back, session=self._door.new_session())
            error = _WRONG if links is None else _WRONG_LINK
        asks = "link" if links is not None else "token" if isinstance(self._door.secret, Token) else "password"
        return self._pages.page(request, "sign_in.html", 403 if error else 200, error=error, asks=asks, back=back)

    async def _opens(self, door: Door, user: str, key: str) -> bool:
        if door.links is not None:  # of 32 random bytes: nobody guesses one, and who has one need not queue for it
            return door.links.take(key)
        return await self._guesses.are_right(f"{user}\0{key}", partial(door.knows, user, key))

    async def _sign_out(self, request: Request) -> Response:
        """End the session: wherever else its cookies are, they are good for nothing."""
        if self._door is not None:
            self._door.end(guard.entrance(request).session)
        return self._to(request, "/sign-in", session="")

    def _to(self, request: Request, path: str, *, session: str | None = None) -> Response:
        """Lead to another page; session: a new one, or none from now on. Forms have another token then."""
        answer = RedirectResponse(request.scope.get("root_path", "").rstrip("/") + path, 303)
        if session is not None:
            answer.headers.append("set-cookie", guard.session_cookie(request, self._cookie, session))
            answer.headers.append("set-cookie", guard.cookie(request, f"{self._cookie}-form", "", max_age=0))
        return answer

    def _refuse(self, request: Request, refused: Refused) -> Response:
        if refused.status == 303:
            return Response(status_code=303, headers=refused.headers)
        return self._say(request, refused.status, refused.title, refused.text, refused.headers)

    async def _on_refused(self, request: Request, error: Exception) -> Response:
        if isinstance(error, Refused):
            return self._refuse(request, error)
        raise error

    async def _on_http(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        if error.status_code == 404:
            return self._say(request, 404, "No such page", "There is nothing at this address.")
        return self._say(request, error.status_code, "That did not work", error.detail, error.headers)

    async def _on_usage(self, request: Request, error: Exception) -> Response:
        is_missing = isinstance(error, LookupError)
        return self._say(
            request, 404 if is_missing else 400, "Not found" if is_missing else "Not understood", str(error)
        )

    async def _on_store(self, request: Request, error: Exception) -> Response:
        log.warning("the dashboard cannot ask %s: %s", self._desk.store.path, error)
        return self._say(request, 503, "The store does not answer", str(error))

    async def _on_bug(self, request: Request, error: Exception) -> Response:
        del error  # the server logs it, with its traceback
        return self._say(request, 500, "Something went wrong here", "The log of the dashboard says what.")

    def _say(
        self, request: Request, status: int, title: str, text: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        return self._pages.page(
            request, "message.html", status, headers, title=title, text=text, refreshes="refresh" in (headers or {})
        )


class _Static(StaticFiles):
    """Files that never change at the address that names their version."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        if scope.get("query_string", b"").startswith(b"v="):
            answer.headers["cache-control"] = "public, max-age=31536000, immutable"
        return answer
