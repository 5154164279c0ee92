"""The files of deploy/ for systemd, containers and Kubernetes: their commands are real ones, and all fits together.

That Kubernetes takes the manifests was seen with kubernetes-validate --strict; its schemas are too large to test with.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from configparser import RawConfigParser
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from held import told
from workqueue import Queue
from workqueue.duration import parse_duration

from lines import PATIENCE, Lines
from postgres_fixtures import missing
from support import until

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
MARGIN = timedelta(seconds=10)  # from the end of the grace, to hand back what still runs


def documents(folder: str) -> list[dict[str, Any]]:
    return [one for path in sorted((DEPLOY / folder).glob("*.yaml")) for one in yaml.safe_load_all(path.read_text())]


KUBERNETES = {(one["kind"], one["metadata"]["name"]): one for one in documents("kubernetes")}
[COMPOSE] = documents("docker")
WITH_PODS = [one for one in KUBERNETES.values() if "template" in one.get("spec", {})]
TEMPLATES: dict[str, dict[str, Any]] = {one["metadata"]["name"]: one["spec"]["template"] for one in WITH_PODS}
DOCKERFILE = (DEPLOY / "docker" / "Dockerfile").read_text()
DOCKER_STEPS: list[tuple[str, str]] = re.findall(r"^([A-Z]+) (.*)$", DOCKERFILE.replace("\\\n", ""), re.MULTILINE)
DOCKER = dict(DOCKER_STEPS)
COMMAND: list[str] = json.loads(DOCKER["CMD"])


def unit(path: Path) -> dict[str, dict[str, str]]:
    parser = RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(path)
    return {section: dict(parser[section]) for section in parser.sections()}


def exec_start(path: Path) -> list[str]:
    return shlex.split(unit(path)["Service"]["ExecStart"])


def container(name: str) -> dict[str, Any]:
    [found] = TEMPLATES[name]["spec"]["containers"]
    return found


def commands() -> dict[str, list[str]]:
    """Give what follows `workqueue` in each file."""
    found = {path.name: exec_start(path)[1:] for path in UNITS}
    found["Dockerfile"] = COMMAND
    found |= {f"compose {name}": one["command"] for name, one in COMPOSE["services"].items() if "command" in one}
    return found | {f"kubernetes {name}": container(name)["args"] for name in TEMPLATES}


COMMANDS = commands()


def port(words: list[str]) -> int:
    [said] = re.findall(r"--(?:metrics-)?port[= ](\d+)", " ".join(words)) or ["8585"]
    return int(said)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_taken_as_it_stands(name, monkeypatch, tmp_path):
    said = told(COMMANDS[name], monkeypatch, tmp_path)
    if COMMANDS[name][0] == "run":
        assert said["target"] == "app.tasks:queue"
        assert said["grace"] and said["metrics_port"]
    elif COMMANDS[name][0] == "serve":
        assert said["allow_write"] is False, "an example only looks"


def test_files_that_are_meant_to_be_there():
    assert {path.name for path in UNITS} == {"workqueue.service", "workqueue-dashboard.service"}
    assert {kind for kind, _ in KUBERNETES} == {
        *("Secret", "Job", "Deployment", "PodDisruptionBudget", "Service", "PodMonitor"),
    }


def test_no_image_names_where_it_is_fetched_from():
    images = [one["image"] for template in TEMPLATES.values() for one in template["spec"]["containers"]]
    images += [one["image"] for one in COMPOSE["services"].values()]
    images += [step.split()[0] for word, step in DOCKER_STEPS if word == "FROM"]
    assert {image.partition(":")[0] for image in images} == {"workqueue", "postgres", "python"}
    assert all("/" not in image for image in images)


# who ends it gives more time than the grace


def test_who_sends_sigterm_waits_longer_than_the_grace():
    """That the first SIGTERM drains within it is shown by tests/faces/test_run.py."""
    graces = {
        "workqueue.service": unit(DEPLOY / "systemd" / "workqueue.service")["Service"]["TimeoutStopSec"],
        "kubernetes workqueue-workers": f"{TEMPLATES['workqueue-workers']['spec']['terminationGracePeriodSeconds']}s",
        "Dockerfile": COMPOSE["services"]["workers"]["stop_grace_period"],  # whose command is the image's
    }
    assert {name for name, words in COMMANDS.items() if words[0] == "run"} == set(graces)
    for name, given in graces.items():
        [grace] = re.findall(r"--grace[= ](\w+)", " ".join(COMMANDS[name]))
        assert parse_duration(given) >= parse_duration(grace) + MARGIN, name
    assert "--time 45" in DOCKERFILE, "more than the grace of its command"


# probes


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name != "workqueue-migrate"])
def test_probes_ask_where_the_process_answers(name):
    told = container(name)
    [named] = told["ports"]
    assert named["containerPort"] == port(told["args"])
    assert "--host=0.0.0.0" in told["args"] or "--metrics-host=0.0.0.0" in told["args"], "a probe comes from outside"
    probes = {kind: told[kind]["httpGet"] for kind in told if kind.endswith("Probe")}
    assert {"livenessProbe", "readinessProbe"} <= probes.keys()
    for kind, probe in probes.items():
        assert probe == {"path": "/livez" if kind == "livenessProbe" else "/readyz", "port": named["name"]}
        assert told[kind]["timeoutSeconds"] > 2, "a parent gives its processes two seconds to answer"


def test_the_image_is_healthy_where_it_answers():
    health = json.loads(DOCKER["HEALTHCHECK"].partition("CMD ")[2])
    assert f"127.0.0.1:{port(COMMAND)}/livez" in health[-1]
    assert DOCKER["EXPOSE"] == str(port(COMMAND))
    dashboard = COMPOSE["services"]["dashboard"]
    assert f"127.0.0.1:{port(dashboard['command'])}/livez" in dashboard["healthcheck"]["test"][-1]
    assert dashboard["ports"] == [f"127.0.0.1:{port(dashboard['command'])}:{port(dashboard['command'])}"]


def test_prometheus_asks_where_workers_answer():
    [job] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    targets = [target for one in job["static_configs"] for target in one["targets"]]
    ports = {port(words) for words in COMMANDS.values() if words[0] == "run"}
    assert {int(target.rpartition(":")[2]) for target in targets} == ports == {9464}
    assert job["job_name"] == "workqueue", "the rules look for that"


# Kubernetes


def test_selectors_find_the_pods():
    labels = {name: template["metadata"]["labels"] for name, template in TEMPLATES.items()}
    for (kind, name), one in KUBERNETES.items():
        if kind in ("Deployment", "PodDisruptionBudget", "PodMonitor"):
            wanted = one["spec"]["selector"]["matchLabels"]
        elif kind == "Service":
            wanted = one["spec"]["selector"]
        else:
            continue
        found = [other for other, has in labels.items() if wanted.items() <= has.items()]
        assert found == ["workqueue-workers" if kind == "PodMonitor" else name]
    [endpoint] = KUBERNETES["PodMonitor", "workqueue"]["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == container("workqueue-workers")["ports"][0]["name"]
    [served] = KUBERNETES["Service", "workqueue-dashboard"]["spec"]["ports"]
    assert served["targetPort"] == container("workqueue-dashboard")["ports"][0]["name"]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_pod_may_do_little_and_gets_its_secrets(name):
    spec, told = TEMPLATES[name]["spec"], container(name)
    assert spec["securityContext"]["runAsUser"] == int(DOCKER["USER"].partition(":")[0])
    assert spec["securityContext"]["runAsNonRoot"] and spec["automountServiceAccountToken"] is False
    assert told["securityContext"]["readOnlyRootFilesystem"] and not told["securityContext"]["allowPrivilegeEscalation"]
    assert told["resources"]["limits"]["memory"]
    secret = KUBERNETES["Secret", "workqueue"]["stringData"]
    for one in told["env"]:
        assert one["valueFrom"]["secretKeyRef"]["name"] == "workqueue"
        assert one["valueFrom"]["secretKeyRef"]["key"] in secret
    wanted = {"WORKQUEUE_URL", "PGPASSWORD"} | ({"WORKQUEUE_AUTH"} if "dashboard" in name else set())
    assert {one["name"] for one in told["env"]} == wanted


# the image


def test_the_image_has_what_it_copies_and_is_nobody_special():
    ignored = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text().split()
    kept = [pattern[1:] for pattern in ignored if pattern.startswith("!")]
    for word, step in DOCKER_STEPS:
        if word == "COPY" and not step.startswith("--from"):
            for source in step.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(fnmatch.fnmatch(os.path.normpath(source), pattern) for pattern in kept), source
    assert int(DOCKER["USER"].partition(":")[0]) > 0
    assert json.loads(DOCKER["ENTRYPOINT"]) == ["workqueue"], "no shell: the process itself gets the signals"
    assert COMPOSE["services"]["workers"]["build"]["dockerfile"] == "deploy/docker/Dockerfile"
    assert (DEPLOY / "docker" / COMPOSE["services"]["workers"]["build"]["context"]).resolve() == ROOT


def test_the_command_of_the_image_works_is_healthy_and_ends(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKQUEUE_URL", str(tmp_path / "jobs.db"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    with Queue(tmp_path / "jobs.db") as queue:
        queue.push("app.tasks.work", {"seconds": 0})
    words = ["0" if word == str(port(COMMAND)) else word for word in COMMAND]
    child = subprocess.Popen(
        [sys.executable, "-m", "workqueue", *words],
        cwd=DEPLOY / "docker",
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    try:
        log = Lines(child.stderr.fileno())
        here = log.until(r"answers /metrics, /livez and /readyz on port (\d+)")[1]
        assert json.loads(log.seen[-1])["level"] == "INFO"
        health = json.loads(DOCKER["HEALTHCHECK"].partition("CMD ")[2])[1:]
        check = [word.replace(f":{port(COMMAND)}/", f":{here}/") for word in health]
        assert subprocess.run([sys.executable, *check], timeout=PATIENCE, stdin=subprocess.DEVNULL).returncode == 0
        with Queue(tmp_path / "jobs.db") as queue:
            until(lambda: queue.jobs() == [])
        child.send_signal(signal.SIGTERM)
        log.to_end()
        assert child.wait(PATIENCE) == 0
    finally:
        child.kill()
        child.wait()
        child.stderr.close()


# systemd


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_takes_the_unit(path, tmp_path):
    program = shutil.which("systemd-analyze")
    if program is None:
        missing("systemd-analyze: apt-get install systemd, or `make programs` as root")
    copy = tmp_path / path.name
    copy.write_text(path.read_text().replace(exec_start(path)[0], sys.executable))
    done = subprocess.run([program, "verify", copy], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_of_workers_is_watched_and_ends_in_order():
    service = unit(DEPLOY / "systemd" / "workqueue.service")["Service"]
    assert service["Type"] == "notify"
    assert service["NotifyAccess"] == "main", "who jobs start does not speak for it"
    assert service["KillMode"] == "mixed", "the parent tells its processes; all at once would count twice"
    assert parse_duration(service["WatchdogSec"]) >= timedelta(seconds=30)
    assert service["RestartPreventExitStatus"] == "2"


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_may_do_little(path):
    service = unit(path)["Service"]
    assert service["User"] != "root" and service["ProtectSystem"] == "strict" and service["NoNewPrivileges"] == "yes"
    assert service["StateDirectory"] == "workqueue", "the one folder in which it may write"
    assert service["CapabilityBoundingSet"] == ""
    assert "password" not in path.read_text().lower().replace("user:password", "").replace("pgpassword", "")
