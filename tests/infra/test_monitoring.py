"""Prometheus' rules: their metrics exist in our code or in Ray's, and promtool accepts them."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from pipeline.ingest import progress_report

from .manifests import INFRA

RULES = INFRA / "monitoring" / "rules.yaml"
ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def exported(metric: str) -> bool:
    """Whether our ingest or the agent of a Ray node makes a metric of this name."""
    name = metric.removeprefix("ray_")
    ours = re.findall(r'f"\{what\}_(\w+)"', Path(progress_report.__file__).read_text())
    agent = Path(ray.__file__).parent / "dashboard" / "modules" / "reporter" / "reporter_agent.py"
    return name in {f"ingest_{word}_total" for word in ours} or f'"{name}"' in agent.read_text()


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alerts_use_metrics_that_exist_and_say_what_to_do(alert: dict[str, Any]) -> None:
    metrics = re.findall(r"\bray_\w+", alert["expr"])
    assert metrics
    assert [metric for metric in metrics if not exported(metric)] == []
    assert alert["annotations"]["action"]


def test_a_metric_that_nobody_exports_would_be_found() -> None:
    assert not exported("ray_ingest_clip_total")


def test_promtool_accepts_the_rules() -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool: not there; it comes with Debian's package prometheus")
    done = subprocess.run([program, "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
