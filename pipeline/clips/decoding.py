"""A batch of windows as numpy columns: what tasks run, anywhere in the cluster.

Nothing here imports torch, so that their processes are ready in half a second instead of five.
"""

from collections import ChainMap
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.clips.index import ClipIndex
from pipeline.clips.planes import Window, columns

Sampler = Callable[[ClipIndex, int, str], Window]


@dataclass(frozen=True)
class Decoder:
    """What is decoded of clips.

    Attributes:
        index: the clips.
        streams: rgb, flow or both.
        sample: decodes one window.
    """

    index: ClipIndex
    streams: tuple[str, ...]
    sample: Sampler

    def decode(self, rows: NDArray[np.int64]) -> dict[str, NDArray]:
        """The windows of some clips: columns `rows`, `labels` and those of each stream (`pipeline.clips.planes`)."""
        windows = [columns(name, [self.sample(self.index, int(row), name) for row in rows]) for name in self.streams]
        return {"rows": rows, "labels": self.index.label[rows], **dict(ChainMap(*windows))}
