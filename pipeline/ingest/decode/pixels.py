"""What a picture loses or changes when it becomes RGB of eight bits: transparency, high dynamic range, pixel aspect."""

from fractions import Fraction

import av
import numpy as np

_HDR = {16: "HDR (PQ)", 18: "HDR (HLG)"}  # transfer characteristics of ITU-T H.273

NOTICEABLE = Fraction(1, 20)
"""Smallest stretch of a picture by its pixel aspect ratio that is noted.

Many copies that were resized to even sides state a ratio such as 255:256, which nobody can see."""


def stretched(aspect: Fraction | None) -> bool:
    """Return whether a player would show the picture noticeably wider or narrower than it is stored."""
    return aspect is not None and aspect > 0 and max(aspect, 1 / aspect) > 1 + NOTICEABLE


def colour_notes(frame: av.VideoFrame, known: set[str]) -> set[str]:
    """Return what is unusual about a frame's colours and is not known of its clip yet."""
    notes = set()
    if hdr := _HDR.get(frame.color_trc):
        notes.add(hdr)
    if "alpha" not in known and _is_transparent(frame):
        notes.add("alpha")
    return notes


def _is_transparent(frame: av.VideoFrame) -> bool:
    """Return whether some pixel is not opaque: then a colour shows that nobody was meant to see."""
    if not (frame.format.has_palette or any(component.is_alpha for component in frame.format.components)):
        return False
    return bool(np.any(frame.to_ndarray(format="rgba")[..., 3] < 255))
