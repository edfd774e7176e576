"""RayCluster and RayJobs of each overlay: their schema, and what the operator, Kubernetes and Ray ask beyond it."""

import copy
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from .manifests import (
    JOBS,
    KUBERAY,
    OVERLAYS,
    ROOT,
    cluster_spec,
    crd_schema,
    documents,
    errors,
    found,
    groups,
    locked,
    mebibytes,
    ray_container,
    ray_manifest,
    rendered,
    values,
)

KUBERNETES = kubernetes_validate.latest_version()
# One of each shape: the jobs differ in their entrypoints alone, see `test_jobs_differ_in_little`.
SHAPES = [(overlay, name) for overlay in OVERLAYS for name in ("cluster", "ingest", "pretrain", "sweep")]


@pytest.fixture(params=SHAPES, ids="-".join)
def manifest(request: pytest.FixtureRequest) -> dict[str, Any]:
    return ray_manifest(*request.param)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_there_is_a_rayjob_for_every_job(overlay: str) -> None:
    jobs = {one["metadata"]["name"]: one for one in rendered(overlay, "jobs")}
    assert set(jobs) == set(JOBS) == set(values(overlay)["jobs"])
    scripts = {one["spec"]["entrypoint"].split()[1] for one in jobs.values()}
    assert scripts == {f"jobs/{path.name}" for path in (ROOT / "jobs").glob("*.py")}
    assert {name: one["metadata"]["labels"]["job"] for name, one in jobs.items()} == {name: name for name in jobs}
    for name, one in jobs.items():
        assert one["spec"]["entrypoint"].split()[2:] == values(overlay)["jobs"][name].split()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_jobs_differ_in_little(overlay: str) -> None:
    """So that those of SHAPES stand for all."""
    shapes = {repr({**one["spec"], "entrypoint": ""}) for one in rendered(overlay, "jobs")}
    tested = {repr({**ray_manifest(overlay, name)["spec"], "entrypoint": ""}) for _, name in SHAPES[1:4]}
    others = {
        repr({**ray_manifest(overlay, name)["spec"], "entrypoint": ""}) for name in ("evaluate", "export", "benchmark")
    }
    assert shapes == tested | others
    assert len(shapes) <= (5 if overlay == "gpu" else 4)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_jobs_come_out_of_jobs_and_only_the_platform_out_of_the_platform(overlay: str) -> None:
    assert {one["kind"] for one in rendered(overlay, "jobs")} == {"RayJob"}
    assert not {"RayJob", "Values"} & {one["kind"] for one in rendered(overlay, "platform")}
    assert {one["metadata"].get("namespace", "video") for one in rendered(overlay, "platform")} == {"video"}


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
    manifest = copy.deepcopy(ray_manifest("gpu", "ingest"))
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


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_own_kinds_are_valid(overlay: str) -> None:
    both = (*rendered(overlay, "platform"), *rendered(overlay, "mlflow"))
    own = [one for one in both if not one["apiVersion"].startswith(("ray.io", "monitoring"))]
    assert len(own) >= 20
    for resource in own:
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)


