"""deploy/prometheus/alerts.yml and deploy/grafana/workqueue.json: held to what /metrics really says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from held import Exposed
from promql import named

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS_TEXT = (DEPLOY / "prometheus" / "alerts.yml").read_text()
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(ALERTS_TEXT)["groups"] for rule in group["rules"]
}
BOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "workqueue.json").read_text())
PROMETHEUS = {"job", "instance"}  # it adds them to every sample
OF_A_FILE = {"workqueue_file_bytes", "workqueue_disk_free_bytes", "workqueue_disk_size_bytes"}


def expressions() -> Iterator[tuple[str, str]]:
    """Give every expression, with what it is of."""
    for name, rule in ALERTS.items():
        yield name, rule["expr"]
    for panel in BOARD["panels"]:
        for number, target in enumerate(panel.get("targets", [])):
            yield f"{panel['title']} {number}", target["expr"]
    for annotation in BOARD["annotations"]["list"]:
        if "expr" in annotation:
            yield annotation["name"], annotation["expr"]


EXPRESSIONS = dict(expressions())


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_names_what_is_exposed(name, by_engine: dict[str, Exposed]):
    found = named(EXPRESSIONS[name])
    assert found.metrics
    for engine, exposed in by_engine.items():
        for metric, matchers in found.metrics:
            if metric == "up" or (engine == "postgres" and metric in OF_A_FILE):
                continue
            assert metric in exposed, engine
            for label, sign, wanted in matchers:
                assert label in exposed[metric].keys() | PROMETHEUS
                if label not in PROMETHEUS and "$" not in wanted:
                    each = wanted.split("|") if "~" in sign else [wanted]
                    assert [value for value in each if value not in exposed[metric][label]] == []
        known = {label for metric, _ in found.metrics for label in exposed.get(metric, ())} | PROMETHEUS
        if engine == "sqlite":
            assert found.labels <= known


def test_everything_that_is_exposed_is_shown_somewhere(by_engine):
    shown = {metric for text in EXPRESSIONS.values() for metric, _ in named(text).metrics}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in by_engine["sqlite"]}
    assert families - {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown} == set()


def test_what_only_a_file_has(by_engine):
    assert by_engine["sqlite"].keys() - by_engine["postgres"].keys() == OF_A_FILE


def test_totals_that_every_process_tells_are_not_added_up_over_instances():
    for name, text in EXPRESSIONS.items():
        for metric, _ in named(text).metrics:
            if metric not in ("up", "workqueue_processes", "workqueue_info"):
                assert re.search(rf"(max|min)( by \([\w, ]+\))? ?\((rate\(|increase\(|delta\()?{metric}\b", text), name


# alerts


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_is_wrong_and_what_to_do(name):
    rule = ALERTS[name]
    assert name.startswith("Workqueue")
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert re.fullmatch(r"\d+[smh]", rule["for"])
    assert set(rule["annotations"]) == {"summary", "description"}
    assert len(rule["annotations"]["summary"]) < 120
    assert len(rule["annotations"]["description"]) > 80, "what to do"
    told = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    assert told <= (named(rule["expr"]).labels or PROMETHEUS), "an alert has no other labels"


def test_the_page_tells_of_each_alert():
    page = (DEPLOY.parent / "docs" / "monitoring.md").read_text()
    assert re.findall(r"^\| `(Workqueue\w+)` \| (\w+) \|", page, re.MULTILINE) == [
        (name, rule["labels"]["severity"]) for name, rule in ALERTS.items()
    ]


def test_promtool_takes_the_rules_and_each_expression_of_the_dashboard(promtool, tmp_path):
    rules = [
        {"record": f"board:{number}", "expr": text.replace("$__rate_interval", "5m")}
        for number, text in enumerate(EXPRESSIONS.values())
    ]
    (tmp_path / "board.yml").write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", DEPLOY / "prometheus" / "alerts.yml")
    assert f"{len(ALERTS)} rules found" in said
    promtool("check", "rules", tmp_path / "board.yml")


QUEUED = '{job="workqueue", instance="a", queue="mail"'
TASK = QUEUED + ', task="send"}'
TELLS = {"workqueue_info{job='workqueue', instance='a'}": "1x180"}
FIRES: dict[str, dict[str, str]] = {
    "WorkqueueJobsWaitTooLong": {f"workqueue_oldest_due_seconds{QUEUED}}}": "0+60x180"},
    "WorkqueueNoRunner": {
        f'workqueue_jobs{QUEUED}, status="due"}}': "5x180",
        f"workqueue_runners{QUEUED}}}": "0x180",
    },
    "WorkqueueManyJobsFail": {
        f"workqueue_jobs_failed_total{TASK}": "0+1x180",
        f"workqueue_jobs_completed_total{TASK}": "0+10x180",
    },
    "WorkqueueFailedJobsPileUp": {f'workqueue_jobs{QUEUED}, status="failed"}}': "0+1x180"},
    "WorkqueueRunnerLost": {f"workqueue_attempts_lost_total{TASK}": "0x170 1x10"},
    "WorkqueueProcessStuck": {"workqueue_processes{job='workqueue', instance='a', state='stuck'}": "1x180"},
    "WorkqueueScrapeDown": {"up{job='workqueue', instance='a'}": "0x180"},
    "WorkqueueAbsent": {"workqueue_info{job='workqueue', instance='a'}": "1x100"},
    "WorkqueueDiskFills": {
        "workqueue_disk_free_bytes{job='workqueue', instance='a'}": "9000000000x180",
        "workqueue_disk_size_bytes{job='workqueue', instance='a'}": "100000000000x180",
    },
    "WorkqueueDiskFull": {"workqueue_disk_free_bytes{job='workqueue', instance='a'}": "1000000x180"},
}
QUIET: dict[str, dict[str, str]] = {
    "WorkqueueJobsWaitTooLong": {f"workqueue_oldest_due_seconds{QUEUED}}}": "299x180"},
    "WorkqueueNoRunner": {
        f'workqueue_jobs{QUEUED}, status="due"}}': "5x180",
        f"workqueue_runners{QUEUED}}}": "1x180",
    },
    "WorkqueueManyJobsFail": {
        f"workqueue_jobs_failed_total{TASK}": "0+1x180",
        f"workqueue_jobs_completed_total{TASK}": "0+100x180",
    },
    "WorkqueueFailedJobsPileUp": {f'workqueue_jobs{QUEUED}, status="failed"}}': "500x180"},
    "WorkqueueRunnerLost": {f"workqueue_attempts_lost_total{TASK}": "7x180"},
    "WorkqueueProcessStuck": {"workqueue_processes{job='workqueue', instance='a', state='live'}": "2x180"},
    "WorkqueueScrapeDown": {"up{job='workqueue', instance='a'}": "1x180"},
    "WorkqueueAbsent": {},
    "WorkqueueDiskFills": {
        "workqueue_disk_free_bytes{job='workqueue', instance='a'}": "11000000000x180",
        "workqueue_disk_size_bytes{job='workqueue', instance='a'}": "100000000000x180",
    },
    "WorkqueueDiskFull": {"workqueue_disk_free_bytes{job='workqueue', instance='a'}": "100000000x180"},
}


def test_each_alert_fires_when_it_should_and_not_otherwise(promtool: Callable[..., str], tmp_path):
    assert FIRES.keys() == QUIET.keys() == ALERTS.keys()
    bare = [{key: rule[key] for key in ("alert", "expr", "for", "labels")} for rule in ALERTS.values()]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "workqueue", "rules": bare}]}))
    tests = [_test(name, FIRES[name], fires=True) for name in ALERTS]
    tests += [_test(name, QUIET[name], fires=False) for name in ALERTS]
    (tmp_path / "tests.yml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests})
    )
    promtool("test", "rules", tmp_path / "tests.yml")


def _test(name: str, series: dict[str, str], *, fires: bool) -> dict[str, Any]:
    told = series if name == "WorkqueueAbsent" and fires else {**TELLS, **series}
    labels = {"job": "workqueue", "instance": "a", "queue": "mail", "task": "send"}
    grouped = named(ALERTS[name]["expr"]).labels
    if name == "WorkqueueScrapeDown":
        grouped = PROMETHEUS
    if name == "WorkqueueProcessStuck" and not fires:
        assert all("live" in one for one in series)
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": one, "values": values} for one, values in told.items()],
        "alert_rule_test": [
            {
                "eval_time": "175m",
                "alertname": name,
                "exp_alerts": [
                    {"exp_labels": {label: labels[label] for label in sorted(grouped)} | ALERTS[name]["labels"]}
                ]
                if fires
                else [],
            }
        ],
    }


# the dashboard


def test_the_dashboard_can_be_imported():
    assert BOARD["id"] is None, "Grafana gives one"
    assert BOARD["uid"] and BOARD["title"] and BOARD["schemaVersion"] >= 36 and BOARD["tags"]
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    variables = {one["name"]: one for one in BOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource" and variables["datasource"]["query"] == "prometheus"
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(BOARD["panels"]))) - {"__rate_interval"}
    assert used <= set(variables), "each variable that is used is one"
    for panel in BOARD["panels"]:
        assert panel["title"] and panel["type"] in ("row", "stat", "timeseries")
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert panel["fieldConfig"]["defaults"]["unit"]
            refs = [target["refId"] for target in panel["targets"]]
            assert refs and len(set(refs)) == len(refs)
            assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])


def test_no_panel_lies_over_another():
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_a_legend_names_labels_that_the_expression_has():
    for panel in BOARD["panels"]:
        for target in panel.get("targets", []):
            wanted = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert wanted <= named(target["expr"]).labels, panel["title"]


def test_the_variables_ask_for_labels_that_there_are(by_engine):
    for one in BOARD["templating"]["list"]:
        if one["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", one["query"]["query"]).groups()
            assert label in by_engine["sqlite"][metric].keys() | PROMETHEUS


@pytest.mark.parametrize(
    ("text", "metrics", "labels"),
    [
        ("a", [("a", [])], set()),
        (
            'max by (x, y) (rate(a_b{c=~"d|e", f!="}"}[5m])) > 2',
            [("a_b", [("c", "=~", "d|e"), ("f", "!=", "}")])],
            {"x", "y"},
        ),
        (
            "sum(a) without (z) / on (q) group_left (r) b offset 5m and c == 0",
            [("a", []), ("b", []), ("c", [])],
            {"z", "q", "r"},
        ),
    ],
)
def test_reading_expressions(text, metrics, labels):
    found = named(text)
    assert (found.metrics, found.labels) == (metrics, labels)
    with pytest.raises(ValueError, match="expected PromQL"):
        named(text + " ?")
