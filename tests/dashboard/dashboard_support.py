"""A visitor of a dashboard, as a browser without scripts is one: it keeps cookies, and sends the forms that it sees."""

from __future__ import annotations

import re
from html import unescape

from starlette.testclient import TestClient
from starlette.types import ASGIApp

HERE = "http://127.0.0.1:8585"
AGENT = {"accept": "text/html"}


class Visitor(TestClient):
    def __init__(self, app: ASGIApp, base_url: str = HERE, client: tuple[str, int] = ("127.0.0.1", 50000)) -> None:
        super().__init__(app, base_url=base_url, client=client, headers=AGENT, raise_server_exceptions=False)

    def csrf(self, path: str = "/jobs") -> str:
        """The token that the forms of a page have."""
        return value_of("csrf", self.get(path).text)

    def fill(self, path: str, *, follow: bool = True, origin: str | None = HERE, **fields: object):
        """Send a form with these fields, and the token of a page that was seen before."""
        told = {"csrf": self.csrf(), **fields}
        return self.post(
            path,
            data={name: value for name, value in told.items() if value is not None},
            headers={} if origin is None else {"origin": origin},
            follow_redirects=follow,
        )


def value_of(name: str, html: str) -> str:
    """The value of the first field of that name."""
    found = re.search(rf'<(?:input|button)[^>]* name="{name}" value="([^"]*)"', html)
    assert found, f"no field {name} in {html}"
    return unescape(found[1])


def text_of(html: str) -> str:
    """What a page says, without its markup."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", body))).strip()
