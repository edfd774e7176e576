"""Flow that lies as JPEGs beside the frames of a folder, as denseflow writes it: shards then have it in place of TV-L1.

    flow_x_00001.jpg, flow_y_00001.jpg    from frame 1 to frame 2; level 0 is -bound pixels, level 255 is bound

The pictures are decoded in the child process, as one video of x and y in turn. Ingest stores the same levels, so flow
at the size of the stored frames is kept as it is. If the frames are resized, the vectors are scaled with them.
"""

from collections.abc import Mapping
from contextlib import closing
from typing import Any

import numpy as np

from pipeline.config import IngestConfig
from pipeline.flow import dequantise
from pipeline.ingest.clip_errors import BadRow, DecodeError
from pipeline.ingest.convert import Stopwatch
from pipeline.ingest.decode.child_process import slices_from_child
from pipeline.ingest.encode import FlowWriter
from pipeline.ingest.frames import frames_of, joined_flow
from pipeline.ingest.memory import check_stored

STORED = "stored"
"""The value of `ingest.flow.backend` that takes flow from pictures."""

PICTURES = "pictures of denseflow"
"""What stands in place of the version of a backend."""


def stored_flow(source: str, clip: Mapping[str, Any], config: IngestConfig, watch: Stopwatch) -> dict[str, Any]:
    """Return the flow columns of a clip from the pictures in its folder.

    Args:
        source: folder of the pictures; see `pipeline.ingest.frames.Frames`.
        clip: the columns of the clip's frames: num_frames, height and width.
        config: settings of ingest; `flow.bound` is that with which the pictures were made.
        watch: stopwatch of this clip.

    Raises:
        ClipError: a picture is missing (`BadRow`), empty (`ZeroByte`) or damaged (`NotAVideo`, `DecodeError`), or the
            pictures have another shape than the frames (`BadRow`).
    """
    folder, shape = frames_of(source).folder, (clip["height"], clip["width"])
    with watch.of("decode"):
        video, (width, height) = joined_flow(source, config.fetch.max_mib << 20)
    limits = 2 * config.fps, config.short_side, config.max_seconds, config.decode_timeout_s
    scale = np.array([shape[1] / width, shape[0] / height], np.float32)
    writer, x, notes = _writer(config), np.empty(0, np.uint8), ""
    with closing(slices_from_child(video, None, None, *limits)) as slices:  # type: ignore[type-var]
        for one in watch.decoding(slices):
            if one.start == 0:
                writer = _writer(config)
            if one.pictures.shape[1:3] != shape:
                raise BadRow(f"the flow pictures in {folder} have another shape than the frames; extract both alike")
            notes = one.facts.source_notes if one.facts else notes
            for position, levels in enumerate(one.pictures[..., 0], one.start):
                if position % 2 == 0:
                    x = levels.copy()  # a view would keep the memory of the slice
                else:
                    with watch.of("encode"):
                        writer.add(dequantise(np.stack([x, levels], axis=-1)[None], config.flow.bound) * scale)
            check_stored(0, writer.size, clip["num_frames"])
    if writer.count != clip["num_frames"] - 1 or any(note[:1].isdigit() for note in notes.split(", ")):
        flaws = notes or f"{writer.count} fields for {clip['num_frames']} frames"
        raise DecodeError(f"the flow pictures in {folder}: {flaws}; a part of the flow would be wrong")
    with watch.of("encode"):
        return writer.columns()


def _writer(config: IngestConfig) -> FlowWriter:
    return FlowWriter(config.flow.bound, config.fps, config.gop)
