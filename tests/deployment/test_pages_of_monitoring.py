"""docs/monitoring.md and docs/production.md, held to what there is."""

from __future__ import annotations

import inspect
import re
from contextlib import closing
from pathlib import Path

import workqueue
from held import exposed, text_of, told
from prometheus_client.parser import text_string_to_metric_families
from prove.clock import FakeClock
from workqueue import Queue
from workqueue.duration import parse_duration
from workqueue.probes import STUCK

from support import open_engine

ROOT = Path(__file__).parents[2]
MONITORING = (ROOT / "docs" / "monitoring.md").read_text()
PRODUCTION = (ROOT / "docs" / "production.md").read_text()
SOURCES = sorted(Path(workqueue.__file__).parent.rglob("*.py"))


def test_the_table_of_metrics_is_the_exposition(tmp_path):
    with closing(open_engine("sqlite", FakeClock(), tmp_path)) as store:
        seen = exposed(store)
        families = list(text_string_to_metric_families(text_of(store)))
    found: dict[str, tuple[str, set[str]]] = {}
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = seen.get(f"{name}_bucket") or seen[name]
        found[name] = (family.type, set(labels))
    rows = re.findall(r"^\| `(workqueue_\w+)` \| (\w+) \|(.*?)\| ", MONITORING, re.MULTILINE)
    assert {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows} == found
    for metric, label in (("jobs", "status"), ("processes", "state"), ("file_bytes", "part")):
        [row] = re.findall(rf"^\| `workqueue_{metric}` \|.*$", MONITORING, re.MULTILINE)
        assert seen[f"workqueue_{metric}"][label] <= set(re.findall(r"`(\w+)`", row)), "each value is explained"


def test_the_logs_that_are_named_are_written_by_the_logger_that_is_named():
    about = next(path for path in SOURCES if path.name == "logs.py" and path.parent.name == "workqueue").read_text()
    rows = re.findall(r"^\| (warning|error) \| `(.+?)`.* \| `(workqueue\.\w+)` \|$", MONITORING, re.MULTILINE)
    assert len(rows) == 8
    for level, said, logger in rows:
        texts = [text for path in SOURCES if f'Log("{logger}")' in (text := path.read_text())]
        fragments = [part for part in re.split("…", said) if part.strip(" ,:;")]
        assert any(all(part in text + about for part in fragments) for text in texts), said
        assert any(f"log.{level}(" in text or "log.about(" in text for text in texts)


def test_the_probes_wait_as_long_as_the_page_says():
    assert parse_duration("2m") == STUCK
    assert "has done nothing for two minutes" in MONITORING


def test_the_defaults_of_the_sizing_table_are_those_of_a_queue():
    defaults = {name: one.default for name, one in inspect.signature(Queue.__init__).parameters.items()}
    rows = re.findall(r"^\| `(\w+)=`.*? \| ([\d.]+)(?: s)? \|", PRODUCTION, re.MULTILINE)
    assert {name: float(value) for name, value in rows} == {
        name: defaults[name] for name in ("concurrency", "batch_size", "grace", "lease", "poll_rate")
    }


def test_the_files_that_the_pages_name_are_there():
    for page in (MONITORING, PRODUCTION):
        for path in re.findall(r"`(deploy/[\w./-]+)`", page):
            assert (ROOT / path).exists(), path
    named = set(re.findall(r"`(deploy/[\w./-]+)`", MONITORING + PRODUCTION))
    folders = {path for path in named if (ROOT / path).is_dir()}
    for file in (ROOT / "deploy").rglob("*"):
        path = str(file.relative_to(ROOT))
        if file.is_file() and "__pycache__" not in path and "docker/app" not in path and "ignore" not in path:
            assert path in named or any(path.startswith(folder) for folder in folders), path


def test_the_commands_of_the_pages_are_real(monkeypatch, tmp_path):
    lines = re.findall(r"^(workqueue [a-z]+ .*)$", PRODUCTION, re.MULTILINE)
    lines += re.findall(r"`(workqueue [a-z]+ [^`…\n]+)`", PRODUCTION + MONITORING)
    assert len(lines) > 8
    for line in lines:
        told(["17" if word == "ID" else word for word in line.split()[1:]], monkeypatch, tmp_path)
