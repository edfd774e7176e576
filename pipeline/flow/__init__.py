"""TV-L1 optical flow: frames in, displacements out.

The numeric contract of I3D (kinetics-i3d README): flow of grey frames in pixels, frame t to t + 1, x before y;
cut to [-bound, bound] with a bound of 20 and stored as 8 bits (`quantise`).
"""

from pipeline.flow.colours import colour, wheel
from pipeline.flow.quantise import dequantise, quantise
from pipeline.flow.tvl1 import BACKENDS, resolve_backend, tvl1, version

__all__ = ["BACKENDS", "colour", "dequantise", "quantise", "resolve_backend", "tvl1", "version", "wheel"]
