"""The reference backend: OpenCV's DualTVL1OpticalFlow on one thread."""

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray


def version() -> str:
    """Return OpenCV's version, for the record: 4.12 and 5.0 differ by about 0.015 px on real clips."""
    return f"opencv {cv2.__version__}"


def tvl1(
    frames: NDArray[np.uint8],
    tau: float = 0.25,
    lambda_: float = 0.15,
    theta: float = 0.3,
    nscales: int = 5,
    warps: int = 5,
    epsilon: float = 0.01,
    innerIterations: int = 30,  # noqa: N803 - OpenCV's names
    outerIterations: int = 10,  # noqa: N803
    scaleStep: float = 0.8,  # noqa: N803
    gamma: float = 0.0,
    medianFiltering: int = 5,  # noqa: N803
    initial_flow: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Compute TV-L1 flow with OpenCV; see `pipeline.flow.tvl1`."""
    if not hasattr(cv2, "optflow"):
        raise ModuleNotFoundError(
            "cv2.optflow is missing: install opencv-contrib-python-headless, without opencv-python"
        )
    algorithm = cv2.optflow.DualTVL1OpticalFlow_create(  # type: ignore[attr-defined]
        tau,
        lambda_,
        theta,
        nscales,
        warps,
        epsilon,
        innerIterations,
        outerIterations,
        scaleStep,
        gamma,
        medianFiltering,
        initial_flow is not None,
    )
    grey = frames if frames.ndim == 3 else np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # clips are processed in parallel; nested threads would only compete
    try:
        starts = [None] * (len(grey) - 1) if initial_flow is None else initial_flow.copy()  # calc writes into it
        return np.stack([algorithm.calc(*pair, start) for pair, start in zip(pairwise(grey), starts, strict=True)])
    finally:
        cv2.setNumThreads(threads)
