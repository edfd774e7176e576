"""TV-L1 optical flow of frames.

The numeric contract is I3D's (kinetics-i3d README): flow of grey frames in pixels, from frame t to t + 1, x before y,
clipped to [-bound, bound] with a bound of 20 and stored as 8 bits (`quantise`).
"""

from pipeline.flow.colours import colour, wheel
from pipeline.flow.quantise import dequantise, pictured, quantise
from pipeline.flow.tvl1 import BACKENDS, resolve_backend, tvl1, version

__all__ = ["BACKENDS", "colour", "dequantise", "pictured", "quantise", "resolve_backend", "tvl1", "version", "wheel"]
