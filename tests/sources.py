"""Python sources as trees, for tests about the code itself."""

from __future__ import annotations

import ast
import gc


def parsed(source: str) -> ast.Module:
    """Parse in peace: CPython 3.11 and 3.12 fail when the collector ends a task whose traceback is then printed.

    Printing a traceback parses too, and both count in one place: "AST constructor recursion depth mismatch".
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        if was_on:
            gc.enable()
