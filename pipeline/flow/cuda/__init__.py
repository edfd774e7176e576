"""The `cuda` backend: OpenCV's TV-L1 for many pairs of frames at once on a GPU.

It equals OpenCV 5.0's CPU implementation up to rounding; every pair stops at its own iteration. This package imports
torch, so other modules import it only when the backend is used.
"""

from pipeline.flow.cuda.engine import TVL1, tvl1, tvl1_clips, version

__all__ = ["TVL1", "tvl1", "tvl1_clips", "version"]
