"""Injection: a program dies on entering its Nth call of a system call, in whichever thread, by strace's own hand."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from typing import Final, NamedTuple


class _Call(NamedTuple):
    """How far its N goes, and by which steps."""

    furthest: int
    stride: int = 1


class Sweep:
    """A way through system calls, each at its first, second, … time."""

    def __init__(self, calls: Mapping[str, _Call]) -> None:
        self._calls = calls

    @property
    def calls(self) -> tuple[str, ...]:
        return tuple(self._calls)

    def point(self, number: int) -> tuple[str, int]:
        """Give the numbered point of the sweep: the calls in turn, and their N upwards, round and round."""
        turn, which = divmod(number, len(self._calls))
        name, call = list(self._calls.items())[which]
        return name, 1 + turn * call.stride % call.furthest


FILE: Final = Sweep(
    {
        "pwrite64": _Call(200, 3),
        "fdatasync": _Call(40),
        "ftruncate": _Call(4),
        "unlink": _Call(6),
        "sendto": _Call(40),
        "fsync": _Call(4),
        "fcntl": _Call(700, 7),  # nearly all are locks, a hundred for each start; the others are few in a transaction
    }
)
CONNECTION: Final = Sweep({"sendto": _Call(300, 3), "recvfrom": _Call(300, 5), "connect": _Call(4)})


def command(call: str, nth: int) -> list[str]:
    """Give the command by which a program dies there. strace counts the calls of each thread by themselves."""
    return ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", "signal=none",
            "-e", f"inject={call}:signal=SIGKILL:when={nth}"]  # fmt: skip


@cache
def why_not() -> str:
    """Say why it cannot be done here; "" when it can."""
    if shutil.which("strace") is None:
        return "strace is not installed: no deaths at a system call"
    tried = subprocess.run([*command("unlink", 1), "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"strace may not trace here ({tried.stderr.strip()[:80]}): no deaths at a system call"
    return ""
