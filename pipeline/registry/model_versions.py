"""Trained networks into MLflow's model registry, as models that take video."""

import dataclasses
import json
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import LoggedModelStatus, RunStatus
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS, MLFLOW_RUN_NOTE

import pipeline
from pipeline.config import VERSION, Config, ConfigError, from_dict
from pipeline.masking import masked
from pipeline.models.weights import read_weights
from pipeline.registry.requirements import requirements
from pipeline.registry.video_classifier import Asked, VideoClassifier
from pipeline.tracking.runs import Run, use

CARD = "model_card.md"
REGISTERED = "registered_model"  # tag of a run: NAME/VERSION
SHOWN = 20  # models that a message names
MAX_DESCRIPTION = 5000  # characters, of MLflow's tables; the whole card is an artifact anyway


class RegistryError(LookupError):
    """There is no such model; one line, for the user."""


def load_classifier(tracking_uri: str, model_uri: str) -> VideoClassifier:
    """A registered model, ready to classify videos.

    Raises:
        RegistryError: the registry knows no such model, version or alias, or it is not one that this package reads.
    """
    with tempfile.TemporaryDirectory() as folder:
        stored = fetch(tracking_uri, model_uri, Path(folder))
        try:
            return VideoClassifier.load(stored.labels, from_dict(Config, stored.config), stored.weights)
        except ConfigError as error:
            raise RegistryError(f"{model_uri}: registered by another version of this package: {error}") from None


def newest(tracking_uri: str, alias: str = "candidate") -> str:
    """URI of the model that an alias was given to last, whatever its name.

    Raises:
        RegistryError: no model of the registry has the alias.
    """
    client = MlflowClient(tracking_uri, tracking_uri)
    versions = [
        client.get_model_version(model.name, model.aliases[alias])
        for model in client.search_registered_models(max_results=1000)
        if alias in model.aliases
    ]
    if not versions:
        where = f"{masked(tracking_uri)}{_known(tracking_uri)}"
        raise RegistryError(f"no model is registered as {alias} in {where}; see --model and --tracking")
    return f"models:/{max(versions, key=lambda version: version.creation_timestamp).name}@{alias}"


@dataclass(frozen=True)
class Registered:
    """The parts of a registered video classifier.

    Attributes:
        labels: class names in the order of the logits.
        config: with which it was trained, as a dict.
        weights: local state dict file of each stream.
        version: the version of this package that logged them; empty where it is not known.
    """

    labels: tuple[str, ...]
    config: dict[str, Any]
    weights: dict[str, Path]
    version: str = ""


def fetch(tracking_uri: str, model_uri: str, folder: Path) -> Registered:
    """Download what `register` stored.

    Args:
        tracking_uri: the tracking URI of the registry.
        model_uri: such as `models:/video-i3d-two-stream@candidate`.
        folder: to download to.

    Raises:
        RegistryError: the registry knows no such model, or it is not one that this package registered.
    """
    use(tracking_uri)
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    try:
        local = Path(mlflow.artifacts.download_artifacts(model_uri, dst_path=str(folder)))
        stored = mlflow.models.Model.load(str(local)).flavors["python_function"]["artifacts"]
        described = json.loads((local / stored["model"]["path"]).read_text())
        weights = {stream: local / stored[stream]["path"] for stream in described["streams"]}
        return Registered(tuple(described["labels"]), described["config"], weights, described.get("version", ""))
    except mlflow.MlflowException as error:
        said = f"{model_uri}: {error.message} (registry {masked(tracking_uri)}{_known(tracking_uri)})"
        raise RegistryError(said) from None
    except (KeyError, OSError) as error:
        raise RegistryError(f"{model_uri}: not a video classifier of this package: {error}") from None


def _known(tracking_uri: str) -> str:
    """The models that there are, for the message that one is not; empty where the registry does not say."""
    try:
        models = MlflowClient(tracking_uri, tracking_uri).search_registered_models(max_results=SHOWN)
    except mlflow.MlflowException:
        return ""
    uris = [
        f"models:/{model.name}{place}"
        for model in models
        for place in ([f"@{alias}" for alias in model.aliases] or ["/VERSION"])
    ]
    return f": there is {', '.join(uris)}" if uris else ": no model is registered there"


