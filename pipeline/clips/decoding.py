"""Decoding of a batch of windows to numpy columns, in tasks that run anywhere in the cluster.

Nothing here imports torch, so that the processes of the tasks are ready in half a second instead of five.
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
    """A decoder of windows of clips.

    Attributes:
        index: the clips.
        streams: the streams to decode: rgb, flow or both; frames and rgb for supervision transfer.
        sample: decodes one window.
    """

    index: ClipIndex
    streams: tuple[str, ...]
    sample: Sampler

    def decode(self, rows: NDArray[np.int64]) -> dict[str, NDArray]:
        """Decode windows of clips to columns: `rows`, `labels` and those of each stream (`pipeline.clips.planes`)."""
        windows = [columns(name, [self.sample(self.index, int(row), name) for row in rows]) for name in self.streams]
        return {"rows": rows, "labels": self.index.label[rows], **dict(ChainMap(*windows))}
