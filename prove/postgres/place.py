"""A short temporary folder for a server of ours, and the guardian that ends what runs there when we are gone."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_SOCKET_PATH_LIMIT: Final = 100  # bytes; the kernel's is 107, some systems' 103
_LONGEST_NAME: Final = len("/workqueue-12345678/.s.PGSQL.54321")


class Place:
    """A folder whose programs run as an unprivileged user, and which does not outlive this process.

    The guardian is a process of its own, held by a pipe: it ends the programs and removes the folder when told to, and
    also when this process was killed, by whatever signal. A process that we forked holds the pipe too.
    """

    def __init__(self) -> None:
        # Read, never set: a test may stand in a folder whose name is too long for a socket.
        short = None if len(tempfile.gettempdir()) + _LONGEST_NAME <= _SOCKET_PATH_LIMIT else "/tmp"  # noqa: S108
        self.folder = Path(tempfile.mkdtemp(prefix="workqueue-", dir=short))
        self._guardian = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("guardian.py")), str(self.folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C and the end of a terminal are meant for us
        )
        self._identity: dict[str, object] = {}
        if os.geteuid() == 0:  # PostgreSQL and PgBouncer refuse to be root
            nobody = pwd.getpwnam("nobody")
            self._identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)

    def reachable(self, binaries: Path) -> Path:
        """Give the folder of binaries, copied to where the unprivileged user may run them if it may not here.

        A virtual environment below a home directory of mode 0700 is such a case; its modes are not ours to change.
        """
        try:
            self.run(binaries / "postgres", "--version")
        except PermissionError:
            installed = binaries.parent
            # The libraries of a wheel lie beside its package, and are found from there: NAME/…/bin, NAME.libs.
            package = installed.parent
            copy = self.folder / "copied" / package.name / installed.name
            shutil.copytree(installed, copy, symlinks=True, ignore=shutil.ignore_patterns("include", "pgxs"))
            libraries = package.with_name(package.name + ".libs")
            if libraries.is_dir():
                shutil.copytree(libraries, self.folder / "copied" / libraries.name)
            subprocess.run(["chmod", "-R", "a+rX", str(self.folder / "copied")], check=True)
            return copy / binaries.name
        return binaries

    def run(self, *command: object) -> None:
        """Run a program to its end as the unprivileged user. Raises RuntimeError with what it said when it failed."""
        done = subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **self._common(),
        )
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stdout}")

    def start(self, *command: object, log: Path) -> subprocess.Popen[bytes]:
        """Start a program as the unprivileged user; what it says is appended to `log`."""
        with log.open("ab") as said:
            return subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                **self._common(),
            )

    def remove(self) -> None:
        """End what still runs here, and remove the folder."""
        self._guardian.communicate(b"end")

    def _common(self) -> dict[str, object]:
        return self._identity | {"cwd": self.folder, "env": _environment(self.folder)}


def _environment(home: Path) -> Mapping[str, str]:
    # Neither the PG* variables of who runs the tests nor their locale.
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC", "HOME": str(home)}
