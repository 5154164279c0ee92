"""What the files of deploy/ are held to: the samples that /metrics gives, and the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from prometheus_client.parser import text_string_to_metric_families
from workqueue.cli import group
from workqueue.cli.probing import Place, Several
from workqueue.figures import BOUNDS, Counted
from workqueue.metrics import exposition
from workqueue.store.contract import Store

from support import QUEUE, SECOND, push

Exposed = dict[str, dict[str, set[str]]]
"""Of each sample its labels, and of each label the values seen."""


def text_of(store: Store) -> str:
    """Give what a `run --processes` that works for this store says at /metrics."""
    return exposition(store) + Several([Place(1)]).metrics()


def exposed(store: Store) -> Exposed:
    """Give the samples of that, once something of each kind has happened."""
    counted = Counted(completed=1, failed=1, run_sum=SECOND, run_max=SECOND, run_buckets=(1,) * len(BOUNDS))
    push(store)
    store.ledger.add(QUEUE, {"task": counted})
    found: Exposed = {}
    for family in text_string_to_metric_families(text_of(store)):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


def told(words: list[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, Any]:
    """Give the parameters of a command as the real command line takes them. words: what follows `workqueue`."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WORKQUEUE_URL", "postgresql://workqueue@host/workqueue")
    context = click.Context(group, info_name="workqueue", **group.context_settings)
    command = group.get_command(context, words[0])
    assert command is not None
    return command.make_context(words[0], list(words[1:]), parent=context).params
