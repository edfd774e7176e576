"""The packages that a registered model needs where it is served, in the versions that are installed here."""

import importlib.metadata

from pipeline.config import IngestConfig, ModelConfig
from pipeline.networks import network_inputs

NEEDED = ("av", "mlflow", "numpy", "opencv-contrib-python-headless", "pydantic", "pyyaml", "torch")
FLOW = ("numba",)
"""Needed by the `cpu` backend of TV-L1, which computes the flow if the serving machine has no GPU."""


def requirements(ingest: IngestConfig, model: ModelConfig) -> list[str]:
    """Return the lines of a requirements file for a model and the ingest that prepares its videos.

    The local part of a version, such as that of a build for one CUDA version, is left out, because package indexes do
    not have it.
    """
    flow = any("flow" in streams for streams in network_inputs(model).values())
    names = [*NEEDED, *(FLOW if flow and ingest.flow.backend != "opencv" else ())]
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in sorted(names)]
