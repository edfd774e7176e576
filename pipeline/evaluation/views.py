"""Decoding of a stored clip for all its views under a test protocol."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.clips.sampling import DECODE
from pipeline.clips.stored_clips import StoredClips
from pipeline.evaluation.view_cuts import ViewCuts


@dataclass(frozen=True)
class ViewSampler(ViewCuts):
    """A decoder of the frames that the views of a clip show; each frame is decoded once, the views are cut later."""

    def __call__(self, index: StoredClips, row: int, stream: str) -> NDArray[np.uint8]:
        """Decode the shown frames and apply every crop, (crops, shown, crop, crop, C) uint8."""
        shown, _ = self.views(int(index.length(stream)[row]), stream)
        return self.crops(DECODE[stream](index.blob(row, stream), shown), stream)

    def groups(self, index: StoredClips, streams: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Group the clips whose views have the same places, so that they fit in one batch.

        Returns:
            (clips,) group of each clip, and (groups,) number of views per clip in each group.
        """
        lengths = np.stack([index.length(stream) for stream in streams], axis=1)
        known: dict[tuple[bytes, ...], int] = {}
        counts: list[int] = []
        different, of_clip = np.unique(lengths, axis=0, return_inverse=True)
        group_of = np.zeros(len(different), np.int64)
        for number, each in enumerate(different):
            places = [self.views(int(length), stream)[1] for length, stream in zip(each, streams, strict=True)]
            key = tuple(place.tobytes() for place in places)
            if key not in known:
                known[key] = len(counts)
                counts.append(len(places[0]) * self.protocol.crops)
            group_of[number] = known[key]
        return group_of[of_clip.reshape(-1)], np.array(counts, np.int64)
