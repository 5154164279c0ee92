"""Row 92 of the threats we know of: what is secret in the data of jobs reaches no log, and no terminal unless asked."""

from __future__ import annotations

import logging

import pytest
from click.testing import CliRunner
from workqueue import Queue
from workqueue.cli import group

MARKER = "hunter2-marker"


def said(*arguments: str) -> str:
    result = CliRunner().invoke(group, arguments, prog_name="workqueue")
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def path(tmp_path, caplog) -> str:
    """A file with a job that failed, whose data are secret, and whose error tells them."""
    path = str(tmp_path / "jobs.db")
    with caplog.at_level(logging.DEBUG, "workqueue"), Queue(path, auto_start=False) as queue:

        @queue.task(name="mail")
        def mail(to: str, password: str) -> None:
            if to == "ada":
                raise ConnectionError(f"login as ada with password={password} was refused")
            raise ConnectionError("no such user")

        mail.push("bob", MARKER)
        assert queue.edit(1, {"to": "bob", "password": f"{MARKER}-2"})
        queue.push("unknown", {"password": MARKER})
        queue.push_bytes("mail", b'{"password": "hunter2-marker"')
        mail.push("ada", MARKER)
        queue.start()
        while queue.size().failed < 3:
            queue.wait_idle(0.01)
    assert "password=••••••" in caplog.text
    assert MARKER not in caplog.text
    return path


def test_no_log_has_data_and_no_command_shows_a_secret(path):
    failed = said("jobs", path, "--status", "failed", "--newest")
    assert "password=••••••" in failed
    for command in (("status",), ("jobs",), ("check",), *(("why", str(job)) for job in (1, 4))):
        assert MARKER not in said(command[0], path, *command[1:])
    assert "password=••••••" in said("why", path, "4")


def test_all_there_is_of_a_job_is_shown_but_its_secrets_unless_that_is_asked(path):
    shown = said("show", path, "4")
    assert MARKER not in shown
    assert '"password": "••••••"' in shown
    assert shown.count("password=••••••") >= 3, "in its message, its error, and its traceback"
    assert said("show", path, "4", "--secrets").count(MARKER) >= 4
    assert MARKER in said("show", path, "4", "--json")
