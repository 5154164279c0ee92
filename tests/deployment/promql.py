"""Reads from an expression of PromQL which metrics and labels it names. Whether it is one, promtool says."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<time>\[[^\]]*\])
    |(?P<name>[A-Za-z_:][\w:]*)|(?P<number>\d[\w.]*)|(?P<sign>=~|!~|!=|==|<=|>=|[-+*/%^=<>(){},]))""",
    re.VERBOSE,
)
_GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_WORDS = {"and", "or", "unless", "bool", "offset"}


@dataclass
class Named:
    """What an expression names. metrics: with the matchers of each place; labels: those that it groups by."""

    metrics: list[tuple[str, list[tuple[str, str, str]]]] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)


def named(expression: str) -> Named:
    """Read it. Raises ValueError for what no token of PromQL is."""
    tokens = _tokens(expression)
    found = Named()
    at = 0
    while at < len(tokens):
        kind, text = tokens[at]
        at += 1
        after = tokens[at][1] if at < len(tokens) else ""
        if kind != "name" or text in _WORDS:
            continue
        if text in _GROUPING:
            inside, at = _until(tokens, at, ")")
            found.labels |= {word for kind, word in inside if kind == "name"}
        elif after == "{":
            inside, at = _until(tokens, at, "}")
            words = [word for _, word in inside if word not in ("{", "}", ",")]
            found.metrics.append(
                (text, [(words[n], words[n + 1], words[n + 2][1:-1]) for n in range(0, len(words), 3)])
            )
        elif after != "(" and not (at < len(tokens) and tokens[at][1] in _GROUPING):
            found.metrics.append((text, []))
    return found


def _until(tokens: list[tuple[str, str]], at: int, closing: str) -> tuple[list[tuple[str, str]], int]:
    end = next(n for n in range(at, len(tokens)) if tokens[n][1] == closing)
    return tokens[at : end + 1], end + 1


def _tokens(expression: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    text = expression.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"expected PromQL, got: {text[at : at + 20]!r}")
        found.append((str(match.lastgroup), match[match.lastgroup or 0]))
        at = match.end()
    return found