def test_the_kubernetes_validator_is_strict() -> None:
    claim = copy.deepcopy(found("gpu", "platform", "PersistentVolumeClaim", "video-data"))
    claim["spec"]["accessMode"] = ["ReadWriteMany"]
    with pytest.raises(jsonschema.ValidationError, match="accessMode"):
        kubernetes_validate.validate(claim, KUBERNETES, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_placeholder_is_left(overlay: str) -> None:
    for one in (*rendered(overlay, "platform"), *rendered(overlay, "jobs"), *rendered(overlay, "mlflow")):
        text = repr(one)
        for word in ("ARGUMENTS", "'0Gi'", "'image': 'video-pipeline", "'value': 's3'"):
            assert word not in text, f"{one['kind']} {one['metadata']['name']}"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_values_reach_the_platform(overlay: str) -> None:
    told = values(overlay)
    cluster = ray_manifest(overlay, "cluster")
    assert [name for name, _ in groups(cluster)] == [name for name in ("head", "cpu", "gpu") if name in told]
    for name, group in groups(cluster):
        limits = ray_container(group)["resources"]["limits"]
        assert limits == ray_container(group)["resources"]["requests"]
        assert (limits["cpu"], limits["memory"]) == (told[name]["cpus"], told[name]["memory"])
        assert limits.get("nvidia.com/gpu") == told[name].get("gpus")
        assert ray_container(group)["image"] == told["image"]
        if name != "head":
            nodes = told[name]["nodes"]
            assert (group["minReplicas"], group["maxReplicas"]) == (nodes["least"], nodes["most"])
    claims = {one["metadata"]["name"]: one["spec"] for one in rendered(overlay, "platform") if "Claim" in one["kind"]}
    sizes = {name: claim["resources"]["requests"]["storage"] for name, claim in claims.items()}
    storage = told["storage"]
    assert sizes == {
        "video-data": storage["data"],
        "video-storage": storage["results"],
        "mlflow-backup": storage["backup"],
    }
    assert {claim["storageClassName"] for claim in claims.values()} == {storage["class"]}


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


def pods(overlay: str) -> dict[str, dict[str, Any]]:
    """The spec of every pod that an overlay makes, by its owner."""
    made = {f"ray {name}": group["template"]["spec"] for name, group in groups(ray_manifest(overlay, "cluster"))}
    for one in (*rendered(overlay, "platform"), *rendered(overlay, "mlflow")):
        if one["kind"] in ("Deployment", "StatefulSet", "Job"):
            made[one["metadata"]["name"]] = one["spec"]["template"]["spec"]
        elif one["kind"] == "CronJob":
            made[one["metadata"]["name"]] = one["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (upload,) = documents(KUBERAY / "upload.yaml")
    return {**made, "upload": upload["spec"]}


def test_videos_come_onto_the_claim_by_a_pod_that_may_write_there() -> None:
    (upload,) = documents(KUBERAY / "upload.yaml")
    kubernetes_validate.validate(upload, KUBERNETES, strict=True)
    (mount,) = upload["spec"]["containers"][0]["volumeMounts"]
    readers = ray_container(dict(groups(ray_manifest("gpu", "cluster")))["head"])["volumeMounts"]
    assert {**mount, "readOnly": True} in readers


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_fits_kubernetes_restricted_profile_and_writes_to_volumes_alone(overlay: str) -> None:
    for owner, pod in pods(overlay).items():
        security = pod["securityContext"]
        assert security["runAsNonRoot"], owner
        assert security["runAsUser"] >= 999, owner
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, owner
        for container in (*pod["containers"], *pod.get("initContainers", [])):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, owner
        if not owner.startswith("ray"):  # Ray's autoscaler asks the API server
            assert pod["automountServiceAccountToken"] is False, owner


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_volumes_and_secrets_that_pods_name_are_there_or_made_by_hand(overlay: str) -> None:
    there = {(one["kind"], one["metadata"]["name"]) for one in rendered(overlay, "platform")}
    keys: dict[str, set[str]] = {"mlflow": set(), "redis": set()}
    for owner, pod in pods(overlay).items():
        for volume in pod.get("volumes", []):
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in there, owner
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in there, owner
        for container in (*pod["containers"], *pod.get("initContainers", [])):
            for variable in container.get("env", []):
                if secret := variable.get("valueFrom", {}).get("secretKeyRef"):
                    keys[secret["name"]].add(secret["key"])
    readme = (ROOT / "infra" / "README.md").read_text()
    missing = [
        f"{name} {key}" for name, wanted in keys.items() for key in wanted if f"--from-literal={key}=" not in readme
    ]
    assert missing == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_listens_may_be_reached_and_by_those_who_need_it_alone(overlay: str) -> None:
    policies = {
        one["metadata"]["name"]: one["spec"] for one in rendered(overlay, "platform") if one["kind"] == "NetworkPolicy"
    }
    assert policies.pop("nobody-comes-in") == {"podSelector": {}, "policyTypes": ["Ingress"]}
    stores = policies["mlflow-stores"]
    assert {port["port"] for rule in stores["ingress"] for port in rule["ports"]} == {5432, 8333}
    assert stores["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in stores  # a database that a client takes over reaches nobody
    labels = {
        one["spec"]["template"]["metadata"]["labels"]["app"]
        for one in rendered(overlay, "platform")
        if one["kind"] in ("Deployment", "StatefulSet")
    }
    named = {app for app in labels if any(f"'{app}'" in repr(policy["podSelector"]) for policy in policies.values())}
    assert named == labels
    (world,) = [rule for rule in policies["ray"]["egress"] if "except" in repr(rule)]
    assert world["to"] == [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}}]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_head_is_evicted_and_workers_have_time_for_their_notice(overlay: str) -> None:
    budget = found(overlay, "platform", "PodDisruptionBudget")["spec"]
    assert budget["selector"] == {"matchLabels": {"ray.io/node-type": "head"}}
    assert budget["minAvailable"] > 100
    drain = found(overlay, "platform", "ConfigMap", "drain")["data"]
    for name, group in groups(ray_manifest(overlay, "cluster")):
        container = ray_container(group)
        if name == "head":
            assert "lifecycle" not in container
            continue
        program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
        assert program.removeprefix("/drain/") in drain
        assert {"name": "drain", "mountPath": "/drain"} in container["volumeMounts"]
        assert int(seconds) < group["template"]["spec"]["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_head_remembers_in_the_redis_that_stands_there(overlay: str) -> None:
    options = cluster_spec(ray_manifest(overlay, "cluster"))["gcsFaultToleranceOptions"]
    service = found(overlay, "platform", "Service", "redis")
    assert options["redisAddress"] == f"redis://redis:{service['spec']['ports'][0]['port']}"
    redis = found(overlay, "platform", "StatefulSet", "redis")["spec"]["template"]["spec"]["containers"][0]
    (password,) = redis["env"]
    assert password["valueFrom"] == options["redisPassword"]["valueFrom"]
    assert "--appendonly yes" in redis["command"][-1]


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
        both = mebibytes(spill["sizeLimit"]) + mebibytes(mounts["/tmp"]["emptyDir"]["sizeLimit"])  # noqa: S108
        assert both < mebibytes(limits["ephemeral-storage"])


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


def test_the_operator_accepts_how_a_job_is_cleaned_up(manifest: dict[str, Any]) -> None:
    """KubeRay 1.7, controllers/ray/utils/validation.go: validateDeletionConfiguration, which no schema says."""
    if manifest["kind"] != "RayJob":
        return
    spec = manifest["spec"]
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
