"""The files of infra/ as the tests see them, rendered by Kustomize, and a strict validator for custom resources."""

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
KUBERAY = INFRA / "kuberay"
OVERLAYS = ("kind", "cpu", "gpu")
JOBS = ("ingest", "inspect", "webdataset", "pretrain", "finetune", "transfer", "sweep", "reproduce", "evaluate")
JOBS = (*JOBS, "extract", "predict", "export", "benchmark")


@functools.cache
def rendered(overlay: str, what: str) -> tuple[dict[str, Any], ...]:
    """Every object of `kubectl kustomize infra/kuberay/overlays/OVERLAY/WHAT`; skips where there is no Kustomize.

    Whoever takes an object must not change it.
    """
    if program := shutil.which("kubectl"):
        command = [program, "kustomize"]
    elif program := shutil.which("kustomize"):
        command = [program, "build"]
    else:
        pytest.skip("neither kubectl nor kustomize is there to render the overlays")
    folder = KUBERAY / "overlays" / overlay / what
    done = subprocess.run([*command, folder], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return tuple(loaded(done.stdout))


def values(overlay: str) -> dict[str, Any]:
    """The values of an overlay, as they stand in its file."""
    (only,) = documents(KUBERAY / "overlays" / overlay / "values" / "values.yaml")
    return only["spec"]


def found(overlay: str, what: str, kind: str, name: str = "") -> dict[str, Any]:
    """The one object of a kind, and of a name if there are several."""
    (only,) = [one for one in rendered(overlay, what) if one["kind"] == kind and name in ("", one["metadata"]["name"])]
    return only


def ray_manifest(overlay: str, name: str) -> dict[str, Any]:
    """The RayJob of a name, or the standing RayCluster, `cluster`."""
    if name == "cluster":
        return found(overlay, "platform", "RayCluster")
    return found(overlay, "jobs", "RayJob", name)


def loaded(text: str) -> list[dict[str, Any]]:
    """Every YAML document of a text."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # KubeRay's definitions are a megabyte each
    return [document for document in yaml.load_all(text, loader) if document]


def documents(path: Path) -> list[dict[str, Any]]:
    """Every YAML document of a file."""
    return loaded(path.read_text())


def cluster_spec(manifest: dict[str, Any]) -> dict[str, Any]:
    """The RayCluster's spec, of itself or inside a RayJob."""
    return manifest["spec"] if manifest["kind"] == "RayCluster" else manifest["spec"]["rayClusterSpec"]


def groups(manifest: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Head and worker groups by name."""
    spec = cluster_spec(manifest)
    yield "head", spec["headGroupSpec"]
    for group in spec["workerGroupSpecs"]:
        yield group["groupName"], group


def ray_container(group: dict[str, Any]) -> dict[str, Any]:
    """The container that runs Ray: the operator takes the first."""
    return group["template"]["spec"]["containers"][0]


@functools.cache
def crd_schema(kind: str) -> dict[str, Any]:
    """The strict JSON schema of a KubeRay kind at ray.io/v1; skips where the definitions are not at hand."""
    folder = Path(os.environ.get("KUBERAY_CRDS") or ROOT.parent / "shared" / "kuberay-crds")
    path = folder / f"ray.io_{kind.lower()}s.yaml"
    if not path.is_file():
        pytest.skip(f"{path}: not there; point KUBERAY_CRDS at KubeRay's ray-operator/config/crd/bases")
    (version,) = [v for v in documents(path)[0]["spec"]["versions"] if v["name"] == "v1"]
    return strict(version["schema"]["openAPIV3Schema"])


def strict(schema: Any) -> Any:
    """A structural schema that refuses unknown fields, as the API server does for `kubectl create`."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {
        # the names under `properties` are fields, not keywords
        key: {name: strict(part) for name, part in value.items()} if key == "properties" else strict(value)
        for key, value in schema.items()
    }
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if "properties" in schema and not open_ended:
        closed["additionalProperties"] = False
    return closed


def errors(schema: dict[str, Any], manifest: dict[str, Any]) -> list[str]:
    """What is wrong, as `field.path: message`."""
    found = jsonschema.Draft202012Validator(schema).iter_errors(manifest)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found]


def locked(name: str, lock: Path = ROOT / "requirements.lock") -> str:
    """The version of a library in a lock file; skips where there is no lock."""
    if not lock.is_file():
        pytest.skip(f"{lock}: not there")
    match = re.search(rf"^{re.escape(name)}==([^\s;]+)", lock.read_text(), re.MULTILINE)
    assert match, f"{lock.name} does not hold {name}"
    return match[1]


def mebibytes(quantity: str | int) -> float:
    """A Kubernetes quantity of bytes in MiB."""
    units = {"Ki": 2**-10, "Mi": 1.0, "Gi": 2.0**10, "Ti": 2.0**20, "": 2.0**-20}
    match = re.fullmatch(r"(\d+)(Ki|Mi|Gi|Ti|)", str(quantity))
    assert match, f"{quantity}: no quantity that these tests understand"
    return int(match[1]) * units[match[2]]
