"""The packages that a registered model needs where it is served, with the versions that are installed here."""

import importlib.metadata

from pipeline.config import IngestConfig, ModelConfig
from pipeline.networks import network_inputs

NEEDED = ("av", "mlflow", "numpy", "opencv-contrib-python-headless", "pydantic", "pyyaml", "torch")
FLOW = ("numba",)
"""For the `cpu` backend of TV-L1, which a GPU's machine may lack as well."""


def requirements(ingest: IngestConfig, model: ModelConfig) -> list[str]:
    """Lines of a requirements file for a model and the ingest that prepares its videos.

    A version's local part, such as that of a build for one CUDA, is left out: package indexes do not have it.
    """
    flow = any("flow" in streams for streams in network_inputs(model).values())
    names = [*NEEDED, *(FLOW if flow and ingest.flow.backend != "opencv" else ())]
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in sorted(names)]
