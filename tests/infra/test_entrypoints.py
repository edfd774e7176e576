"""Every command of the RayJobs is one that the job it names understands and that its cluster can carry."""

import importlib.util
import re
import shlex
import sys
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from pipeline.commands import training
from pipeline.config import Config
from pipeline.submission import resolve
from pipeline.workers import Machines, fitted

from .manifests import JOB_FILES, KUBERAY, ROOT, document, documents, groups, ray_container


class Parsed(Exception):  # noqa: N818
    """Ends a job as soon as its command line is read, before Ray starts."""


def parsed(entrypoint: str, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The config that a job makes of a command line, by the job's own main."""
    program, script, *arguments = shlex.split(entrypoint)
    assert program == "python"
    spec = importlib.util.spec_from_file_location("job", ROOT / script)
    assert spec
    assert spec.loader
    job = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "job", job)
    spec.loader.exec_module(job)
    homes = (sys.modules[job.main.__module__], training)  # where the command line is read
    home = next(module for module in homes if hasattr(module, "parse"))
    parse, configs = home.parse, []

    def parse_and_end(*args: Any, **options: Any) -> None:
        configs.append(parse(*args, **options))
        raise Parsed

    with monkeypatch.context() as patched:
        patched.setattr(home, "parse", parse_and_end)
        with pytest.raises(Parsed):
            job.main(arguments)
    return configs[0]


@pytest.fixture(params=JOB_FILES)
def manifest(request: pytest.FixtureRequest) -> dict[str, Any]:
    return document(request.param)


def test_jobs_understand_their_entrypoints(manifest: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    config = parsed(manifest["spec"]["entrypoint"], monkeypatch)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")  # what a submitted job finds
    resolve(config)  # refuses relative paths there


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("--resources.worker 8", "did you mean --resources.workers?"),
        ("--optimiser.lr fast", "optimiser.lr: 'fast'"),
        ("--recipe i3d_kinetic", "did you mean i3d_kinetics?"),
    ],
)
def test_a_wrong_argument_would_be_refused(
    wrong: str, hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entrypoint = document("rayjob-pretrain.yaml")["spec"]["entrypoint"]
    with pytest.raises(SystemExit) as error:
        parsed(f"{entrypoint} {wrong}", monkeypatch)
    assert error.value.code == 2
    assert hint in capsys.readouterr().err


def test_paths_lie_on_volumes_of_every_node(manifest: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    config = parsed(manifest["spec"]["entrypoint"], monkeypatch)
    read = [config.catalog.videos, *config.catalog.annotations.values()]
    for _, group in groups(manifest):
        mounts = {PurePosixPath(m["mountPath"]): m for m in ray_container(group)["volumeMounts"]}
        for path in [*read, config.storage]:
            (mount,) = [m for place, m in mounts.items() if PurePosixPath(path).is_relative_to(place)]
            assert mount.get("readOnly", False) == (path in read)


def test_training_looks_for_what_ingest_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are taken as they are only if plan and place agree, else the training would ingest anew, or fail."""
    ingest, pretrain = (parsed(document(name)["spec"]["entrypoint"], monkeypatch) for name in JOB_FILES)
    assert (ingest.storage, ingest.catalog, ingest.ingest) == (pretrain.storage, pretrain.catalog, pretrain.ingest)


def test_the_cluster_carries_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """As pipeline.cluster.connect counts, with the nodes that are there when the job starts."""
    manifest = document("rayjob-pretrain.yaml")
    wanted = parsed(manifest["spec"]["entrypoint"], monkeypatch)
    limits = [
        (group["minReplicas"], ray_container(group)["resources"]["limits"])
        for name, group in groups(manifest)
        if name != "head"
    ]
    there = Machines(
        cpus=tuple(float(limit["cpu"]) for nodes, limit in limits for _ in range(nodes)),
        gpus=sum(nodes * int(limit.get("nvidia.com/gpu", 0)) for nodes, limit in limits),
    )
    assert there.gpus == wanted.resources.workers
    assert fitted(wanted, there).training.accumulate == 8  # 8 workers x 8 times 6 clips


def test_steps_and_learning_rate_are_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.recipes.quo_vadis import i3d_kinetics

    paper, ours = i3d_kinetics(), parsed(document("rayjob-pretrain.yaml")["spec"]["entrypoint"], monkeypatch)
    assert (ours.clips_of_a_step, ours.optimiser) == (paper.clips_of_a_step, paper.optimiser)


def test_runs_are_tracked_by_the_mlflow_of_the_same_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = urlsplit(parsed(document("rayjob-pretrain.yaml")["spec"]["entrypoint"], monkeypatch).tracking.uri)
    services = {d["metadata"]["name"]: d for d in documents(KUBERAY / "mlflow.yaml") if d["kind"] == "Service"}
    assert uri.hostname
    assert uri.port in [port["port"] for port in services[uri.hostname]["spec"]["ports"]]


def test_runtime_environments_add_no_libraries(manifest: dict[str, Any]) -> None:
    """The image holds them; installing at the start of a job would undo its lock."""
    environment = yaml.safe_load(manifest["spec"].get("runtimeEnvYAML", "{}"))
    assert set(environment) <= {"env_vars"}


def test_the_resume_advice_names_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (KUBERAY / "rayjob-pretrain.yaml").read_text()
    advised = re.search(r"--resume (\S+)", text)
    assert advised
    assert advised[1] == parsed(document("rayjob-pretrain.yaml")["spec"]["entrypoint"], monkeypatch).name
