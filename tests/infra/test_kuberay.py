"""RayCluster and RayJobs: their schema, and what the operator and Ray ask beyond it."""

import copy
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from .manifests import (
    JOB_FILES,
    KUBERAY,
    RAY_FILES,
    cluster_spec,
    crd_schema,
    document,
    documents,
    errors,
    groups,
    locked,
    mebibytes,
    ray_container,
)

KUBERNETES = kubernetes_validate.latest_version()


@pytest.fixture(params=RAY_FILES)
def manifest(request: pytest.FixtureRequest) -> dict[str, Any]:
    return document(request.param)


def test_custom_resources_fit_their_definition(manifest: dict[str, Any]) -> None:
    assert errors(crd_schema(manifest["kind"]), manifest) == []


@pytest.mark.parametrize(
    ("path", "wrong", "message"),
    [
        (["rayClusterSpec", "enableInTreeAutoscalling"], True, "'enableInTreeAutoscalling' was unexpected"),
        (["rayClusterSpec", "workerGroupSpecs", 0, "minReplica"], 1, "'minReplica' was unexpected"),
        (["rayClusterSpec", "workerGroupSpecs", 0, "replicas"], "four", "'four' is not of type 'integer'"),
        (["rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"], 0, "0 is not of type 'string'"),
        (["rayClusterSpec", "authOptions", "mode"], "tokens", "'tokens' is not one of"),
        (["rayClusterSpec", "headGroupSpec", "template", "spec", "container"], [], "'container' was unexpected"),
    ],
)
def test_the_validator_finds_misspelt_fields_and_wrong_types(path: list[Any], wrong: Any, message: str) -> None:
    manifest = copy.deepcopy(document("rayjob-ingest.yaml"))
    place = manifest["spec"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = wrong
    (found,) = errors(crd_schema("RayJob"), manifest)
    assert message in found


def test_pod_templates_are_valid_pods(manifest: dict[str, Any]) -> None:
    for name, group in groups(manifest):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": group["template"]["spec"]}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", ["mlflow.yaml", "storage.yaml"])
def test_kubernetes_own_kinds_are_valid(name: str) -> None:
    for resource in documents(KUBERAY / name):
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)


def test_the_kubernetes_validator_is_strict() -> None:
    claim = copy.deepcopy(documents(KUBERAY / "storage.yaml")[0])
    claim["spec"]["accessMode"] = ["ReadWriteMany"]
    with pytest.raises(jsonschema.ValidationError, match="accessMode"):
        kubernetes_validate.validate(claim, KUBERNETES, strict=True)


def test_ray_is_the_locked_one(manifest: dict[str, Any]) -> None:
    ray = locked("ray")
    assert cluster_spec(manifest)["rayVersion"] == ray
    assert {ray_container(group)["image"].rpartition("-ray")[2] for _, group in groups(manifest)} == {ray}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray's own imports
def test_ray_start_knows_the_parameters(manifest: dict[str, Any]) -> None:
    from ray.scripts.scripts import start

    for _, group in groups(manifest):
        arguments = [f"--{name}={value}" for name, value in group["rayStartParams"].items()]
        start.make_context("ray start", arguments)  # parses, starts nothing


def test_only_a_token_opens_the_cluster(manifest: dict[str, Any]) -> None:
    assert cluster_spec(manifest)["authOptions"]["mode"] == "token"


def test_containers_run_without_privileges(manifest: dict[str, Any]) -> None:
    for _, group in groups(manifest):
        pod = group["template"]["spec"]["securityContext"]
        assert pod["runAsNonRoot"]
        assert pod["runAsUser"] == pod["fsGroup"] == 1000
        assert ray_container(group)["securityContext"]["allowPrivilegeEscalation"] is False


def test_the_object_store_fits_shared_memory_and_spills_to_a_volume(manifest: dict[str, Any]) -> None:
    for _, group in groups(manifest):
        container, parameters = ray_container(group), group["rayStartParams"]
        volumes = {volume["name"]: volume for volume in group["template"]["spec"]["volumes"]}
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        limits = container["resources"]["limits"]
        shared = mounts["/dev/shm"]["emptyDir"]  # noqa: S108
        assert shared["medium"] == "Memory"
        assert (
            mebibytes(parameters["object-store-memory"])
            < mebibytes(shared["sizeLimit"])
            < mebibytes(limits["memory"]) / 2
        )
        spill = mounts[parameters["object-spilling-directory"]]["emptyDir"]
        assert mebibytes(spill["sizeLimit"]) < mebibytes(limits["ephemeral-storage"])


def test_claims_exist(manifest: dict[str, Any]) -> None:
    there = {claim["metadata"]["name"] for claim in documents(KUBERAY / "storage.yaml")}
    for _, group in groups(manifest):
        volumes = group["template"]["spec"]["volumes"]
        assert {v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v} == there


def test_the_head_takes_no_tasks(manifest: dict[str, Any]) -> None:
    assert dict(groups(manifest))["head"]["rayStartParams"]["num-cpus"] == "0"


def test_autoscaling_starts_where_a_job_can_start(manifest: dict[str, Any]) -> None:
    spec = cluster_spec(manifest)
    assert any(group["minReplicas"] for group in spec["workerGroupSpecs"])
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        if not spec.get("enableInTreeAutoscaling"):
            assert group["minReplicas"] == group["maxReplicas"]
    if spec.get("enableInTreeAutoscaling"):
        assert spec["autoscalerOptions"]["version"] == "v2"


@pytest.mark.parametrize("name", JOB_FILES)
def test_the_operator_accepts_how_a_job_is_cleaned_up(name: str) -> None:
    """KubeRay 1.7, controllers/ray/utils/validation.go: validateDeletionConfiguration, which no schema says."""
    spec = document(name)["spec"]
    rules = spec.get("deletionStrategy", {}).get("deletionRules", [])
    assert bool(rules) != spec.get("shutdownAfterJobFinishes", False)
    assert spec.get("shutdownAfterJobFinishes") or "ttlSecondsAfterFinished" not in spec
    order = ["DeleteWorkers", "DeleteCluster", "DeleteSelf"]
    for status in ("SUCCEEDED", "FAILED"):
        after = {rule["policy"]: rule["condition"]["ttlSeconds"] for rule in rules if _status(rule) == status}
        times = [after[policy] for policy in order if policy in after]
        assert times == sorted(times)
    if spec["rayClusterSpec"].get("enableInTreeAutoscaling"):
        assert "DeleteWorkers" not in {rule["policy"] for rule in rules}


def _status(rule: dict[str, Any]) -> str:
    return rule["condition"]["jobStatus"]