@dataclass(frozen=True)
class LoggedModel:
    """A model in a run, not in the registry yet."""

    model_id: str
    uri: str


def log_classifier(
    run: Run, weights: Mapping[str, str], labels: Sequence[str], config: Mapping[str, Any], example: bytes
) -> LoggedModel:
    """Log a video classifier to the run that trained it.

    Args:
        run: the run of MLflow.
        weights: state dict file of each stream.
        labels: class names in the order of the logits.
        config: the resolved config, as a dict.
        example: one encoded video, stored as the input example.
    """
    use(run.uri)
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    with tempfile.TemporaryDirectory() as folder:
        described = Path(folder) / "model.json"
        known = {stream: read_weights(file).provenance.to_dict() for stream, file in weights.items()}
        about = {"version": VERSION, "labels": list(labels), "streams": list(weights), "networks": known}
        described.write_text(json.dumps({**about, "config": masked(dict(config))}))
        stored = from_dict(Config, config)
        with mlflow.start_run(run_id=run.run_id), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Decorate your function")  # it checks each video itself
            info = mlflow.pyfunc.log_model(
                name="video_classifier",
                python_model=str(Path(__file__).with_name("pyfunc.py")),
                artifacts={"model": str(described), **weights},
                code_paths=[str(Path(pipeline.__file__).parent)],
                pip_requirements=requirements(stored.ingest, stored.model),
                input_example=([example], dataclasses.asdict(Asked())),  # which states the parameters' defaults too
            )
    run.client.update_run(run.run_id, RunStatus.to_string(RunStatus.RUNNING))  # leaving it has ended it, too early
    mlflow.clear_active_model()  # trying the example made it one: system metrics would be logged as the model's
    return LoggedModel(info.model_id, info.model_uri)


def logged_before(run: Run) -> LoggedModel | None:
    """The model that a run has logged whole, before it was interrupted; None where there is none."""
    outputs = run.client.get_run(run.run_id).outputs
    models = [run.client.get_logged_model(one.model_id) for one in (outputs.model_outputs if outputs else [])]
    whole = [model for model in models if model.status == LoggedModelStatus.READY]
    return LoggedModel(whole[-1].model_id, whole[-1].model_uri) if whole else None


def registered_before(run: Run, name: str) -> str | None:
    """The version as which a run has registered its model, before it was interrupted; None where it has not."""
    if not name or REGISTERED not in run.client.get_run(run.run_id).data.tags:
        return None
    return _version_of(run, name)


def _version_of(run: Run, name: str) -> str | None:
    versions = run.client.search_model_versions(f"run_id = '{run.run_id}'")
    return next((str(version.version) for version in versions if version.name == name), None)


def register(run: Run, model: LoggedModel, name: str, alias: str, card: str, tags: Mapping[str, object]) -> str:
    """Register a logged model as a new version with its card, and move the alias to it.

    Args:
        run: that trained it.
        model: logged to that run.
        name: the name of the registered model.
        alias: such as `candidate`.
        card: Markdown; the version's description, and `model_card.md` of the run and of the model.
        tags: the tags of the version, and of the logged model.

    Returns:
        The version.
    """
    use(run.uri)  # MLflow looks for the logged model there, and not where the client is
    client = run.client
    texts, card = {key: masked(str(value)) for key, value in tags.items()}, masked(card)
    client.set_logged_model_tags(model.model_id, {**texts, MLFLOW_RUN_NOTE: card[:MAX_DESCRIPTION]})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / CARD
        file.write_text(card, encoding="utf-8")
        client.log_model_artifact(model.model_id, str(file))
        client.log_artifact(run.run_id, str(file))
    if not client.search_registered_models(f"name = '{name}'"):
        about = f"Video in, actions out. Each version has its model card; `models:/{name}@{alias}` is the newest."
        client.create_registered_model(name, description=about)
    version = _version_of(run, name) or str(
        client.create_model_version(
            name, model.uri, run.run_id, tags=texts, description=card[:MAX_DESCRIPTION], model_id=model.model_id
        ).version
    )
    versions = json.dumps([{"name": name, "version": int(version)}])
    client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: versions})  # the page of the logged model
    client.set_registered_model_alias(name, alias, version)
    run.set_tags({REGISTERED: f"{name}/{version}"})  # last: a run without it is registered when it goes on
    return version
