"""Statements as texts, as both engines write them."""

from __future__ import annotations

import re

PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")


def parameters(text: str) -> list[str]:
    text = "\n".join(line.partition("--")[0] for line in text.splitlines())
    return list(dict.fromkeys(PARAMETER.findall(text)))
