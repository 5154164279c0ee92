"""The text of a guest's statement: its `?` and `:name` in the words of psycopg, and the words that it begins with.

The lexical rules are PostgreSQL's, with standard_conforming_strings on, as it is unless somebody turns it off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from workqueue.errors import UsageError

_LETTER: Final = r"A-Za-z_\x80-\U0010ffff"
# What looks for its end takes the end of the text too: the server says best what is missing there.
_ESCAPED: Final = r"'(?:[^'\\]|\\.|'')*+(?:'|\\?\Z)"
_GOES_ON: Final = rf"(?:[ \t\f\v]|--[^\n\r]*+)*+[\n\r](?:\s|--[^\n\r]*+[\n\r])*+{_ESCAPED}"
_TOKEN: Final = re.compile(
    rf"""
      (?P<comment>  /\* )
    | (?P<space>    \s+ | --[^\n\r]*+ )
    | (?P<quoted>   [eE]{_ESCAPED}(?:{_GOES_ON})*+
                  | '(?:[^']|'')*+(?:'|\Z)
                  | "(?:[^"]|"")*+(?:"|\Z)
                  | (\$(?:[{_LETTER}][{_LETTER}0-9]*+)?\$)(?s:.)*?(?:\4|\Z) )
    | (?P<word>     [{_LETTER}0-9][{_LETTER}0-9$]*+ )
    | (?P<escaped>  \?\? )
    | (?P<numbered> \?[0-9]+ )
    | (?P<mark>     \? )
    | (?P<name>     :[{_LETTER}][{_LETTER}0-9]*+ )
    | (?P<other>    @\? | :: | := | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_EDGE: Final = re.compile(r"/\*|\*/")


def tokens(statement: str) -> Iterator[tuple[str, str]]:
    """Cut a statement into pieces, each with its kind: together they are the statement again."""
    at = 0
    while at < len(statement):
        kind, end = "other", at + 1
        found = _TOKEN.match(statement, at)
        if found is not None:
            kind, end = str(found.lastgroup), found.end()
        if kind == "comment":
            kind, end = "space", _end_of_comment(statement, end)
        yield kind, statement[at:end]
        at = end


def _end_of_comment(statement: str, at: int) -> int:
    depth = 1
    for edge in _EDGE.finditer(statement, at):  # they nest
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(statement)


@lru_cache(maxsize=256)
def for_sequence(statement: str) -> bytes:
    """Give the statement with %s for each `?`, and ? for `??`; one without any `?` is psycopg's own, and stays.

    Raises UsageError for `?1`, which would mean something else here than it does to SQLite.
    """
    pieces = list(tokens(statement))
    if all(kind not in {"mark", "numbered"} for kind, _ in pieces):
        return statement.encode()
    text: list[str] = []
    after_mark = False
    for kind, piece in pieces:
        if kind == "numbered":
            raise UsageError(f"expected ? or :name for a parameter, got: {piece} in {statement!r:.80}")
        if after_mark and kind == "word":
            text.append(" ")
        after_mark = kind == "mark"
        text.append("%s" if after_mark else "?" if kind == "escaped" else piece.replace("%", "%%"))
    return "".join(text).encode()


@lru_cache(maxsize=256)
def for_mapping(statement: str) -> bytes:
    """Give the statement with %(name)s for each `:name`; one without any is psycopg's own, and stays.

    What follows a word or a bracket inside of [ ] is the bound of a slice: `a[1:n]`.
    """
    text: list[str] = []
    depth = 0
    before = ""
    named = False
    for kind, piece in tokens(statement):
        depth += (kind == "other" and piece == "[") - (kind == "other" and piece == "]")
        if kind == "name" and not (depth > 0 and (before in {"word", "quoted"} or text[-1] in {")", "]"})):
            named = True
            text.append(f"%({piece[1:]})s")
        else:
            text.append(piece.replace("%", "%%"))
        before = kind
    return ("".join(text) if named else statement).encode()


def without_parameters(statement: str) -> bytes:
    """Give the statement for where psycopg looks for parameters though it has none."""
    return statement.replace("%", "%%").encode()


@lru_cache(maxsize=256)
def first_words(statement: str) -> tuple[str, ...]:
    """Give up to four words that the statement begins with, in small letters."""
    words: list[str] = []
    for kind, piece in tokens(statement):
        if kind == "word" and len(words) < 4:
            words.append(piece.lower())
        elif kind != "space" and not (piece == ";" and not words):
            break
    return tuple(words)
