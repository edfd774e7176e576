"""The `cuda` backend: OpenCV's TV-L1, many pairs at once, on a GPU.

It equals OpenCV 5.0's CPU implementation up to rounding; every pair stops at its own iteration. torch is imported
with this package, so nothing imports it before the backend is asked for.
"""

from pipeline.flow.cuda.engine import TVL1, tvl1, tvl1_clips, version

__all__ = ["TVL1", "tvl1", "tvl1_clips", "version"]
