"""Logging, registration and loading of trained networks as MLflow models that take video."""

import dataclasses
import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import LoggedModelStatus, RunStatus
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS, MLFLOW_RUN_NOTE, MLFLOW_USER

import pipeline
from pipeline.config import Config, ConfigError, from_dict
from pipeline.masking import masked
from pipeline.registry.model_folder import (
    DESCRIPTION,
    MLMODEL,
    ModelFolderError,
    StoredClassifier,
    describe,
    read_model_folder,
)
from pipeline.registry.requirements import requirements
from pipeline.registry.video_classifier import Asked, VideoClassifier
from pipeline.tracking.moved import as_read, follow_storage
from pipeline.tracking.runs import Run, every_page, use

CARD = "model_card.md"
REGISTERED = "registered_model"  # tag of a run, with the value NAME/VERSION
NO_FILES = "No such artifact: "  # how MLflow begins to say that a folder of artifacts is not there
SHOWN = 20  # largest number of models that a message names
MAX_DESCRIPTION = 5000  # characters, the limit of MLflow's tables; the whole card is also an artifact


class RegistryError(LookupError):
    """There is no such model; the message is one line for the user."""


def load_classifier(tracking_uri: str, model_uri: str) -> VideoClassifier:
    """Load a registered model, ready to classify videos.

    Raises:
        RegistryError: the registry knows no such model, version or alias, or this package cannot read the model.
    """
    with tempfile.TemporaryDirectory() as folder:
        stored = fetch(tracking_uri, model_uri, Path(folder))
        try:
            return VideoClassifier.from_weights(stored.labels, from_dict(Config, stored.config), stored.weights)
        except ConfigError as error:
            raise RegistryError(f"{model_uri}: registered by another version of this package: {error}") from None


def newest(tracking_uri: str, alias: str = "candidate") -> str:
    """Return the URI of the newest model version, of any name, that has an alias.

    Raises:
        RegistryError: no model of the registry has the alias.
    """
    client = MlflowClient(tracking_uri, tracking_uri)
    models: Iterable[RegisteredModel] = every_page(lambda token: client.search_registered_models(page_token=token))
    versions = [client.get_model_version(one.name, one.aliases[alias]) for one in models if alias in one.aliases]
    if not versions:
        where = f"{masked(tracking_uri)}{_known(tracking_uri)}"
        raise RegistryError(f"no model is registered as {alias} in {where}; see --model and --tracking")
    return f"models:/{max(versions, key=lambda version: version.creation_timestamp).name}@{alias}"


def fetch(tracking_uri: str, model_uri: str, folder: Path) -> StoredClassifier:
    """Download a model that `log_classifier` stored, and read what it says of itself; no code of it is run.

    Args:
        tracking_uri: tracking URI of the registry.
        model_uri: URI of the model, such as `models:/video-i3d-two-stream@candidate`.
        folder: folder to download to.

    Raises:
        RegistryError: the registry knows no such model, or this package did not register it.
    """
    use(tracking_uri)
    follow_storage(tracking_uri)
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    try:
        local = Path(mlflow.artifacts.download_artifacts(model_uri, dst_path=str(folder)))
        if not (local / MLMODEL).is_file():
            raise mlflow.MlflowException(NO_FILES)
        return read_model_folder(local)
    except mlflow.MlflowException as error:
        lost = "its files are not where the registry says; move mlflow.db and mlartifacts together"
        why = lost if error.message.startswith(NO_FILES) else error.message
        said = f"{model_uri}: {why} (registry {masked(tracking_uri)}{_known(tracking_uri)})"
        raise RegistryError(said) from None
    except ModelFolderError as error:
        said = str(error).removeprefix(f"{local}: ")
        if said.endswith("is missing"):
            raise RegistryError(f"{model_uri}: {said} among its files in the registry's artifacts") from None
        raise RegistryError(
            f"{model_uri}: {said}; MLflow would run the code in it, and this package does not"
        ) from None


def author(tracking_uri: str, model_uri: str) -> str:
    """Return the user who logged a registered model, as MLflow has recorded it; an empty string if it is not known."""
    named = re.fullmatch(r"models:/([^/@]+)(?:/(\d+)|@([^/@]+))", model_uri)
    if named is None:
        return ""
    client = MlflowClient(tracking_uri, tracking_uri)
    try:
        name, number, alias = named.groups()
        found = client.get_model_version(name, number) if number else client.get_model_version_by_alias(name, alias)
        user = client.get_run(found.run_id).data.tags.get(MLFLOW_USER, "") if found.run_id else ""
    except mlflow.MlflowException:
        return ""
    return "".join(character for character in user if character.isprintable())[:64]


