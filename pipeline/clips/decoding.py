"""Decoding of a batch of windows to numpy columns, in tasks that run anywhere in the cluster.

Nothing here imports torch, so that the processes of the tasks are ready in half a second instead of five.
"""

from collections import ChainMap
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.clips.planes import Window, columns
from pipeline.clips.stored_clips import StoredClips
from pipeline.clips.turns import in_turns

AT_ONCE = 8  # windows of a task that may wait for an object store

Sampler = Callable[[StoredClips, int, str], Window]


@dataclass(frozen=True)
class Decoder:
    """A decoder of windows of clips.

    Attributes:
        index: the clips.
        streams: the streams to decode: rgb, flow or both; frames and rgb for supervision transfer.
        sample: decodes one window.
    """

    index: StoredClips
    streams: tuple[str, ...]
    sample: Sampler

    def decode(self, rows: NDArray[np.int64]) -> dict[str, NDArray]:
        """Decode windows of clips to columns: `rows` and those of each stream (`pipeline.clips.planes`).

        Windows are decoded one after the other. Those of clips in an object store are requested meanwhile.
        """

        def window(wanted: tuple[str, int]) -> Window:
            stream, row = wanted
            return self.sample(self.index, row, stream)

        wanted = [(stream, int(row)) for stream in self.streams for row in rows]
        windows = in_turns(window, wanted, AT_ONCE) if self.index.remote else [window(one) for one in wanted]
        tables = [
            columns(stream, windows[number * len(rows) :][: len(rows)]) for number, stream in enumerate(self.streams)
        ]
        return {"rows": rows, **dict(ChainMap(*tables))}
