"""What people are not shown of the data of jobs: the values of members that are called like secrets. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import msgspec

from workqueue import payload
from workqueue.errors import InvalidPayload
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
_IN_URL: Final = re.compile(r"(\w://[^\s/:@]{0,100}:)[^\s/@]{1,200}(@)")
_NOTHING: Final = ("null", "None", '""', "''", "[]", "{}")
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


class Redaction:
    """Hides values by the names of their members: `password` also hides `db_password` and `userPassword`.

    It is told by the words of a name, so `token` hides `accessToken` and `tokens`, but not `tokenizer`.
    """

    def __init__(self, names: Iterable[str] = SECRETS) -> None:
        spelled = {"_".join(_words(name)) for name in names}
        self._names = frozenset(name for name in spelled if name)
        self._hides = lru_cache(maxsize=4096)(self._is_secret)  # the same few names, again and again
        self._stems = {max(name.split("_"), key=len) for name in self._names}
        self._in_text = _said(sorted(self._names, key=len, reverse=True)) if self._names else None

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
        return [self.text(_MASKED.sub(_MASK, line)) for line in pretty(masked)]

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
        return payload.encode(_restored(tree, "", hidden, "$"), limit=len(written) + len(before))

    def mark(self, data: bytes) -> str:
        """Give a short text that changes when what is shown of the data does; it tells nothing of what is hidden."""
        return hashlib.sha256(self._masked(data)[0]).hexdigest()[:32]

    def text(self, text: str) -> str:
        """Give a message or a traceback without what is written there as the value of a secret."""
        text = _IN_URL.sub(rf"\1{_MASK}\2", text)
        if self._in_text is None or not self._may_tell(text):
            return text
        return self._in_text.sub(_masked_value, text)

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
            hidden = [_Hidden("", tree)]
            masked = f"{_MASK} hidden 1"
        return (msgspec.json.encode(masked) if hidden else data), hidden

    def _without(self, value: Json, name: str, hidden: list[_Hidden]) -> Json:
        """Give a value without secrets. name: of the member it is, or is inside of as an item."""
        if value not in (None, "", [], {}) and (
            self.hides(name) or (isinstance(value, str) and _IN_URL.search(value) is not None)
        ):
            hidden.append(_Hidden(name, value))
            return f"{_MASK} hidden {len(hidden)}"
        if isinstance(value, list):
            return [self._without(item, name, hidden) for item in value]
        if isinstance(value, dict):
            return {member: self._without(item, member, hidden) for member, item in value.items()}
        return value


class _Hidden(msgspec.Struct, frozen=True):
    """A value that a mask stands for, and the member it is of."""

    name: str
    value: Json


def _said(names: list[str]) -> re.Pattern[str]:
    """Give what finds `name: value` and `name = value` in a text: (1) up to the value, (2) the value."""
    plain = "|".join(name.replace("_", "[-_ ]?") for name in names)
    camel = "|".join("".join(word.title() for word in name.split("_")) for name in names)
    name = rf"(?:(?<![a-z0-9])(?i:{plain})|(?<=[a-z0-9])(?:{camel}))"
    value = r"\[[^\]\n]*\]|\{[^}\n]*\}|(?i:bearer|basic)\s+\S+|\"[^\"\n]*\"|'[^'\n]*'|[^\s,;&)}\]]+"
    return re.compile(rf"({name}s?[\"']?\s{{0,8}}[:=]\s{{0,8}})({value})")


def _masked_value(found: re.Match[str]) -> str:
    if found[2] in _NOTHING:
        return found[0]
    quote = found[2][0] if found[2][0] in "\"'" else ""
    return f"{found[1]}{quote}{_MASK}{quote}"


def _restored(value: Json, name: str, hidden: list[_Hidden], path: str) -> Json:
    if isinstance(value, list):
        return [_restored(item, name, hidden, f"{path}[{at}]") for at, item in enumerate(value)]
    if isinstance(value, dict):
        return {member: _restored(item, member, hidden, f"{path}.{member}") for member, item in value.items()}
    found = _MASKED.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    number = int(found[1])
    if not 1 <= number <= len(hidden) or hidden[number - 1].name != name:
        raise InvalidPayload(
            f"expected the mask {value!r} at {path} to stay in its member; type the value itself", path=path
        )
    return hidden[number - 1].value


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(name)]


usual: Final = Redaction()
"""By the usual names."""

clean: Final = usual.text
"""Gives what people and programs wrote without the values that it calls secrets, by their usual names."""
