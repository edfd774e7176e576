"""Prometheus' rules and Grafana's dashboard: their metrics exist in our code or in Ray's, and promtool accepts them."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from pipeline.ingest import progress_report
from pipeline.ingest.fetch import limiter
from pipeline.training import live_metrics

from .manifests import INFRA, OVERLAYS, found, rendered

MONITORING = INFRA / "monitoring"
RULES = MONITORING / "rules.yaml"
ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
PANELS = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
OF_KUBERNETES = {"kube_cronjob_created", "kube_cronjob_status_last_successful_time"}
"""Metrics of kube-state-metrics 2.5 and later, which kube-prometheus-stack brings."""
MADE = re.compile(r'(?:metrics\.(Counter|Gauge)|LastingGauge)\(\s*f?"(?:\{what\}|(\w+?))?(_\w+)?"')


def ours() -> set[str]:
    """The metrics that our code makes, as Prometheus sees them."""
    names = set()
    for module in (progress_report, limiter, live_metrics):
        for kind, first, rest in MADE.findall(Path(module.__file__).read_text()):
            for what in [first] if first else ["ingest", "features"]:
                names.add(f"ray_{what}{rest}" + ("_total" if kind == "Counter" else ""))
    return names


def exported(metric: str) -> bool:
    """Whether our code makes a metric of this name, or Ray, by the code of its agents, dashboards or server."""
    folder = Path(ray.__file__).parent / "dashboard" / "modules"
    texts = [(folder / "reporter" / "reporter_agent.py").read_text()]
    texts += [path.read_text() for path in (folder / "metrics" / "dashboards").glob("*.py")]
    name = re.escape(metric.removeprefix("ray_"))
    if metric in ours() or re.search(rf'"{name}"|\bray_{name}\b', "\n".join(texts)):
        return True
    server = Path(ray.__file__).parent / "core" / "src" / "ray" / "gcs" / "gcs_server"
    return f"\0{metric.removeprefix('ray_')}\0".encode() in server.read_bytes()


def promtool(*words: Any) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool: not there; it comes with Debian's package prometheus")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False, cwd=MONITORING)
    assert done.returncode == 0, done.stdout + done.stderr


def test_our_metrics_are_found_in_the_code():
    assert {
        "ray_ingest_clips_total",
        "ray_features_clips_left",
        "ray_features_work_total",
        "ray_youtube_rests_total",
        "ray_training_data_wait_seconds_total",
        "ray_training_checkpoint_time_seconds",
    } <= ours()


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alerts_use_metrics_that_exist_and_say_what_to_do(alert: dict[str, Any]) -> None:
    metrics = re.findall(r"\b(?:ray|kube)_\w+", alert["expr"])
    assert metrics
    assert [metric for metric in metrics if not (exported(metric) or metric in OF_KUBERNETES)] == []
    assert alert["annotations"]["action"]


def test_the_alert_of_the_backup_names_the_cronjob_that_is_there():
    (alert,) = [alert for alert in ALERTS if alert["alert"] == "BackupOld"]
    name = found("gpu", "platform", "CronJob")["metadata"]["name"]
    assert set(re.findall(r'cronjob="(.+?)"', alert["expr"])) == {name}
    assert f"--from=cronjob/{name}" in alert["annotations"]["action"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_panels_use_metrics_that_exist_and_are_ones_that_prometheus_understands(panel, tmp_path):
    asked = [target["expr"] for target in panel["targets"]]
    metrics = [metric for expression in asked for metric in re.findall(r"\bray_\w+", expression)]
    assert metrics
    assert [metric for metric in metrics if not exported(metric)] == []
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(asked)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panel", "rules": rules}]}))
    promtool("check", "rules", tmp_path / "rules.yaml")


def test_every_metric_of_ours_is_on_the_dashboard():
    shown = {metric for panel in PANELS for one in panel["targets"] for metric in re.findall(r"\bray_\w+", one["expr"])}
    assert ours() - shown == set()


def test_panels_do_not_overlap():
    cells = [
        (x, y)
        for panel in PANELS
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def test_a_metric_that_nobody_exports_would_be_found():
    assert not exported("ray_ingest_clip_total")


def test_promtool_accepts_the_rules():
    promtool("check", "rules", RULES)


def test_each_alert_fires_when_it_should_and_none_when_all_is_well_or_over():
    fires, *_ = yaml.safe_load((MONITORING / "rules_test.yaml").read_text())["tests"]
    tested = [case["exp_samples"][0]["labels"] for case in fires["promql_expr_test"]]
    assert tested == [f'{{alertname="{alert["alert"]}"}}' for alert in ALERTS]
    promtool("test", "rules", MONITORING / "rules_test.yaml")


def test_the_runbook_says_more_of_each_alert():
    runbook = (INFRA / "RUNBOOK.md").read_text()
    assert [alert["alert"] for alert in ALERTS if f"| `{alert['alert']}` |" not in runbook] == []


def test_the_operator_gets_the_same_rules():
    operators = yaml.safe_load((MONITORING / "prometheusrule.yaml").read_text())
    assert operators["spec"] == yaml.safe_load(RULES.read_text())


@pytest.mark.parametrize("overlay", [overlay for overlay in OVERLAYS if overlay != "kind"])
def test_the_overlays_bring_rules_dashboard_and_what_asks_ray(overlay):
    config = found(overlay, "platform", "ConfigMap", "video-pipeline-dashboard")
    assert json.loads(config["data"]["dashboard.json"])["panels"] == PANELS
    assert config["metadata"]["labels"] == {"grafana_dashboard": "1"}
    asked = {one["port"] for one in found(overlay, "platform", "PodMonitor")["spec"]["podMetricsEndpoints"]}
    head = found(overlay, "platform", "RayCluster")["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert asked <= {port["name"] for port in head["ports"]}
    assert found(overlay, "platform", "PrometheusRule")["spec"]["groups"]
    assert not [one for one in rendered("kind", "platform") if one["apiVersion"].startswith("monitoring")]
