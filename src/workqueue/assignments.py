"""Assignments: where a text gives values to names: `token=…`, `"token": …`, `Authorization: …`. Pure.

It reads what programs print, Python, JSON, headers and queries alike, without being told which. Each character is
looked at a few times at most, whatever is nested in what, or never closed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

Span: TypeAlias = tuple[int, int]
"""Of a text: from where to where."""

_NOTHING: Final = frozenset({"None", "null", "()", "[]", "{}"})
_OPENING: Final = frozenset("([{")
_LETTERS: Final = r"[^\W_A-Z]"  # small ones, digits, and those of all other scripts
_SUFFIX: Final = rf"(?:[-_][^\W_]{{1,30}}|(?<={_LETTERS})[A-Z][^\W_]{{0,30}}|\d{{1,4}}){{0,8}}+"
_ASSIGNED: Final = r"(?:\\*+[\"'])?\]?\s{0,8}[:=]{1,2}>?\s{0,8}"
_BARE: Final = re.compile(r"[^\s,;&()\[\]{}]+")
_TYPED: Final = re.compile(r"[ \t]{0,8}=[ \t]{0,8}(?!=)")
_QUOTE: Final = re.compile(r"[bBrRuUfF]{0,2}(?P<level>\\*+)(?P<quote>\"{3}|'{3}|\"|')")
_MARK: Final = re.compile(r"(?<!\\)(?P<level>\\*+)(?P<quote>[\"'])|[()\[\]{}]")
_CLOSING: Final = {quote: re.compile(rf"(?<!\\)(\\*+){quote}") for quote in ('"', "'", '"""', "'''")}
_WORD: Final = r"[^\s,;\"'()\[\]{}]+"
_BEARER: Final = re.compile(rf"(?:bearer|basic)[ \t]{{1,8}}{_WORD}", re.IGNORECASE)
_CREDENTIALS: Final = re.compile(  # of any scheme: a word, or parameters
    rf"[A-Za-z][\w-]{{0,40}}[ \t]{{1,8}}{_WORD}(?:\"[^\"\n]*\")?"
    r"(?:,[ \t]{0,8}[\w-]{1,40}=(?:\"[^\"\n]*\"|[^\s,;\"']+))*"
)
_COOKIES: Final = re.compile(rf"{_WORD}(?:;[ \t]{{0,8}}[^\s;,\"'=]{{1,100}}=[^\s;\"']*)*")


class Assignments:
    """Those to some names, however these are spelled: api_key is also apiKey, API-KEY, my_api_key and apiKeyId.

    names: of words in small letters, with _ between them.
    """

    def __init__(self, names: Iterable[str]) -> None:
        longest_first = sorted(names, key=len, reverse=True)
        plain = "|".join(name.replace("_", "[-_ ]?") for name in longest_first)
        camel = "|".join("".join(word.title() for word in name.split("_")) for name in longest_first)
        name = rf"(?:(?<![^\W\d_A-Z])(?i:{plain})|(?<={_LETTERS})(?:{camel}))"
        self._target = re.compile(f"{name}s?{_SUFFIX}{_ASSIGNED}")

    def values(self, text: str) -> Iterator[Span]:
        """Give where the values stand, in order, without their quotes; nothing of what is empty.

        What is never closed ends with its line.
        """
        at, stop = 0, -1
        while target := self._target.search(text, at):
            start = target.end()
            if start > stop:
                stop = text.find("\n", start)
                stop = len(text) if stop < 0 else stop
            opening = _QUOTE.match(text, start, stop)
            if opening is None:
                end = at = _unquoted(text, start, stop, target[0].lower())
            else:
                start = opening.end()
                end, at = _quoted(text, opening, stop)
            if start < end and (opening or text[start:end] not in _NOTHING):
                yield start, end


def _quoted(text: str, opening: re.Match[str], stop: int) -> Span:
    r"""Give where what stands in quotes ends, and where what follows them begins.

    Quotes in quotes have backslashes before them, and those that end the text as many as those that begin it: \"a\".
    """
    level, quote = len(opening["level"]), opening["quote"]
    for closing in _CLOSING[quote].finditer(text, opening.end(), stop):
        if (len(closing[1]) - level) % (2 * level + 2) == 0:
            return closing.end() - len(quote) - level, closing.end()
    return stop, stop


def _unquoted(text: str, at: int, stop: int, target: str) -> int:
    """Give where a value ends that does not begin with a quote."""
    header = _CREDENTIALS if "authorization" in target else _COOKIES if "cookie" in target else _BEARER
    if found := header.match(text, at, stop):
        return found.end()
    end = _bare(text, at, stop)
    while end > at and (typed := _TYPED.match(text, end, stop)):  # password: str = "…"
        at = typed.end()
        opening = _QUOTE.match(text, at, stop)
        end = _bare(text, at, stop) if opening is None else _quoted(text, opening, stop)[1]
    return end


def _bare(text: str, at: int, stop: int) -> int:
    """Give where a value ends that may have brackets, with anything between them: ('a', 'b'), Basic('a', 'b')."""
    while at < stop:
        if piece := _BARE.match(text, at, stop):
            at = piece.end()
        elif text[at] in _OPENING:
            at = _closed(text, at, stop)
        else:
            break
    return at


def _closed(text: str, at: int, stop: int) -> int:
    """Give where the bracket that is opened here is closed."""
    depth = 0
    while mark := _MARK.search(text, at, stop):
        at = mark.end()
        if mark["quote"]:
            _, at = _quoted(text, mark, stop)
            continue
        depth += 1 if mark[0] in _OPENING else -1
        if not depth:
            return at
    return stop
