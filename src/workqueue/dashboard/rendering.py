"""Templates → pages. Everything that is put into one is escaped; nothing here is marked as safe."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, cast
from urllib.parse import urlencode

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from workqueue.dashboard import filters, guard
from workqueue.dashboard.filters import address
from workqueue.duration import span
from workqueue.words import ago, count, moment, printable, seconds, shortened

STATIC: Final = os.path.join(os.path.dirname(__file__), "static")
SEEN: Final = "workqueue.seen"
THEMES: Final = ("auto", "light", "dark")


class Pages:
    """Renders the templates for one dashboard. label: what its store is called on each page.

    clean: hides secrets in what people and programs wrote.
    """

    def __init__(
        self, *, label: str, read_only: bool, cookie: str, may_sign_out: bool, clean: Callable[[str], str]
    ) -> None:
        self._usual: dict[str, object] = {
            "label": label,
            "read_only": read_only,
            "may_sign_out": may_sign_out,
            "clean": clean,
        }
        self._theme = f"{cookie}-theme"

    def page(
        self,
        request: Request,
        template: str,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **told: object,
    ) -> HTMLResponse:
        """Render a page for whoever asks."""
        return self.answer(request, template, told, status, headers)

    def answer(
        self,
        request: Request,
        template: str,
        told: Mapping[str, object],
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> HTMLResponse:
        """Do as `page` does."""
        root = request.scope.get("root_path", "").rstrip("/")
        theme = request.cookies.get(self._theme, "auto")
        found = request.scope.get(guard.ENTRANCE)

        def static(name: str) -> str:
            return f"{root}/static/{name}?v={version(name)}"

        context: dict[str, object] = {
            **self._usual,
            "root": root,
            "seen": request.scope.get(SEEN),
            "here": _here(request),
            "path": guard.path_of(request),
            "theme": theme if theme in THEMES else "auto",
            "csrf": found.csrf if isinstance(found, guard.Entrance) else None,
            "static": static,
            **told,
        }
        return HTMLResponse(_templates().get_template(template).render(context), status, dict(headers or {}))

    def keep_theme(self, request: Request, response: Response, theme: str) -> None:
        """Let the browser remember the theme."""
        year = 365 * 24 * 3600
        response.headers.append(
            "set-cookie", guard.cookie(request, self._theme, theme if theme in THEMES else "auto", max_age=year)
        )


@cache
def _templates() -> jinja2.Environment:
    """Give the templates, compiled once for all dashboards of the process."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.join(os.path.dirname(__file__), "templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    cast("dict[str, object]", templates.filters).update(
        moment=moment,
        span=span,
        printable=printable,
        short=shortened,
        count=count,
        seconds=seconds,
        ago=ago,
        clean=_cleaned,
        lines=str.splitlines,
    )
    names: Any = templates.globals  # jinja2 types it by what is in it at first
    names.update(address=address, stretches=filters.STRETCHES)
    return templates


@jinja2.pass_context
def _cleaned(context: jinja2.runtime.Context, text: str) -> str:
    clean: Callable[[str], str] = context["clean"]
    return clean(text)


def _here(request: Request) -> str:
    """Give the address of the page, without what it says was done."""
    told = [(name, value) for name, value in request.query_params.multi_items() if name not in ("said", "n")]
    return guard.path_of(request) + (f"?{urlencode(told)}" if told else "")


@cache
def version(name: str) -> str:
    """Give what changes in the address of a static file when the file does."""
    with open(os.path.join(STATIC, name), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()[:12]
