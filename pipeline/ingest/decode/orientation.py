"""Conversion of decoded frames to pictures: they are turned by the display matrix, and the pixel aspect is ignored.

A phone stores pictures in the orientation of its sensor, with a display matrix that says how to turn them. Players turn
the pictures accordingly, and so does this module.

A Kinetics copy of 340x256 is often a squeezed 16:9 picture whose pixel aspect ratio (64:51) says so. Players stretch
it. The readers that the published networks were trained and tested with do not, and neither does this module. The
aspect ratio is recorded (`source_notes`), so that a user who mixes copies can distinguish them.

An interlaced frame stays one picture, for three reasons. Every reader of the published data sets decoded whole frames,
the resize to a short side of 256 pixels averages most of the comb pattern away, and a deinterlacer would invent motion
that flow would then measure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from av.buffer import Buffer
from av.sidedata.sidedata import Type
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from pipeline.ingest.clip_errors import DecodeError, TooLarge

MAX_PICTURE_BYTES = 64 << 20
"""Largest number of bytes of one resulting picture: with a short side of 256 pixels, an aspect ratio of 340 to 1."""


@dataclass(frozen=True)
class View:
    """A conversion from a decoded frame to an upright, resized picture.

    Attributes:
        width: width of the picture in pixels.
        height: height of the picture in pixels.
        transposed: whether rows and columns are swapped; this is done first.
        flipped: whether the picture is then turned upside down.
        mirrored: whether the picture is then mirrored left to right.
    """

    width: int
    height: int
    transposed: bool = False
    flipped: bool = False
    mirrored: bool = False
    _reformatter: VideoReformatter = field(default_factory=VideoReformatter, compare=False, repr=False)

    def picture(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """Return the picture of a frame, (H, W, 3) uint8 RGB."""
        width, height = (self.height, self.width) if self.transposed else (self.width, self.height)
        (plane,) = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", interpolation="BILINEAR", threads=1
        ).planes
        resized = np.ndarray((height, width, 3), np.uint8, memoryview(plane), strides=(plane.line_size, 3, 1))
        turned = resized.transpose(1, 0, 2) if self.transposed else resized
        turned = turned[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1]
        return np.ascontiguousarray(turned)

    @property
    def picture_bytes(self) -> int:
        """Number of bytes of one picture."""
        return 3 * self.width * self.height

    @property
    def turned(self) -> bool:
        """Whether the display matrix changes anything."""
        return self.transposed or self.flipped or self.mirrored


def view_of(frame: av.VideoFrame, short_side: int) -> View:
    """Return the view that makes a frame upright and gives its shorter side the wanted length.

    Args:
        frame: a decoded frame; its display matrix is applied, rounded to the nearest quarter turn.
        short_side: shorter side of the result in pixels; both sides are rounded to even numbers.

    Raises:
        TooLarge: the aspect ratio is so extreme that the picture would take more than `MAX_PICTURE_BYTES`.
    """
    transposed, flipped, mirrored = _turn(frame)
    width, height = (frame.height, frame.width) if transposed else (frame.width, frame.height)
    scale = Fraction(short_side, min(width, height))
    even_width, even_height = (max(2, 2 * round(side * scale / 2)) for side in (width, height))
    view = View(even_width, even_height, transposed, flipped, mirrored)
    if view.picture_bytes > MAX_PICTURE_BYTES:
        raise TooLarge(
            f"{frame.width}x{frame.height} with a shorter side of {short_side} makes pictures of "
            f"{even_width}x{even_height}; {MAX_PICTURE_BYTES >> 20} MiB a picture are the most"
        )
    return view


def check_same_shape(view: View, now: View) -> None:
    """Check that a stream whose resolution changes still gives pictures of the same size and orientation.

    All pictures of a clip must be equal in shape, because windows are cut from them.

    Raises:
        DecodeError: the views `view` and `now` differ.
    """
    if now != view:
        raise DecodeError(
            f"the picture changes its shape part-way, from {view.width}x{view.height} to {now.width}x{now.height}"
        )


def _turn(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """Return (transposed, flipped, mirrored) of the display matrix, which maps (x, y) to (a x + c y, b x + d y)."""
    matrix = _side_data(frame).get("DISPLAYMATRIX")
    if matrix is None or len(bytes(matrix)) < 36:
        return False, False, False
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(matrix), np.int32)[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, b < 0, c < 0
    return False, d < 0, a < 0


def _side_data(frame: av.VideoFrame) -> Mapping[str, Buffer]:
    """Return the side data of a frame by name.

    libav knows more types of it than PyAV (EXIF, views of MV-HEVC), and PyAV then refuses to read any. So each number
    without a name is added to PyAV's enumeration, under that number.
    """
    while True:
        try:
            return {data.type.name: data for data in frame.side_data}
        except ValueError as error:
            number = int(str(error).split()[0])
            unnamed = object.__new__(Type)
            unnamed.__dict__.update(_name_=f"TYPE_{number}", _value_=number)
            Type._value2member_map_[number] = unnamed
