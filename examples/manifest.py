"""Make a fixity manifest of a folder, as archives do: the SHA-256 and the size of every file in it.

    python examples/manifest.py FOLDER

Each file is one job. Press Ctrl-C, kill -9 it or pull the plug, and run it again: it goes on where it stopped, and no
line is missing or doubled, because two things commit together, twice:

    a file is noted as walked   in the transaction that pushes its job;
    its checksum is stored      in the transaction that completes its job.

The result is manifest-of-FOLDER/SHA256SUMS, for `sha256sum -c` to be run in FOLDER. The queue, and the tables `walked`
and `manifest` beside it, are in manifest-of-FOLDER/jobs.db, or in a database: --queue postgresql://HOST/NAME. Files
that came since the last run are added.
"""

import hashlib
import logging
import os
import shlex
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click

from workqueue import Context, Job, Queue

TABLES = (
    "CREATE TABLE IF NOT EXISTS source (folder BLOB PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS walked (path BLOB PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS manifest (path BLOB PRIMARY KEY, sha256 TEXT NOT NULL, size BIGINT NOT NULL)",
)


def dialect(sql: str, path: str) -> str:
    """Give a statement in the words of what keeps the queue at `path`: they differ in two."""
    return sql.replace("BLOB", "BYTEA").replace("?", "%s") if path.startswith(("postgresql://", "postgres://")) else sql


class Hasher:
    """The worker: one job is one file. Paths are bytes, as the system has them: not every file name is text."""

    def __init__(self, folder: Path, queue: str) -> None:
        self._folder = os.fsencode(folder)
        self._insert = dialect("INSERT INTO manifest VALUES (?, ?, ?)", queue)

    def id(self) -> str:
        return "hasher"

    def do_work(self, ctx: Context, job: Job) -> None:
        """Store the checksum and complete the job, in one commit. An OSError fails the job, and is kept with it."""
        path = job.decode(bytes)
        with open(os.path.join(self._folder, path), "rb", buffering=0) as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
        with ctx.transaction() as database:
            database.execute(self._insert, (path, sha256, size))


def make_tables(queue: Queue, folder: Path) -> None:
    """Make the program's own tables beside the jobs. They are of this one folder."""
    source = os.fsencode(folder)
    with queue.transaction() as database:
        for table in TABLES:
            database.execute(dialect(table, queue.path))
        note = "INSERT INTO source SELECT ? WHERE NOT EXISTS (SELECT 1 FROM source)"
        database.execute(dialect(note, queue.path), [source])
        if database.execute("SELECT folder FROM source").fetchone() != (source,):
            raise click.UsageError(f"{queue.path} is of another folder; choose another one with --out, or --queue")


def walk(queue: Queue, folder: Path, out: Path, skip: frozenset[bytes]) -> list[OSError]:
    """Push a job for every file that was not walked before; give what could not be listed."""
    unlisted: list[OSError] = []
    files = regular_files(os.fsencode(folder), os.fsencode(out), skip, unlisted)
    while batch := list(islice(files, 1000)):
        with queue.transaction() as database:
            note = dialect("INSERT INTO walked VALUES (?) ON CONFLICT DO NOTHING", queue.path)
            queue.push_many("hash", [path for path in batch if database.execute(note, [path]).rowcount])
    return unlisted


def regular_files(top: bytes, out: bytes, skip: frozenset[bytes], unlisted: list[OSError]) -> Iterator[bytes]:
    """Give every regular file below `top`, as its path from there. Symbolic links are not followed.

    out, skip: the folder, and the names of folders, that are left out.
    """
    start = len(os.path.join(top, b""))
    folders = [top]
    while folders:
        try:
            entries = sorted(os.scandir(folders.pop()), key=lambda entry: entry.name)
            files = [entry.path[start:] for entry in entries if entry.is_file(follow_symlinks=False)]
            inner = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError as error:
            unlisted.append(error)
        else:
            folders += [entry.path for entry in inner if entry.path != out and entry.name not in skip]
            yield from files


