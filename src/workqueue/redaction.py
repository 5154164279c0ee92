"""What people are not shown of the data of jobs: the values of members that are called like secrets. Pure."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

import msgspec

from workqueue import payload
from workqueue.assignments import Assignments, Span
from workqueue.errors import InvalidOption, InvalidPayload
from workqueue.payload import Json
from workqueue.words import is_json, pretty

SECRETS: Final = frozenset(
    {
        "password", "passwd", "passphrase", "pwd", "secret", "token", "authorization", "auth", "api_key", "apikey",
        "access_key", "private_key", "credential", "credentials", "cookie", "session", "bearer", "jwt", "otp", "pin",
        "cvv", "card_number", "iban", "ssn", "dsn", "connection_string", "signature",
    }
)  # fmt: skip
"""Names of members that are hidden unless the application says otherwise."""

_MASK: Final = "••••••"
_MASKED: Final = re.compile(rf"{_MASK} hidden (\d{{1,6}})")
_IN_URL: Final = re.compile(r"\w://[^\s/:]*:([^\s/]+)@")
_WORDS: Final = re.compile(r"A+(?!a)|A?a+|0+")  # in the shape of a name, see `_shape`


class Redaction:
    """Hides values by the names of their members: `password` also hides `db_password` and `userPassword`.

    It is told by the words of a name, so `token` hides `accessToken` and `tokens`, but not `tokenizer`.
    """

    def __init__(self, names: Iterable[str] = SECRETS) -> None:
        self._names = frozenset(map(_spelled, names))
        self._hides = lru_cache(maxsize=4096)(self._is_secret)  # the same few names, again and again
        self._tells = lru_cache(maxsize=4096)(self._secrets)
        self._stems = {max(name.split("_"), key=len) for name in self._names}
        self._assignments = Assignments(self._names) if self._names else None

    def hides(self, name: str) -> bool:
        """Say whether the value of a member of this name is hidden."""
        return self._hides(name)

    def _is_secret(self, name: str) -> bool:
        words = _words(name)
        singular = [word[:-1] if word.endswith("s") and not word.endswith("ss") else word for word in words]
        return any(
            "_".join(spelling[start:end]) in self._names
            for spelling in (words, singular)
            for start in range(len(words))
            for end in range(start + 1, min(start + 3, len(words)) + 1)
        )

    def shown(self, data: bytes) -> list[str]:
        """Give the data of a job as lines for people."""
        masked, _ = self._masked(data)
        lines = pretty(masked)
        return [_MASKED.sub(_MASK, line) for line in lines] if is_json(masked) else [self.text(line) for line in lines]

    def editable(self, data: bytes) -> str | None:
        """Give the data of a job as JSON to be edited, with numbered masks for what is hidden; None: it is no JSON."""
        if not is_json(data):
            return None
        return "\n".join(pretty(self._masked(data)[0]))

    def edited(self, text: str, before: bytes) -> bytes:
        """Give the data that `text` stands for, with each mask replaced by what it hid in `before`.

        Raises InvalidPayload where text is no JSON, or a mask stands where it would be shown.
        """
        written = text.encode()
        tree = payload.decode(written)
        _, hidden = self._masked(before)
        if not hidden:
            return written.strip()
        return payload.encode(self._restored(tree, "", hidden, "$"), limit=len(written) + len(before))

    def mark(self, data: bytes) -> str:
        """Give a short text that changes when what is shown of the data does; it tells nothing of what is hidden."""
        return hashlib.sha256(self._masked(data)[0]).hexdigest()[:32]

    def text(self, text: str) -> str:
        """Give a message or a traceback without what is written there as the value of a secret."""
        return _replaced(text, self._secrets(text), lambda _secret: _MASK)

    def _secrets(self, text: str) -> list[Span]:
        """Give where secrets stand in a text, in order, none over another."""
        found = [url.span(1) for url in _IN_URL.finditer(text)] if "://" in text else []
        if self._assignments is not None and self._may_tell(text):
            found += self._assignments.values(text)
        apart: list[Span] = []
        for span in sorted(found):
            if apart and span[0] < apart[-1][1]:
                before = apart.pop()
                apart.append((before[0], max(before[1], span[1])))
            else:
                apart.append(span)
        return apart

    def _may_tell(self, text: str) -> bool:
        """Say whether a word of some name is there at all: nearly always not, and this costs a hundredth."""
        lowered = text.lower()
        return any(stem in lowered for stem in self._stems)

    def _masked(self, data: bytes) -> tuple[bytes, list[_Hidden]]:
        try:
            tree = payload.decode(data)
        except InvalidPayload:
            return data, []
        hidden: list[_Hidden] = []
        try:
            masked = self._without(tree, "", hidden)
        except RecursionError:
            hidden = [_Hidden("", tree, is_piece=False)]
            masked = f"{_MASK} hidden 1"
        # Of two members of one name a handler gets the last, and only that was looked at.
        return (msgspec.json.encode(masked) if hidden or _has_twins(data) else data), hidden

    def _without(self, value: Json, name: str, hidden: list[_Hidden]) -> Json:
        """Give a value without secrets. name: of the member it is, or is inside of as an item."""

        def mask(secret: Json, *, is_piece: bool = False) -> str:
            hidden.append(_Hidden(name, secret, is_piece))
            return f"{_MASK} hidden {len(hidden)}"

        if value not in (None, "", [], {}) and (
            self.hides(name) or (isinstance(value, dict) and any(map(self._tells, value)))
        ):
            return mask(value)
        if isinstance(value, str):
            return _replaced(value, self._secrets(value), lambda secret: mask(secret, is_piece=True))
        if isinstance(value, list):
            return [self._without(item, name, hidden) for item in value]
        if isinstance(value, dict):
            return {member: self._without(item, member, hidden) for member, item in value.items()}
        return value

    def _restored(self, value: Json, name: str, hidden: list[_Hidden], path: str) -> Json:
        if isinstance(value, list):
            return [self._restored(item, name, hidden, f"{path}[{at}]") for at, item in enumerate(value)]
        if isinstance(value, dict):
            return {member: self._restored(item, member, hidden, f"{path}.{member}") for member, item in value.items()}
        masks = list(_MASKED.finditer(value)) if isinstance(value, str) else []
        if not masks or not isinstance(value, str):
            return value
        meant = [hidden[int(mask[1]) - 1] for mask in masks if 1 <= int(mask[1]) <= len(hidden)]
        if len(meant) == len(masks) and all(one.name == name for one in meant):
            if masks[0][0] == value and not meant[0].is_piece:
                return meant[0].value
            pieces = iter(meant)
            opened = _MASKED.sub(lambda _: str(next(pieces).value), value)
            # It stays hidden where it stands now, or who may not see it has only to move its mask.
            if all(one.is_piece for one in meant) and self.text(opened) == self.text(_MASKED.sub(_MASK, value)):
                return opened
        raise InvalidPayload(
            f"expected the mask {masks[0][0]!r} at {path} to stay in its place; type the value itself", path=path
        )


class _Hidden(msgspec.Struct, frozen=True):
    """What a mask stands for, and the member it is of; or is a piece of the text of."""

    name: str
    value: Json
    is_piece: bool


def _replaced(text: str, spans: Iterable[Span], mask: Callable[[str], str]) -> str:
    parts: list[str] = []
    at = 0
    for start, end in spans:
        parts += (text[at:start], mask(text[start:end]))
        at = end
    return "".join([*parts, text[at:]]) if parts else text


def _has_twins(data: bytes) -> bool:
    """Say whether two members of one object in this JSON have the same name, or that cannot be told."""
    found = False

    def look(members: list[tuple[str, object]]) -> None:
        nonlocal found
        found = found or len({name for name, _ in members}) < len(members)

    try:
        json.loads(data, object_pairs_hook=look)
    except (ValueError, RecursionError):
        return True
    return found


def _spelled(name: str) -> str:
    """Give a name that was asked for as its words; in another spelling it hides the same."""
    words = _words(name)
    if not words:
        raise InvalidOption(
            f"expected names of members whose values to hide, each with a letter or a digit, got: {name!r}",
            name="redact",
            value=name,
        )
    return "_".join(words)


def _words(name: str) -> list[str]:
    name = unicodedata.normalize("NFKC", name)
    return [name[slice(*found.span())].lower() for found in _WORDS.finditer("".join(map(_shape, name)))]


def _shape(character: str) -> str:
    """Give A for a capital, a for any other letter or a mark on one, 0 for a digit, - for what stands between words."""
    if character.isupper() or character.istitle():
        return "A"
    if character.isdecimal():
        return "0"
    return "a" if unicodedata.category(character)[0] in "LMN" else "-"


usual: Final = Redaction()
"""By the usual names."""

clean: Final = usual.text
"""Gives what people and programs wrote without the values that it calls secrets, by their usual names."""
