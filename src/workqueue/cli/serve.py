"""serve: the dashboard by itself, on a server of its own."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote

import click

from workqueue.cli.command import Command, examples
from workqueue.cli.loading import app_named, load
from workqueue.cli.options import existing, store_argument
from workqueue.cli.output import say
from workqueue.errors import UsageError
from workqueue.logs import Log
from workqueue.queue import Queue
from workqueue.store.contract import Store

log = Log("workqueue.cli")

_PORT: Final = 8585
_APP: Final = re.compile(r"[\w.]+:[\w.]+")


@click.command(
    cls=Command,
    short_help="Serve the dashboard, until a signal.",
    epilog=examples(
        "workqueue serve jobs.db",
        "workqueue serve jobs.db --allow-write --port 9000",
        "workqueue serve app.tasks:queue --allow-write   # schedules can be run from there too",
        "workqueue serve jobs.db --host 0.0.0.0 --auth auth.txt --allow-host jobs.example.org",
    ),
)
@store_argument("file", "FILE")
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen there; others than yourself need --auth.")
@click.option("--port", type=click.IntRange(0, 65535), default=_PORT, show_default=True, help="0: any that is free.")
@click.option(
    "--auth",
    metavar="USER:PASSWORD|PATH",
    envvar="WORKQUEUE_AUTH",
    help="Who may ask: a name and a password; or a file, readable by you alone, with those or with a token.",
)
@click.option("--allow-write", is_flag=True, help="Let people act on jobs from there, and not only look.")
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="By what name browsers may ask for it.")
@click.option("--hide", multiple=True, metavar="NAME", help="Hide data of this name too, as those called password.")
def serve(
    file: str,
    *,
    host: str,
    port: int,
    auth: str | None,
    allow_write: bool,
    hosts: tuple[str, ...],
    hide: tuple[str, ...],
) -> None:
    """Serve the dashboard of FILE, or of the store of a Queue object such as app.tasks:queue, until a signal.

    Without --auth it is for you alone: open the link that is printed. It is good for one browser; then another one is.
    """
    from workqueue import dashboard
    from workqueue.dashboard.access import Links, read_auth
    from workqueue.dashboard.server import Server

    address = _address(host)
    if auth is None and not address.is_loopback:
        raise UsageError(f"expected --auth with --host {host}, where others can reach it, got none")
    secret = None if auth is None else read_auth(auth)
    shown = f"[{address}]" if address.version == 6 else str(address)
    with _listening(address, port) as listening:
        here = f"http://{'localhost' if address.is_unspecified else shown}:{listening.getsockname()[1]}"
        links = None if secret else Links(lambda key: _tell(f"for another browser: {_link(here, key)}"))
        with _opened(file) as place:
            app = dashboard.app(
                place,
                read_only=not allow_write,
                auth=secret or dashboard.Token(secrets.token_urlsafe(32)),
                hosts=[*hosts, shown],
                any_address=address.is_unspecified,
                redact=[*dashboard.SECRETS, *hide],
                links=links,
            )
            say(f"the dashboard of {app.path}, {'which may change it' if allow_write else 'read-only'}, until Ctrl-C:")
            say(f"{here}/" if links is None else _link(here, links.new()))
            try:
                Server(app).run(sockets=[listening])
            finally:
                app.close()


@contextmanager
def _opened(said: str) -> Generator[Store | Queue]:
    if _APP.fullmatch(said) and not os.path.exists(said):
        with load(app_named(said)) as queue:
            yield queue
    else:
        with existing(said) as store:
            yield store


def _tell(line: str) -> None:
    """Print it, if anybody reads that: who opened a link is let in all the same."""
    try:
        say(line)
    except OSError as error:
        log.warning("expected somebody to read the link for another browser, got: %s; for one, start it anew", error)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor must the flush at the end fail


def _link(here: str, key: str) -> str:
    return f"{here}/sign-in?key={quote(key)}"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
    except ValueError as error:
        raise UsageError(f"expected --host to be an address of this machine, such as 0.0.0.0, got: {host!r}") from error


def _listening(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> socket.socket:
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        return socket.create_server((str(address), port), family=family)
    except OSError as error:
        raise UsageError(
            f"expected to listen on port {port} of {address}: {error.strerror}; --port 0 takes any that is free"
        ) from error