def watch(queue: Queue) -> None:
    """Show the progress until all is done: a bar on a terminal, else a line every five seconds."""
    total = queue.size().waiting
    on_terminal = sys.stdout.isatty()
    with click.progressbar(length=total, label=f"hashing {total:,} files", show_pos=True) as bar:
        while not queue.wait_idle(timeout=0.5 if on_terminal else 5):
            bar.update(total - queue.size().waiting - bar.pos)
            if not on_terminal:
                click.echo(f"hashed {bar.pos:,} of {total:,}")
        bar.update(total - bar.pos)


def write_manifest(queue: Queue, target: Path) -> None:
    """Put the manifest in place, whole or not at all."""
    part = target.with_name(f"{target.name}.part")
    with queue.transaction() as database, part.open("wb") as file:
        rows = database.execute("SELECT path, sha256 FROM manifest ORDER BY path")
        file.writelines(manifest_line(path, sha256) for path, sha256 in iter(rows.fetchone, None))
        file.flush()
        os.fsync(file.fileno())
        files, size = database.execute("SELECT count(*), coalesce(sum(size), 0) FROM manifest").fetchone()
    part.replace(target)
    click.echo(f"{files:,} files with {size:,} bytes are in {click.format_filename(target)}")


def manifest_line(path: bytes, sha256: str) -> bytes:
    """Give the line that sha256sum writes: a name that would break the line is escaped, and a backslash says so."""
    name = path.replace(b"\\", rb"\\").replace(b"\n", rb"\n").replace(b"\r", rb"\r")
    mark = b"\\" if name != path else b""
    return mark + sha256.encode() + b"  " + (b"./-" if name == b"-" else name) + b"\n"  # a lone - would mean stdin


def make_manifest(queue: Queue, folder: Path, out: Path, *, skip: frozenset[bytes], retry_failed: bool) -> int:
    """Walk, hash, write; give the exit code."""
    make_tables(queue, folder)
    if retry_failed:
        queue.restore_failed_jobs()
    unlisted = walk(queue, folder, out, skip)
    if queue.size().waiting:
        queue.start()
        watch(queue)
    else:
        click.echo("nothing is left to do: it had finished before")
    write_manifest(queue, out / "SHA256SUMS")
    problems = [*map(str, unlisted), *(job.message for job in queue.jobs(status="failed", limit=1_000_000))]
    for problem in problems:
        click.echo(f"not in it: {problem}", err=True)
    if problems:
        click.echo("run it with --retry-failed once they can be read", err=True)
    return 1 if problems else 0


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path))
@click.option("--out", metavar="DIR", type=click.Path(file_okay=False, resolve_path=True, path_type=Path))
@click.option("--queue", "where", metavar="FILE|URL", help="Keep the queue there, and not in DIR/jobs.db.")
@click.option("--concurrency", metavar="N", type=click.IntRange(min=1), default=os.cpu_count())
@click.option("--skip", metavar="NAME", multiple=True, help="Leave out folders of this name; may be repeated.")
@click.option("--retry-failed", is_flag=True, help="Try the files again that could not be read.")
def main(
    folder: Path, *, out: Path | None, where: str | None, concurrency: int, skip: tuple[str, ...], retry_failed: bool
) -> None:
    """Write the SHA-256 of each file below FOLDER to DIR/SHA256SUMS (DIR: manifest-of-FOLDER). Run again to go on."""
    out = out or Path(f"manifest-of-{folder.name}").absolute()
    if out == folder:
        raise click.UsageError("expected DIR to be another folder than FOLDER")
    out.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=out / "log", format="%(asctime)s %(levelname)s %(message)s")
    try:  # on Ctrl-C, what ends within the grace is finished, and the rest handed back
        where = where or str(out / "jobs.db")
        hasher = Hasher(folder, where)
        with Queue(where, hasher, concurrency=concurrency, auto_start=False, grace=1) as queue:
            names = frozenset(map(os.fsencode, skip))
            sys.exit(make_manifest(queue, folder, out, skip=names, retry_failed=retry_failed))
    except KeyboardInterrupt:
        click.echo(f"\nstopped; to go on: {shlex.join([sys.executable, *sys.argv])}")
        sys.exit(130)


if __name__ == "__main__":
    main()
