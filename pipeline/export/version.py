"""Logging of an export to the registered version that it comes from."""

import re
import shutil
import tempfile
from pathlib import Path

import mlflow
from mlflow.tracking import MlflowClient

from pipeline.export.run import REPORT, Exported, ExportError
from pipeline.tracking.runs import use

FOLDER = "export"
"""Folder of the export among the files of the registered model."""


def version_of(tracking_uri: str, model_uri: str) -> tuple[str, str, str]:
    """Return the name and version that a URI means, and the id of its logged model.

    Raises:
        ExportError: the URI means no registered version.
    """
    name, _, place = model_uri.removeprefix("models:/").partition("@" if "@" in model_uri else "/")
    client = MlflowClient(tracking_uri, tracking_uri)
    try:
        by_alias = "@" in model_uri
        found = client.get_model_version_by_alias(name, place) if by_alias else client.get_model_version(name, place)
    except mlflow.MlflowException as error:
        raise ExportError(f"--log: {model_uri}: {error.message}") from None
    logged = re.fullmatch(r"models:/(m-\w+)", found.source or "")
    if not found.model_id and not logged:
        raise ExportError(f"--log: {model_uri}: the registry does not say which logged model this version is")
    return name, str(found.version), found.model_id or (logged[1] if logged else "")


def log_export(tracking_uri: str, model_uri: str, done: Exported) -> str:
    """Add the programs, the ONNX files and the report to the files of a registered version; return its name.

    Raises:
        ExportError: the URI means no registered version, or its files cannot be added to.
    """
    use(tracking_uri)
    name, version, model_id = version_of(tracking_uri, model_uri)
    client = MlflowClient(tracking_uri, tracking_uri)
    with tempfile.TemporaryDirectory(dir=done.folder.absolute().parent) as folder:
        inner = Path(folder) / FOLDER
        inner.mkdir()
        for file in (*done.files, REPORT):
            shutil.copy(done.folder / file, inner / file)
        try:
            client.log_model_artifacts(model_id, folder)
            client.set_model_version_tag(name, version, "exported", ", ".join(done.files))
        except mlflow.MlflowException as error:
            raise ExportError(f"--log: {model_uri}: {error.message}") from None
    return f"{name} version {version}"
