"""The PostgreSQL servers that tests and proof use: they come, go, and leave nothing behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from prove.postgres import PostgresServer
from prove.postgres.databases import Databases
from workqueue.store.postgres.engine import PostgresStore

from postgres_fixtures import NOT_TESTED, VERSIONS

ROOT = Path(__file__).parents[2]
on_each_version = pytest.mark.parametrize("postgres_version", VERSIONS)


def ask(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as session:
        row = session.execute(query).fetchone()
    return row and row[0]


@on_each_version
def test_a_server_of_the_version_that_was_asked_for(postgres, postgres_version, postgres_server):
    assert str(ask(postgres, "SHOW server_version")).split(".")[0] == postgres_version


@pytest.mark.parametrize("_", range(3))
def test_each_test_has_an_empty_database(postgres, _):
    count = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname !~ '^pg_|^inf'"
    assert ask(postgres, count) == 0
    assert ask(postgres, "SHOW search_path") == '"$user", public'
    with psycopg.connect(postgres) as session:
        session.execute("CREATE SCHEMA one")
        session.execute("CREATE TABLE one.a (b int)")
        session.execute("CREATE TABLE public.a (b int)")
        session.execute(f"ALTER DATABASE {session.info.dbname} SET search_path TO one")


def test_a_session_left_open_is_told_and_ended(postgres_server, monkeypatch):
    monkeypatch.setattr("prove.postgres.databases._PATIENCE", 0.0)
    databases = Databases(postgres_server.dsn())
    with pytest.raises(AssertionError, match="forgotten: SELECT 1"), databases.lend() as url:
        left = psycopg.connect(url, application_name="forgotten", autocommit=True)
        left.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError), left:
        left.execute("SELECT 1")
    databases.close()


@on_each_version
@pytest.mark.parametrize("end", ["restart", "fast", "immediate", "kill"])
def test_what_was_committed_survives_the_end_of_the_server(postgres, postgres_server, end):
    with psycopg.connect(postgres, autocommit=True) as session:
        session.execute("CREATE TABLE kept (a int)")
        session.execute("INSERT INTO kept SELECT generate_series(1, 1000)")
        if end == "restart":
            postgres_server.restart()
        else:
            postgres_server.kill() if end == "kill" else postgres_server.stop(end)
            assert not postgres_server.running
            assert ("database system is shut down" in last_line(postgres_server)) == (end != "kill")
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(postgres)
            postgres_server.start()
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert ask(postgres, "SELECT count(*) FROM kept") == 1000


def test_a_server_that_a_test_left_dead_is_there_for_the_next(postgres_servers, postgres_version):
    with postgres_servers.database(postgres_version):
        postgres_servers.server(postgres_version).kill()
    with postgres_servers.database(postgres_version) as url:
        assert ask(url, "SELECT 1") == 1


def test_settings_and_tcp(postgres_version):
    with PostgresServer(postgres_version, durable=True, tcp=True, settings={"work_mem": "5MB"}) as server:
        url = server.dsn(tcp=True)
        assert [ask(url, f"SHOW {name}") for name in ("work_mem", "fsync", "port")] == ["5MB", "on", str(server.port)]
        server.restart()
        assert ask(url, "SHOW synchronous_commit") == "on"
        store = PostgresStore(url)
        names = ["tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout"]
        with store._database.pool.lend() as session:  # by the system's own, a client that vanished is missed for hours
            assert [session.execute(f"SHOW {name}").fetchone()[0] for name in names] == ["30", "10", "3", "20000"]
        store.close()
    assert not server.folder.exists()


def test_a_server_that_cannot_start_says_why(postgres_version):
    with pytest.raises(RuntimeError, match="no_such_setting"):
        PostgresServer(postgres_version, settings={"no_such_setting": "1"}).__enter__()


def test_binaries_below_a_closed_folder_are_copied(postgres_version, monkeypatch, tmp_path):
    from prove.postgres import server

    if os.geteuid() != 0:
        pytest.skip("only root starts servers as somebody else")
    installed = server._binaries()[postgres_version].parent
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    package = closed / installed.parent.name
    package.symlink_to(installed.parent)
    monkeypatch.setattr(server, "_binaries", lambda: {postgres_version: package / installed.name / "bin"})
    libraries = installed.parent.with_name(installed.parent.name + ".libs")
    if libraries.is_dir():
        (closed / libraries.name).symlink_to(libraries)
    with PostgresServer(postgres_version) as copied:
        assert Path(os.readlink(f"/proc/{copied.pid}/exe")).is_relative_to(copied.folder)
        assert ask(copied.dsn(), "SELECT 1") == 1


STARTS_AND_WAITS = """
import signal, sys
from prove.postgres import PostgresServer
server = PostgresServer(sys.argv[1])
server.start()
if sys.argv[2] == "dead":
    server.kill()
print(server.folder, server.pid, flush=True)
signal.pause()
"""


@pytest.mark.parametrize("server", ["alive", "dead"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_nothing_is_left_when_we_are_killed(postgres_version, postgres_server, number, server):
    segments = shared_memory()
    program = subprocess.Popen(
        [sys.executable, "-c", STARTS_AND_WAITS, postgres_version, server], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    folder, pid = program.stdout.readline().split()
    guardian = os.pidfd_open(guardian_of(folder))
    program.send_signal(number)
    program.communicate()
    assert wait_for_end(guardian)
    assert not Path(folder).exists()
    assert not is_alive(int(pid))
    assert shared_memory() <= segments


def test_the_summary_says_what_was_not_tested(tmp_path):
    (tmp_path / "conftest.py").write_text(NO_SERVER)
    (tmp_path / "test_it.py").write_text("def test_one(postgres): pass\ndef test_two(postgres_server): pass\n")

    def outcome(**variables: str) -> tuple[int, list[str]]:
        environment = {k: v for k, v in os.environ.items() if k not in ("CI", "WORKQUEUE_TEST_POSTGRES")} | variables
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "tests"), str(ROOT), *sys.path])
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        return done.returncode, [line for line in done.stdout.splitlines() if line.startswith(NOT_TESTED)]

    code, [line] = outcome()
    assert code == 0
    assert "PostgreSQL" in line
    assert line.endswith("(2 tests)")
    assert outcome(CI="true") == (1, [])


def last_line(server: PostgresServer) -> str:
    return server.log().splitlines()[-1]


NO_SERVER = """
pytest_plugins = ["postgres_fixtures"]

def pytest_configure():
    import postgres_fixtures
    postgres_fixtures.VERSIONS = ("none",)
"""


def guardian_of(folder: str) -> int:
    [pid] = [
        int(cmdline.parent.name)
        for cmdline in Path("/proc").glob("[0-9]*/cmdline")
        if "guardian.py" in (said := read(cmdline)) and folder in said
    ]
    return pid


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def wait_for_end(handle: int) -> bool:
    ended = bool(select.select([handle], [], [], 30)[0])
    os.close(handle)
    return ended


def is_alive(pid: int) -> bool:
    return read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()[:1] not in ([], ["Z"])


def shared_memory() -> set[str]:
    """Name the segments of System V that no process is attached to."""
    lines = read(Path("/proc/sysvipc/shm")).splitlines()[1:]
    return {line.split()[1] for line in lines if line.split()[6] == "0"}
