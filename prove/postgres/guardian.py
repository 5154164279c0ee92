"""Waits for the end of its input, ends the servers of a folder and removes it. A program; imports nothing of ours."""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

PATIENCE = 10.0  # seconds
IPC_RMID = 0


def main(folder: Path) -> None:
    sys.stdin.buffer.read()
    # What was being started when we were left alone may yet write its pid or its files: until nothing is left.
    for _ in range(100):
        for pid_file in [*folder.glob("*.pid"), *folder.glob("*/postmaster.pid")]:
            with suppress(OSError, ValueError):  # gone meanwhile, or not yet written to its end
                end(pid_file)
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)
    sys.exit(f"{folder} could not be removed")


def end(pid_file: Path) -> None:
    """End a server at once, its children and its shared memory with it."""
    lines = pid_file.read_text().splitlines()
    pid = int(lines[0])
    postgres = pid_file.name == "postmaster.pid"
    try:
        handle = os.pidfd_open(pid)
        ours = Path(os.readlink(f"/proc/{pid}/cwd")).is_relative_to(pid_file.parent)
    except OSError:
        ours = False
    if ours:
        # PostgreSQL's immediate shutdown. Others have nothing to take along, and may have been told to ignore it.
        signal.pidfd_send_signal(handle, signal.SIGQUIT if postgres else signal.SIGKILL)
        signal.pidfd_send_signal(handle, signal.SIGCONT)
        if not select.select([handle], [], [], PATIENCE)[0]:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    elif postgres:
        # It was killed, and could not give back its segment.
        ctypes.CDLL(None).shmctl(int(lines[6].split()[1]), IPC_RMID, None)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
