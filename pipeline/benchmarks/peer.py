"""A common way to load clips: decord reads the source files, and a torch DataLoader's workers crop and flip."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.clips.crops import Crop, resized
from pipeline.clips.index import ClipIndex
from pipeline.clips.sampling import TrainingSampler


@dataclass(frozen=True)
class DecordWindows(torch.utils.data.Dataset[torch.Tensor]):
    """A data set of the sampler's frames and crops, read from the source files instead of the shards.

    Attributes:
        files: the source file of each row of the index.
        index: the index of the shard set that was made from the files.
        fps: frames per second of the shard set; if a source has another rate, the frame shown at each time is read.
        sample: the sampler that draws frames and crops.
    """

    files: tuple[str, ...]
    index: ClipIndex
    fps: int
    sample: TrainingSampler

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> torch.Tensor:
        """Return a window, (T, crop, crop, 3) uint8."""
        frames, crop = self.sample.drawn(self.index, row, "rgb")
        return torch.from_numpy(read(self.files[row], self.index, row, self.fps, frames, crop))


def read(
    file: str | Path, index: ClipIndex, row: int, fps: int, frames: NDArray[np.int64], crop: Crop
) -> NDArray[np.uint8]:
    """Read one window with decord, which also resizes the frames."""
    import decord

    height, width = resized(int(index.size[row][0]), int(index.size[row][1]), crop.short_side)
    reader = decord.VideoReader(str(file), width=width, height=height, num_threads=1)
    numbers = np.minimum((frames * reader.get_avg_fps() / fps).astype(int), len(reader) - 1)
    pictures: NDArray[np.uint8] = reader.get_batch(numbers).asnumpy()
    window = pictures[:, crop.top : crop.top + crop.side, crop.left : crop.left + crop.side]
    return crop.turn(window, is_flow=False)