def _known(tracking_uri: str) -> str:
    """List the registered models, for an error message; return an empty string if the registry does not answer."""
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
    """A model that is logged to a run and need not be registered yet."""

    model_id: str
    uri: str


def log_classifier(
    run: Run, weights: Mapping[str, str], labels: Sequence[str], config: Mapping[str, Any], example: bytes
) -> LoggedModel:
    """Log a video classifier to the run that trained it.

    Args:
        run: the MLflow run.
        weights: state dict file of each stream.
        labels: class names in the order of the logits.
        config: the resolved config, as a dict.
        example: one encoded video, stored as the input example.
    """
    use(run.uri)
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    with tempfile.TemporaryDirectory() as folder:
        described = Path(folder) / DESCRIPTION
        described.write_text(json.dumps(describe(labels, config, weights)))
        stored = from_dict(Config, config)
        files = {  # MLflow reads some paths as URIs, and takes copies in a folder with a plain name as they are
            stream: path if as_read(path) == path else str(shutil.copy(path, Path(folder) / f"{stream}.pt"))
            for stream, path in weights.items()
        }
        with mlflow.start_run(run_id=run.run_id), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Decorate your function")  # `predict` checks each video itself
            info = mlflow.pyfunc.log_model(
                name="video_classifier",
                python_model=str(Path(__file__).with_name("pyfunc.py")),
                artifacts={"model": str(described), **files},
                code_paths=[str(Path(pipeline.__file__).parent)],
                pip_requirements=requirements(stored.ingest, stored.model),
                input_example=([example], dataclasses.asdict(Asked())),  # this also states the default parameters
            )
    run.client.update_run(run.run_id, RunStatus.to_string(RunStatus.RUNNING))  # `start_run` has ended it too early
    mlflow.clear_active_model()  # trying the example activated it; system metrics would be logged as the model's
    return LoggedModel(info.model_id, info.model_uri)


def logged_before(run: Run) -> LoggedModel | None:
    """Return the complete model that a run logged before it was interrupted; None if there is none."""
    outputs = run.client.get_run(run.run_id).outputs
    models = [run.client.get_logged_model(one.model_id) for one in (outputs.model_outputs if outputs else [])]
    whole = [model for model in models if model.status == LoggedModelStatus.READY]
    return LoggedModel(whole[-1].model_id, whole[-1].model_uri) if whole else None


def registered_before(run: Run, name: str) -> str | None:
    """Return the version that a run registered before it was interrupted; None if there is none."""
    if not name or REGISTERED not in run.client.get_run(run.run_id).data.tags:
        return None
    return _version_of(run, name)


def _version_of(run: Run, name: str) -> str | None:
    versions = run.client.search_model_versions(f"run_id = '{run.run_id}'")
    return next((str(version.version) for version in versions if version.name == name), None)


def register(run: Run, model: LoggedModel, name: str, alias: str, card: str, tags: Mapping[str, object]) -> str:
    """Register a logged model as a new version with its card, and move the alias to it.

    Args:
        run: the MLflow run that trained the model.
        model: the model logged to that run.
        name: name of the registered model.
        alias: alias of the version, such as `candidate`.
        card: Markdown text for the version's description and for `model_card.md` of the run and of the model.
        tags: tags of the version and of the logged model.

    Returns:
        The version.
    """
    use(run.uri)  # MLflow looks for the logged model there, not at the URI of the client
    client = run.client
    texts, card = {key: masked(str(value)) for key, value in tags.items()}, masked(card)
    client.set_logged_model_tags(model.model_id, {**texts, MLFLOW_RUN_NOTE: card[:MAX_DESCRIPTION]})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / CARD
        file.write_text(card, encoding="utf-8")
        client.log_model_artifact(model.model_id, str(file))
        client.log_artifact(run.run_id, str(file))
    wanted = f"name = '{name}'"
    if not client.search_registered_models(wanted):
        about = f"Video in, actions out. Each version has its model card; `models:/{name}@{alias}` is the newest."
        try:
            client.create_registered_model(name, description=about)
        except MlflowException:
            if not client.search_registered_models(wanted):
                raise  # otherwise another job has created it in the meantime
    version = _version_of(run, name) or str(
        client.create_model_version(
            name, model.uri, run.run_id, tags=texts, description=card[:MAX_DESCRIPTION], model_id=model.model_id
        ).version
    )
    versions = json.dumps([{"name": name, "version": int(version)}])
    client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: versions})  # for the page of the logged model
    client.set_registered_model_alias(name, alias, version)
    run.set_tags({REGISTERED: f"{name}/{version}"})  # set last: a resumed run without it registers its model
    return version
