"""Common ways to load clips, beside which the loader is measured: torchcodec, and decord, which nobody maintains.

Both read a source file, as they would in a torch DataLoader, or the bytes of a stored clip.
"""

import functools
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import av
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.clips.crops import Crop, resized
from pipeline.clips.index import ClipIndex
from pipeline.clips.sampling import TrainingSampler

Reader = Callable[[str | bytes, NDArray[np.float64], int, int], NDArray[np.uint8]]
"""A function of a video, its path or its bytes, times in seconds from the first frame, height and width.

It returns the frames that are on screen at these times, resized, (T, height, width, 3) uint8 RGB."""


@dataclass(frozen=True)
class PeerWindows(torch.utils.data.Dataset[torch.Tensor]):
    """A data set of the sampler's frames and crops, read from the source files instead of the shards.

    Attributes:
        peer: a key of `PEERS`.
        files: the source file of each row of the index.
        index: the index of the shard set that was made from the files.
        fps: frames per second of the shard set; if a source has another rate, the frame shown at each time is read.
        sample: the sampler that draws frames and crops.
    """

    peer: str
    files: tuple[str, ...]
    index: ClipIndex
    fps: int
    sample: TrainingSampler

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> torch.Tensor:
        """Return a window, (T, crop, crop, 3) uint8."""
        frames, crop = self.sample.drawn(self.index, row, "rgb")
        return torch.from_numpy(read(self.peer, self.files[row], self.index.size[row], self.fps, frames, crop))


def read(
    peer: str, video: str | bytes, size: NDArray[np.int64], fps: int, frames: NDArray[np.int64], crop: Crop
) -> NDArray[np.uint8]:
    """Read one window with a peer, which also resizes the frames.

    Args:
        peer: a key of `PEERS`.
        video: path of a source file, or the bytes of a stored clip.
        size: height and width of the stored clip in pixels.
        fps: frames per second of the stored clip.
        frames: numbers of its frames.
        crop: the crop.
    """
    height, width = resized(int(size[0]), int(size[1]), crop.short_side)
    pictures = PEERS[peer](video, frames / fps, height, width)
    window = pictures[:, crop.top : crop.top + crop.side, crop.left : crop.left + crop.side]
    return crop.turn(window, is_flow=False)


def usable(peer: str) -> str:
    """Return why a peer cannot be measured here, in a few words; empty if it can."""
    if find_spec(peer) is None:
        return "not installed"
    try:
        import_module(_MODULES[peer])
    except Exception as error:  # torchcodec raises RuntimeError where it finds no FFmpeg, or another torch
        return f"does not load: {str(error).strip().splitlines()[0]}"
    return ""


def found() -> list[str]:
    """Return the peers that can be measured here, and print a line about each other one."""
    why = {peer: usable(peer) for peer in PEERS}
    for peer, words in why.items():
        if words:
            print(f"  without {peer}: {words}")
    return [peer for peer, words in why.items() if not words]


def with_torchcodec(video: str | bytes, times: NDArray[np.float64], height: int, width: int) -> NDArray[np.uint8]:
    """Read frames with torchcodec, which knows when each frame of a source is shown.

    It looks through a source file when it opens it, as is its default. A stored clip has a constant rate, so it need
    not do that, which is faster.
    """
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import Resize

    decoder = VideoDecoder(
        video,
        dimension_order="NHWC",
        num_ffmpeg_threads=1,
        seek_mode="approximate" if isinstance(video, bytes) else "exact",
        transforms=None if _size(video) == (height, width) else [Resize((height, width))],
    )
    begin, end = decoder.metadata.begin_stream_seconds, decoder.metadata.end_stream_seconds
    wanted = np.minimum(begin + times + _LATER, end - _LATER)
    pictures: NDArray[np.uint8] = decoder.get_frames_played_at(seconds=wanted.tolist()).data.numpy()
    return pictures


def with_decord(video: str | bytes, times: NDArray[np.float64], height: int, width: int) -> NDArray[np.uint8]:
    """Read frames with decord by their number, which is right only for sources of constant rate."""
    import decord

    opened = io.BytesIO(video) if isinstance(video, bytes) else video
    reader = decord.VideoReader(opened, width=width, height=height, num_threads=1)
    numbers = np.minimum(((times + _LATER) * reader.get_avg_fps()).astype(int), len(reader) - 1)
    pictures: NDArray[np.uint8] = reader.get_batch(numbers).asnumpy()
    return pictures


@functools.cache
def _size(video: str | bytes) -> tuple[int, int]:
    """Return height and width of a video; a data set would know them."""
    with av.open(io.BytesIO(video) if isinstance(video, bytes) else video) as container:
        stream = container.streams.video[0]
        return stream.height, stream.width


PEERS: Mapping[str, Reader] = {"torchcodec": with_torchcodec, "decord": with_decord}
_MODULES = {"torchcodec": "torchcodec.decoders", "decord": "decord"}
_LATER = 0.0005  # seconds: a frame that begins at the time that is asked for is the one that is on screen
