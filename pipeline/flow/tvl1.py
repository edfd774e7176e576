"""The only entry point to TV-L1 (Zach, Pock and Bischof 2007): it checks its input and passes it to a backend."""

import functools
import importlib
import inspect
from collections.abc import Mapping
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike, NDArray

# The module of each backend, which has `tvl1` and `version`; it is imported at its first use.
BACKENDS: Mapping[str, str] = {
    "opencv": "pipeline.flow.opencv",
    "cpu": "pipeline.flow.cpu.engine",
    "cuda": "pipeline.flow.cuda",
}


def resolve_backend(backend: str) -> str:
    """Return `cpu`, the backend of a single process, for `auto`; return any other name unchanged.

    Raises:
        ValueError: no backend has this name.
    """
    if backend == "auto":
        return "cpu"
    if backend not in BACKENDS:
        raise ValueError(f"flow backend {backend!r}: unknown; one of auto, {', '.join(BACKENDS)}")
    return backend


def version(backend: str) -> str:
    """Return the name and version of the library behind a backend, for the record."""
    return str(_module(backend).version())


def tvl1(
    frames: NDArray[np.uint8],
    backend: str = "auto",
    initial_flow: ArrayLike | None = None,
    **parameters: float,
) -> NDArray[np.float32]:
    """Compute TV-L1 optical flow from each frame to the next.

    Args:
        frames: (T, H, W) grey or (T, H, W, 3) RGB, uint8, T >= 2.
        backend: a key of `BACKENDS`, or `auto`.
        initial_flow: flow from which the search starts, (T - 1, H, W, 2) float32 in pixels, as with OpenCV's
            useInitialFlow; None starts from zero.
        **parameters: OpenCV's names and defaults: tau 0.25, lambda (also lambda_) 0.15, theta 0.3, nscales 5, warps 5,
            epsilon 0.01, innerIterations 30, outerIterations 10, scaleStep 0.8, gamma 0, medianFiltering 5.

    Returns:
        (T - 1, H, W, 2) float32, x before y, in pixels; flow[t] goes from frames[t] to frames[t + 1].

    Raises:
        TypeError: frames are not a uint8 array, the initial flow is not a float32 array, or a parameter is unknown.
        ValueError: a shape is wrong, there are fewer than two frames, the initial flow is not finite, a parameter is
            out of its range, or the backend is unknown.
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
    _check_initial(initial_flow, (len(frames) - 1, *frames.shape[1:3], 2))
    _check_ranges(parameters)
    compute = _module(backend).tvl1
    known = frozenset(inspect.signature(compute).parameters) - {"frames", "initial_flow"}
    unknown = parameters.keys() - known
    if unknown:
        raise TypeError(f"TV-L1 parameter {min(unknown)!r}: unknown; one of {', '.join(sorted(known))}")
    flow: NDArray[np.float32] = compute(frames, initial_flow=initial_flow, **parameters)
    return flow


def _check_initial(flow: ArrayLike | None, shape: tuple[int, ...]) -> None:
    if flow is None:
        return
    if not isinstance(flow, np.ndarray) or flow.dtype != np.float32:
        found = flow.dtype if isinstance(flow, np.ndarray) else type(flow).__name__
        raise TypeError(f"initial_flow: {found}; expected a NumPy array of float32")
    if flow.shape != shape:
        raise ValueError(f"initial_flow: shape {flow.shape}; expected {shape}")
    if not np.isfinite(flow).all():
        raise ValueError("initial_flow: not finite everywhere")


def _check_ranges(parameters: Mapping[str, float]) -> None:
    """Refuse values with which OpenCV crashes, never ends or returns NaN."""
    for name in ("tau", "lambda_", "epsilon", "gamma"):
        if not 0 <= parameters.get(name, 0) < float("inf"):
            raise ValueError(f"TV-L1 parameter {name}: {parameters[name]}; expected a finite number, 0 or more")
    if not 0 < parameters.get("theta", 1) < float("inf"):
        raise ValueError(f"TV-L1 parameter theta: {parameters['theta']}; expected a finite number above 0")
    for name, least in (("nscales", 1), ("warps", 0), ("innerIterations", 0), ("outerIterations", 0)):
        value = parameters.get(name, 1)
        if value != int(value) or value < least:
            raise ValueError(f"TV-L1 parameter {name}: {value}; expected a whole number, {least} or more")
    if not 0 < parameters.get("scaleStep", 0.5) < 1:
        raise ValueError(f"TV-L1 parameter scaleStep: {parameters['scaleStep']}; expected more than 0, less than 1")
    if parameters.get("medianFiltering", 1) not in (1, 3, 5):
        raise ValueError(f"TV-L1 parameter medianFiltering: {parameters['medianFiltering']}; expected 1, 3 or 5")


@functools.cache
def _module(backend: str) -> ModuleType:
    return importlib.import_module(BACKENDS[resolve_backend(backend)])
