"""The one entry to TV-L1 (Zach, Pock and Bischof 2007): checks its input and hands it to a backend."""

import functools
import inspect
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.flow import opencv

Backend = Callable[..., NDArray[np.float32]]
BACKENDS: Mapping[str, Backend] = {"opencv": opencv.tvl1}


def resolve_backend(backend: str) -> str:
    """The backend that `auto` stands for on this machine; any other name as it is.

    Raises:
        ValueError: no backend has this name.
    """
    if backend == "auto":
        return "opencv"
    if backend not in BACKENDS:
        raise ValueError(f"flow backend {backend!r}: unknown; one of auto, {', '.join(BACKENDS)}")
    return backend


def version(backend: str) -> str:
    """Name and version of the library behind a backend, for the record."""
    return {"opencv": opencv.version}[resolve_backend(backend)]()


def tvl1(frames: NDArray[np.uint8], backend: str = "auto", **parameters: float) -> NDArray[np.float32]:
    """TV-L1 optical flow from each frame to the next.

    Args:
        frames: (T, H, W) grey or (T, H, W, 3) RGB, uint8, T >= 2.
        backend: a key of `BACKENDS`, or `auto`.
        **parameters: OpenCV's names and defaults: tau 0.25, lambda (also lambda_) 0.15, theta 0.3, nscales 5, warps 5,
            epsilon 0.01, innerIterations 30, outerIterations 10, scaleStep 0.8, gamma 0, medianFiltering 5.

    Returns:
        (T - 1, H, W, 2) float32, x before y, in pixels; flow[t] goes from frames[t] to frames[t + 1].

    Raises:
        TypeError: frames are not a uint8 array, or a parameter is unknown.
        ValueError: wrong shape, fewer than two frames, or an unknown backend.
    """
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8:
        found = frames.dtype if isinstance(frames, np.ndarray) else type(frames).__name__
        raise TypeError(f"frames: {found}; expected a NumPy array of uint8")
    if frames.ndim not in (3, 4) or (frames.ndim == 4 and frames.shape[-1] != 3) or 0 in frames.shape[1:]:
        raise ValueError(f"frames: shape {frames.shape}; expected (T, H, W) grey or (T, H, W, 3) RGB")
    if len(frames) < 2:
        raise ValueError(f"frames: {len(frames)} given; flow needs at least two")
    if "lambda" in parameters:
        parameters["lambda_"] = parameters.pop("lambda")
    compute = BACKENDS[resolve_backend(backend)]
    unknown = parameters.keys() - _parameters(compute)
    if unknown:
        raise TypeError(f"TV-L1 parameter {min(unknown)!r}: unknown; one of {', '.join(sorted(_parameters(compute)))}")
    return compute(frames, **parameters)


@functools.cache
def _parameters(compute: Backend) -> frozenset[str]:
    return frozenset(list(inspect.signature(compute).parameters)[1:])
