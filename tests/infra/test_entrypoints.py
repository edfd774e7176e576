"""Every command of the RayJobs is one that the job it names understands and that its cluster can carry."""

import importlib.util
import re
import shlex
import sys
from pathlib import PurePosixPath
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest

from pipeline.command_line import check_fields, overrides
from pipeline.commands import training
from pipeline.config import Config
from pipeline.submission import resolve
from pipeline.workers import Machines, fitted

from .manifests import JOBS, OVERLAYS, ROOT, found, groups, ray_container, ray_manifest, values

WITH_RECIPE = ("ingest", "pretrain", "finetune", "transfer", "sweep", "reproduce")


class Parsed(Exception):  # noqa: N818
    """Ends a job as soon as its command line is read, before Ray starts."""


def script(entrypoint: str, monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, list[str]]:
    """The job that an entrypoint names, as a module, and its arguments."""
    program, name, *arguments = shlex.split(entrypoint)
    assert program == "python"
    spec = importlib.util.spec_from_file_location("job", ROOT / name)
    assert spec
    assert spec.loader
    job = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "job", job)
    spec.loader.exec_module(job)
    return job, arguments


def parsed(entrypoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The config that a job makes of a command line, by the job's own main."""
    job, arguments = script(entrypoint, monkeypatch)
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


def entrypoint(overlay: str, name: str) -> str:
    return ray_manifest(overlay, name)["spec"]["entrypoint"]


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", WITH_RECIPE)
def test_jobs_understand_their_entrypoints(name: str, overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = parsed(entrypoint(overlay, name), monkeypatch)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")  # what a submitted job finds
    resolve(config)  # refuses relative paths there


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", sorted(set(JOBS) - set(WITH_RECIPE)))
def test_jobs_with_options_of_their_own_understand_them(
    name: str, overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.commands.words import parsed as split

    job, arguments = script(entrypoint(overlay, name), monkeypatch)
    options = sys.modules[job.main.__module__].options()
    given, rest = (options.parse_args(arguments), []) if name == "benchmark" else split(options, arguments)
    check_fields(Config, overrides(rest))
    words = [word for word in arguments if word.startswith(("/", "."))]
    assert [word for word in words if not word.startswith(("/data/", "/storage/"))] == []
    assert vars(given)


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
    command = entrypoint("gpu", "pretrain")
    with pytest.raises(SystemExit) as error:
        parsed(f"{command} {wrong}", monkeypatch)
    assert error.value.code == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", ["ingest", "pretrain"])
def test_paths_lie_on_volumes_of_every_node(overlay: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = ray_manifest(overlay, name)
    config = parsed(manifest["spec"]["entrypoint"], monkeypatch)
    read = [path for path in (config.catalog.videos, *config.catalog.annotations.values()) if path]
    for _, group in groups(manifest):
        mounts = {PurePosixPath(m["mountPath"]): m for m in ray_container(group)["volumeMounts"]}
        for path in [*read, config.storage]:
            (mount,) = [m for place, m in mounts.items() if PurePosixPath(path).is_relative_to(place)]
            assert mount.get("readOnly", False) == (path in read)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_training_looks_for_what_ingest_made(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are taken as they are only if plan and place agree, else the training would ingest anew, or fail."""
    ingest, pretrain = (parsed(entrypoint(overlay, name), monkeypatch) for name in ("ingest", "pretrain"))
    assert (ingest.storage, ingest.catalog, ingest.ingest) == (pretrain.storage, pretrain.catalog, pretrain.ingest)
    shards = ingest.resolved().ingest.shards
    for name in ("inspect", "webdataset"):
        assert entrypoint(overlay, name).split()[2] == shards


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_models_and_runs_that_jobs_name_are_those_that_pretraining_makes(
    overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = parsed(entrypoint(overlay, "pretrain"), monkeypatch)
    model = f"models:/{config.tracking.registered_model}@{config.tracking.alias}"
    for name in ("evaluate", "extract", "predict", "export"):
        assert f"--model {model} " in f"{entrypoint(overlay, name)} "
    for weights in re.findall(r"--model\.weights\.\w+ (\S+)", entrypoint(overlay, "finetune")):
        assert weights == f"{config.storage}/runs/{config.name}"


def test_the_cluster_carries_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """As pipeline.cluster.connect counts, with the nodes that are there when the job starts."""
    manifest = ray_manifest("gpu", "pretrain")
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

    paper, ours = i3d_kinetics(), parsed(entrypoint("gpu", "pretrain"), monkeypatch)
    assert (ours.clips_of_a_step, ours.optimiser) == (paper.clips_of_a_step, paper.optimiser)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_runs_are_tracked_by_the_mlflow_of_the_same_namespace(overlay: str) -> None:
    port = found(overlay, "platform", "Service", "mlflow")["spec"]["ports"][0]["port"]
    for name, arguments in values(overlay)["jobs"].items():
        uris = re.findall(r"--(?:base\.)?tracking(?:\.uri)? (\S+)", arguments)
        assert {urlsplit(uri)[:2] for uri in uris} <= {("http", f"mlflow:{port}")}, name
        if name not in ("ingest", "inspect", "webdataset", "benchmark"):
            assert uris, name


def test_the_image_brings_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The image holds them; installing at the start of a job would undo its lock."""
    for overlay in OVERLAYS:
        for name in JOBS:
            assert "runtimeEnvYAML" not in ray_manifest(overlay, name)["spec"]
