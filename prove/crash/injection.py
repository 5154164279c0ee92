"""Injection: a program dies on entering its Nth call of a system call, in whichever thread, by strace's own hand."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from typing import Final

SYSCALLS: Final = ("pwrite64", "fdatasync", "ftruncate", "unlink", "sendto", "fsync", "fcntl")
# fcntl is nearly all locks, a hundred for each start; the others come once or a few times in a transaction.
_STRIDE: Final = {"fcntl": 7, "pwrite64": 3}
_FURTHEST: Final = {
    "pwrite64": 200,
    "fdatasync": 40,
    "ftruncate": 4,
    "unlink": 6,
    "sendto": 40,
    "fsync": 4,
    "fcntl": 700,
}


def point(number: int) -> tuple[str, int]:
    """Give the numbered point of the sweep: the calls in turn, and their N upwards, round and round."""
    turn, which = divmod(number, len(SYSCALLS))
    call = SYSCALLS[which]
    return call, 1 + turn * _STRIDE.get(call, 1) % _FURTHEST[call]


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
