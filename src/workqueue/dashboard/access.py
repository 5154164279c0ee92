"""Who may ask: passwords and tokens, links that are good for once, and the cookies that stand for having shown one.

Nothing is kept of a session that goes on: its cookie is signed with a key made from the secret, so that several
processes with the same secret know the same sessions, and another secret ends them all. Kept is which were ended by
hand, by the process that was told. Secrets are compared in constant time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import threading
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import msgspec
from starlette.requests import HTTPConnection

from workqueue.errors import InvalidOption, UsageError

SESSION: Final = 12 * 3600  # seconds that one lasts at most
IDLE: Final = 30 * 60  # seconds without a request that end one
_RENEWED: Final = 60  # seconds after which its cookie is replaced
_MOST_ENDED: Final = 10_000  # sessions ended by hand, of which that is known
_SHORTEST_PASSWORD: Final = 8
_SHORTEST_TOKEN: Final = 16
_COST = 2**14  # of making a key of a secret: a twentieth of a second
_MOST_LINKS: Final = 16


class Password(msgspec.Struct, frozen=True):
    """A name and a password: asked for by a form, and taken as HTTP Basic from programs."""

    user: str
    password: str

    def __post_init__(self) -> None:
        if not self.user or ":" in self.user or len(self.password) < _SHORTEST_PASSWORD:
            raise InvalidOption(
                f"expected a user name without ':', and a password of {_SHORTEST_PASSWORD} characters or more",
                name="auth",
                value=self.user,
            )

    def __repr__(self) -> str:
        return f"Password({self.user!r}, …)"


class Token(msgspec.Struct, frozen=True):
    """One long secret: asked for by a form, and taken as `Authorization: Bearer` from programs."""

    token: str

    def __post_init__(self) -> None:
        if len(self.token) < _SHORTEST_TOKEN or not self.token.isascii() or not self.token.isprintable():
            raise InvalidOption(
                f"expected a token of {_SHORTEST_TOKEN} characters or more, all of them ASCII; "
                "openssl rand -hex 32 makes one",
                name="auth",
                value="…",
            )

    def __repr__(self) -> str:
        return "Token(…)"


Gate: TypeAlias = Callable[[HTTPConnection], bool | Awaitable[bool]]
"""Says whether this connection may see the dashboard, by what the application around it knows of it."""

Auth: TypeAlias = Password | Token | Gate | None


def read_auth(text: str) -> Password | Token:
    """Read USER:PASSWORD, or the path of a file that has that or a token as its only line.

    Raises UsageError for anything else, and for a file that others may read.
    """
    if os.path.isfile(text):
        with open(text, encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise UsageError(f"expected only its owner to be allowed to read {text!r}; say chmod 600 {text!r}")
            try:
                lines = file.read(4096).splitlines()
            except UnicodeDecodeError as error:
                raise UsageError(f"expected {text!r} to be text in UTF-8, got: {error}; write it anew") from error
        if len(lines) != 1:
            raise UsageError(f"expected {text!r} to have one line, a token or USER:PASSWORD, got: {len(lines)} lines")
        return _parsed(lines[0].strip())
    if ":" not in text:
        raise UsageError("expected USER:PASSWORD, or the path of a file with that or a token; there is no such file")
    return _parsed(text)


def _parsed(secret: str) -> Password | Token:
    user, separator, password = secret.partition(":")
    return Password(user, password) if separator else Token(secret)


class Links:
    """Links that sign in who opens them first. Safe from any thread.

    used: called when one was, with another for the next browser.
    """

    def __init__(self, used: Callable[[str], object]) -> None:
        self._used = used
        self._open: list[str] = []
        self._lock = threading.Lock()

    def new(self) -> str:
        """Give the secret of a new link; of many that nobody opened, the oldest stop working."""
        secret = secrets.token_urlsafe(32)
        with self._lock:
            self._open = [*self._open[1 - _MOST_LINKS :], secret]
        return secret

    def take(self, secret: str) -> bool:
        """Say whether this link was never used before; now it is."""
        with self._lock:
            found = [known for known in self._open if _same(known, secret)]
            self._open = [known for known in self._open if known not in found]
        if found:
            self._used(self.new())
        return bool(found)


class Door:
    """Knows a secret again, and makes and reads the cookies of sessions. now: seconds since 1970."""

    def __init__(self, secret: Password | Token, *, place: str, now: Callable[[], float], links: Links | None) -> None:
        self.secret = secret
        self.links = links
        self._now = now
        self._lock = threading.Lock()
        self._ended: dict[str, float] = {}  # until when it would have gone on
        text = secret.token if isinstance(secret, Token) else f"{secret.user}:{secret.password}"
        # Costly to guess from, for whoever gets hold of a cookie: a password may be short.
        self._key = hashlib.scrypt(text.encode(), salt=f"workqueue {place}".encode(), n=_COST, r=8, p=1)

    def knows(self, user: str, password: str) -> bool:
        """Say whether these are the ones; of a token, the user's name does not matter."""
        if isinstance(self.secret, Token):
            return _same(self.secret.token, password)
        return bool(_same(self.secret.user, user) & _same(self.secret.password, password))

    def knows_header(self, header: str) -> bool:
        """Say whether an Authorization header (Basic, or Bearer) has the secret."""
        scheme, _, rest = header.partition(" ")
        if scheme.lower() == "bearer" and isinstance(self.secret, Token):
            return self.knows("", rest.strip())
        if scheme.lower() != "basic":
            return False
        try:
            user, _, password = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        return self.knows(user, password)

    def new_session(self) -> str:
        """Give what the cookie of a session holds."""
        began = int(self._now())
        return self._cookie(began, began, secrets.token_urlsafe(12))

    def holds(self, session: str) -> bool:
        """Say whether a cookie stands for a session that has not ended."""
        found = self._read(session)
        return found is not None and found.name not in self._ended

    def renewed(self, session: str) -> str | None:
        """Give the next cookie of a session, by which it stays open; None where the last one is new enough."""
        found = self._read(session)
        if found is None or self._now() < found.seen + _RENEWED:
            return None
        return self._cookie(found.began, int(self._now()), found.name)

    def end(self, session: str) -> None:
        """Let none of the cookies that this session ever had be good any more."""
        found, now = self._read(session), self._now()
        if found is not None:
            with self._lock:
                going = {name: until for name, until in self._ended.items() if until > now}
                going[found.name] = found.began + SESSION
                self._ended = dict(list(going.items())[-_MOST_ENDED:])

    def _cookie(self, began: int, seen: int, name: str) -> str:
        head = f"{began}.{seen}.{name}"
        return f"{head}.{self._sign(head)}"

    def _read(self, cookie: str) -> _Session | None:
        """Give what a cookie of ours says, if it is in time."""
        head, _, signature = cookie.rpartition(".")
        if not _same(self._sign(head), signature):
            return None
        began, seen, name = head.split(".")
        found = _Session(int(began), int(seen), name)
        return found if self._now() < min(found.began + SESSION, found.seen + IDLE) else None

    def _sign(self, head: str) -> str:
        return base64.urlsafe_b64encode(hmac.digest(self._key, head.encode(), "sha256")).decode().rstrip("=")


class _Session(msgspec.Struct, frozen=True):
    """What a cookie says. began: the session; seen: this cookie was given out; name: tells the session from others."""

    began: int
    seen: int
    name: str


def _same(one: str, other: str) -> bool:
    """Compare in a time that tells nothing, not even a length."""
    digests = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (one, other)]
    return hmac.compare_digest(*digests)
