"""The jobs that save, check, restore and upgrade MLflow in Kubernetes: their order, and what they reach."""

import re
from typing import Any

import pytest

from .manifests import INFRA, OVERLAYS, found, rendered, values

NAMES = ("check-mlflow", "restore-mlflow", "upgrade-mlflow")
SCRIPT = (INFRA / "mlflow" / "database.sh").read_text()
PAGE = (INFRA / "mlflow" / "README.md").read_text()


def pod(overlay: str, name: str) -> dict[str, Any]:
    """The pod of a job, or of the nightly backup."""
    if name == "mlflow-backup":
        return found(overlay, "platform", "CronJob")["spec"]["jobTemplate"]["spec"]["template"]
    return found(overlay, "mlflow", "Job", name)["spec"]["template"]


def steps(overlay: str, name: str) -> list[dict[str, Any]]:
    """Its containers, one after the other."""
    spec = pod(overlay, name)["spec"]
    assert len(spec["containers"]) == 1  # several would run at the same time
    return [*spec["initContainers"], *spec["containers"]]


def commands(name: str) -> list[str]:
    return [" ".join(step["command"]) for step in steps("gpu", name)]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_these_jobs_come_out_and_each_has_its_label(overlay: str) -> None:
    jobs = rendered(overlay, "mlflow")
    assert {one["kind"] for one in jobs} == {"Job"}
    assert {one["metadata"]["name"]: one["metadata"]["labels"]["job"] for one in jobs} == {name: name for name in NAMES}
    assert {one["metadata"]["namespace"] for one in jobs} == {"video"}
    for name in NAMES:
        assert f"kubectl create -k infra/kuberay/overlays/gpu/mlflow -l job={name}" in PAGE


def test_a_restore_touches_the_present_database_last_and_an_upgrade_after_a_backup() -> None:
    assert commands("mlflow-backup") == [
        "/scripts/database.sh save /backup",
        "python /app/objects.py save /backup/artifacts",
    ]
    assert commands("check-mlflow") == [
        "/scripts/database.sh check /backup newest",
        "python /app/objects.py check /backup/artifacts",
    ]
    assert commands("restore-mlflow") == [
        "/scripts/database.sh load /backup none",  # until the values name one
        "python /app/objects.py load /backup/artifacts",
        "/scripts/database.sh switch",
    ]
    assert commands("upgrade-mlflow") == [
        "/scripts/database.sh stopped",
        *commands("mlflow-backup"),
        "mlflow db upgrade postgresql+psycopg://",
    ]


def test_the_page_s_commands_are_those_of_the_jobs() -> None:
    blocks = {
        heading: re.findall(r"^(?:infra/mlflow/|python infra/mlflow/|mlflow )(.+)$", block, re.MULTILINE)
        for heading, block in re.findall(r"^## (\w+)$.*?^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    }
    for heading, name in zip(("Save", "Check", "Restore", "Upgrade"), ("mlflow-backup", *NAMES), strict=True):
        there = [
            re.sub(r"^(/scripts/|python /app/|mlflow )", "", one).replace("/backup", "backup").replace("none", "newest")
            for one in commands(name)
        ]
        assert blocks[heading] == there


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of MLflow's own imports
def test_upgrades_go_to_mlflow_s_own_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.cli import cli

    _, group, verb, *words = commands("upgrade-mlflow")[-1].split()
    assert cli.commands[group].commands[verb].make_context(verb, words).params == {"url": "postgresql+psycopg://"}


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", [*NAMES, "mlflow-backup"])
def test_values_reach_the_jobs(name: str, overlay: str) -> None:
    told = values(overlay)["mlflow"]
    for step in steps(overlay, name):
        variables = {one["name"]: one.get("value") for one in step.get("env", [])}
        if step["command"][0] == "/scripts/database.sh":
            assert f"\n{step['command'][1]})\n" in SCRIPT  # the script knows the verb
            assert step["image"] == postgres(overlay)["image"]
            if step["command"][1] == "load":
                assert step["command"][3] == told["restore"] == "none"
        else:
            assert step["image"] == told["image"]
        assert variables.get("MLFLOW_S3_ENDPOINT_URL", told["s3"]) == told["s3"]


def postgres(overlay: str) -> dict[str, Any]:
    return found(overlay, "platform", "StatefulSet", "mlflow-postgres")["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize("name", [*NAMES, "mlflow-backup"])
def test_database_store_and_backup_are_within_reach(name: str) -> None:
    server = found("gpu", "platform", "Deployment", "mlflow")["spec"]["template"]["spec"]["containers"][0]
    known = {one["name"]: one for one in server["env"]}
    stores = found("gpu", "platform", "NetworkPolicy", "mlflow-stores")["spec"]["ingress"][0]["from"]
    assert pod("gpu", name)["metadata"]["labels"]["app"] in stores[0]["podSelector"]["matchExpressions"][0]["values"]
    for step in steps("gpu", name):
        mounts = {mount["mountPath"]: mount for mount in step["volumeMounts"]}
        names = {one["name"] for one in step["env"]}
        assert [one for one in step["env"] if one != known[one["name"]]] == []
        if step["command"][0] == "/scripts/database.sh":
            assert names == {"PGHOST", "PGUSER", "PGDATABASE", "PGPASSWORD"}
            assert "/scripts" in mounts
        elif "objects.py" in step["command"][1]:
            assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "HOME"} < names
        for word in step["command"]:
            if word.startswith("/backup"):
                assert mounts["/backup"].get("readOnly", False) == ("save" not in step["command"])
    volumes = {volume["name"]: volume for volume in pod("gpu", name)["spec"]["volumes"]}
    assert volumes["scripts"]["configMap"] == {"name": "mlflow-scripts", "defaultMode": 0o555}
    assert found("gpu", "platform", "ConfigMap", "mlflow-scripts")["data"] == {"database.sh": SCRIPT}


def test_every_part_has_the_same_postgresql() -> None:
    texts = [path.read_text() for path in INFRA.rglob("*.yaml")]
    images = [image for text in texts for image in re.findall(r"\bpostgres:[\w.-]+@sha256:\w+", text)]
    assert len(images) >= 6
    assert len(set(images)) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_job_that_fails_is_not_tried_again_by_itself(name: str) -> None:
    spec = found("gpu", "mlflow", "Job", name)["spec"]
    assert spec["backoffLimit"] == 0
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
