"""The dashboard inside other applications: below a path, under their lifespan, with their say on who may see it."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from dashboard_support import HERE, Visitor, text_of
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from workqueue import Queue
from workqueue.dashboard import app
from workqueue.errors import UnsuitableFile


async def other(request):
    return PlainTextResponse("the application itself")


def below(dashboard):
    """What docs/dashboard.md tells users of Django to do."""

    async def application(scope, receive, send):
        if scope["type"] == "http" and scope["path"].startswith("/queue/"):
            await dashboard({**scope, "root_path": scope.get("root_path", "") + "/queue"}, receive, send)
        else:
            await PlainTextResponse("the application itself")(scope, receive, send)

    return application


@pytest.fixture(params=["starlette", "django"])
def mounted(request, visit, queue):
    dashboard = visit(read_only=False).app
    if request.param == "starlette":
        return Visitor(Starlette(routes=[Route("/", other), Mount("/queue", dashboard)]))
    return Visitor(below(dashboard))


def test_every_address_is_below_where_it_is_mounted(mounted, queue):
    queue.push("task")
    assert mounted.get("/").text == "the application itself"
    for path in ("/queue/", "/queue/jobs", "/queue/jobs/1", "/queue/queue?id=default", "/queue/confirm?deed=cancel"):
        answer = mounted.get(path)
        assert answer.status_code == 200, path
        addresses = re.findall(r'(?:href|src|action)="([^"#]+)"', answer.text)
        assert addresses
        assert [address for address in addresses if not address.startswith("/queue/")] == []
        for address in addresses:
            if "/static/" in address:
                assert mounted.get(address).status_code == 200


def test_forms_lead_back_below_it(mounted, queue):
    job_id = queue.push("task")
    token = mounted.csrf("/queue/jobs")
    answer = mounted.post("/queue/act/jobs", data={"csrf": token, "deed": "cancel", "id": job_id, "back": "/jobs"})
    assert str(answer.url) == f"{HERE}/queue/jobs?said=cancelled&n=1"
    assert str(queue.get(job_id).status) == "cancelled"
    assert mounted.get("/queue/jobs").text.count('name="back" value="/jobs"') == 2


def test_cookies_are_for_below_it(mounted):
    cookies = mounted.get("/queue/").headers.get_list("set-cookie")
    assert all("Path=/queue;" in cookie for cookie in cookies)
    assert cookies


def test_two_dashboards_beside_each_other_have_cookies_of_their_own(tmp_path):
    names = set()
    for name in ("a", "b"):
        with Queue(tmp_path / name, auto_start=False) as queue:
            dashboard = app(queue)
            [cookie] = Visitor(dashboard).get("/").headers.get_list("set-cookie")
            names.add(cookie.partition("=")[0])
            dashboard.close()
    assert len(names) == 2


def test_a_path_is_enough_and_what_is_none_is_told_at_once(tmp_path, queue):
    queue.push("task")
    dashboard = app(tmp_path / "jobs.db")
    assert "task" in text_of(Visitor(dashboard).get("/jobs").text)
    dashboard.close()
    dashboard.close()
    with pytest.raises(UnsuitableFile):
        app(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_a_queue_in_memory_can_be_looked_at_too():
    with Queue(":memory:", auto_start=False) as queue:
        queue.push("task")
        dashboard = app(queue)
        assert "task" in text_of(Visitor(dashboard).get("/jobs").text)
        dashboard.close()
        assert queue.size().waiting == 1


def test_a_dashboard_of_a_database_shows_the_same(postgres):
    with Queue(postgres, auto_start=False) as queue:
        queue.push("task", {"a": 1})
    dashboard = app(postgres, read_only=False)
    visitor = Visitor(dashboard)
    for path in ("/", "/jobs", "/jobs/1", "/queue?id=default", "/tasks", "/schedules", "/batches", "/runners"):
        assert visitor.get(path).status_code == 200, path
    assert "1 job is tried again" not in visitor.fill("/act/jobs", deed="cancel", id="1").text
    assert "cancelled" in text_of(visitor.get("/jobs/1").text)
    dashboard.close()


def test_a_name_that_no_queue_of_a_database_has_is_refused(postgres):
    with Queue(postgres, auto_start=False):
        dashboard = app(postgres, read_only=False)
        visitor = Visitor(dashboard)
        answers = [
            visitor.get("/queue?id=a%00"),
            visitor.fill("/act/pause", queue="a\0", deed="pause"),
            visitor.fill("/act/pause", queue="a", name="b\0", deed="resume"),
            visitor.fill("/act/schedule", queue="a", name="b\0", deed="pause"),
        ]
        dashboard.close()
    for answer in answers:
        assert answer.status_code == 400
        assert "without NUL" in text_of(answer.text)


def test_without_the_extra_the_error_names_it(tmp_path):
    program = (
        "import sys; sys.modules[{0!r}] = None\n"
        "import workqueue\n"
        "from workqueue.errors import UsageError\n"
        "try:\n    import workqueue.dashboard.server\n"
        "except UsageError as error: print(error)\n"
    )
    for missing in ("starlette", "jinja2", "uvicorn"):
        done = subprocess.run([sys.executable, "-c", program.format(missing)], capture_output=True, text=True)
        assert f"expected {missing}" in done.stdout, done
        assert "pip install '.[dashboard]' in a clone of workqueue" in done.stdout


def test_the_core_needs_none_of_it():
    asked = "import sys, workqueue, workqueue.cli; print({'starlette', 'jinja2', 'uvicorn'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True).stdout == "set()\n"


def test_the_wheel_has_the_pages(tmp_path):
    import zipfile

    root = Path(__file__).parents[2]
    build = "from hatchling.builders.wheel import WheelBuilder; print(next(WheelBuilder('.').build(directory={!r})))"
    done = subprocess.run([sys.executable, "-c", build.format(str(tmp_path))], cwd=root, capture_output=True, text=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    folder = root / "src" / "workqueue" / "dashboard"
    wanted = {
        str(path.relative_to(root / "src"))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted - names == set(), done.stderr
    assert {"workqueue/dashboard/static/uplot.min.js", "workqueue/dashboard/templates/base.html"} <= names
    assert any(name.endswith("licenses/src/workqueue/dashboard/static/uplot.LICENSE.txt") for name in names)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("uplot.min.js", "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"),
        ("uplot.min.css", "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"),
    ],
)
def test_what_others_wrote_is_what_they_published(name, digest):
    """uPlot 1.6.32, as npm has it."""
    folder = Path(__file__).parents[2] / "src" / "workqueue" / "dashboard" / "static"
    assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
