"""PgBouncer in transaction mode, in front of a server: each transaction may meet another session."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import conninfo, sql

from prove.postgres.place import Place

_PATIENCE: Final = 30.0  # seconds
_PORT: Final = 6432

# All else is as it comes: what a client may send to a PgBouncer that nobody has tuned is what we may send.
_SETTINGS: Final = {"pool_mode": "transaction", "max_client_conn": "1000", "default_pool_size": "5"}


def found() -> Path | None:
    """Say where the program is; Debian's is not in the path of all users."""
    path = shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    return Path(path) if path else None


class PgBouncer:
    """A pooler of our own before the server of a URL; `url` leads to the same database through it.

    settings: as in its [pgbouncer] section. users: the roles that may come, beside that of the URL; nobody is asked
    for a password.
    """

    def __init__(self, url: str, *, users: tuple[str, ...] = (), settings: Mapping[str, str] | None = None) -> None:
        program = found()
        assert program, "ask found() first"
        self._program = program
        self._place = Place()
        self._folder = self._place.folder
        self._log = self._folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        server = conninfo.conninfo_to_dict(url)
        address = " ".join(f"{key}={server[key]}" for key in ("host", "port", "password") if key in server)
        section = _SETTINGS | {
            "listen_port": str(_PORT),
            "unix_socket_dir": str(self._folder),
            "pidfile": str(self._folder / "pgbouncer.pid"),
            "auth_type": "trust",
            "auth_file": str(self._folder / "users"),
            "admin_users": str(server.get("user", "postgres")),
        }
        lines = [f"{name} = {value}" for name, value in (section | dict(settings or {})).items()]
        self._write("pgbouncer.ini", ["[databases]", f"* = {address}", "[pgbouncer]", *lines])
        self._write("users", [f'"{user}" ""' for user in (str(server.get("user", "postgres")), *users)])
        self.url = self._through(url)

    def _through(self, url: str) -> str:
        parts = urlsplit(url)
        who = parts.netloc.rpartition("@")[0]
        return f"postgresql://{who}@{parts.path}?host={quote(str(self._folder))}&port={_PORT}"

    def start(self) -> None:
        """Return when it answers. Raises RuntimeError with what it said."""
        self._process = self._place.start(self._program, self._folder / "pgbouncer.ini", log=self._log)
        deadline = time.monotonic() + _PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PgBouncer did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.005)

    def kill(self) -> None:
        """SIGKILL; it can be started again."""
        assert self._process is not None, "it was not started"
        self._process.kill()
        self._process.wait(_PATIENCE)

    @contextmanager
    def lend(self, url: str) -> Iterator[str]:
        """Lend the way through it to a database of that server; at the end, nobody is connected to that any more."""
        try:
            yield self._through(url)
        finally:
            name = sql.Identifier(urlsplit(url).path.removeprefix("/"))
            console = self._through(urlsplit(url)._replace(path="/pgbouncer").geturl())
            with psycopg.connect(console, autocommit=True) as ours:
                for command in ("KILL {}", "RESUME {}"):
                    ours.execute(sql.SQL(command).format(name))

    def close(self) -> None:
        self._place.remove()
        if self._process is not None:
            self._process.wait(_PATIENCE)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as tried, suppress(OSError):
            tried.connect(str(self._folder / f".s.PGSQL.{_PORT}"))
            return True
        return False

    def _write(self, name: str, lines: list[str]) -> None:
        path = self._folder / name
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o644)  # it is read as another user
