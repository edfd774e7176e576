"""Environment of a run: versions, processor, GPUs and commit; and use of the hardware over time."""

import contextlib
import importlib.metadata
import importlib.util
import logging
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.tracking.runs import Run
from pipeline.tracking.source import commit

PACKAGES = (
    "av", "mlflow", "numba", "numpy", "opencv-contrib-python-headless", "pyarrow", "ray", "torch", "torchvision",
)  # fmt: skip
SAMPLE_S, SAMPLES = 10.0, 3  # system metrics are sampled every 10 s, and the mean of three samples is logged


def environment() -> dict[str, Any]:
    """Describe this process's machine and libraries as plain values; unknown values are left out."""
    found = {
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "platform": platform.platform(),
        "processor": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _gib(_field("/proc/meminfo", "MemTotal")),
        "commit": commit(),
        **_cuda(),
    }
    return {name: value for name, value in found.items() if value}


@contextlib.contextmanager
def system_metrics(run: Run, node: str | None = None) -> Iterator[None]:
    """Log the use of processor, memory, disk, network and GPUs to a run as `system/...`, twice a minute.

    Nothing is logged if psutil is not installed; GPUs need nvidia-ml-py.

    Args:
        run: the MLflow run, which is running.
        node: name of this machine in the metrics' names, if several machines log to one run.
    """
    if importlib.util.find_spec("psutil") is None:
        yield
        return
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)
    monitor = SystemMetricsMonitor(
        run.run_id, SAMPLE_S, SAMPLES, resume_logging=True, node_id=node, tracking_uri=run.uri
    )
    monitor._logging_step = max(1, monitor._logging_step)  # MLflow treats metrics of step 0 as those of a logged model
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _field(path: str, name: str) -> str:
    """Return the first value of a name in a Linux file with lines `name : value`; an empty string if there is none."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _gib(kilobytes: str) -> float:
    return round(int(kilobytes.split()[0]) / 2**20, 1) if kilobytes else 0.0


def _cuda() -> dict[str, Any]:
    import torch  # slow to import

    if not torch.cuda.is_available():
        return {"cuda": torch.version.cuda}
    driver = _field("/proc/driver/nvidia/version", "NVRM version").split("  ")
    return {
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": driver[1] if len(driver) > 1 else "",
        "gpus": [torch.cuda.get_device_name(device) for device in range(torch.cuda.device_count())],
    }
