"""The stages of ingest. Each is a plain function from row to row that can be used and tested without Ray.

A failed row passes through the later stages unchanged: number of clips in = clips stored + clips failed. The diagram
shows the columns that each stage adds (+) and removes (-).

    clip -> convert -> + source facts, video, flow, their facts; - content (`pipeline.ingest.convert`)
         -> store   -> writes a one-row Parquet file and returns only a small status row (`staging.make_store`)
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import flow
from pipeline.config import IngestConfig
from pipeline.ingest.clip_errors import ClipError
from pipeline.ingest.convert import Stopwatch, convert
from pipeline.ingest.decode.child_process import SLICE_PICTURES, Slice, slices_from_child
from pipeline.ingest.frames import readable
from pipeline.ingest.second_try import persistently
from pipeline.ingest.stored_flow import PICTURES, STORED, stored_flow

Row = dict[str, Any]
Stage = Callable[[Row], Row]

GPU_PICTURES = 256
"""Largest number of pictures of a slice if a GPU computes the flow, which needs hundreds of pairs to be busy."""


def make_convert(config: IngestConfig, compute: Callable[..., NDArray[np.float32]] = flow.tvl1) -> Stage:
    """Return the stage that decodes a clip, computes its flow and encodes both to the bytes that are stored.

    An exception becomes the status of the clip, so one clip never stops a run. The row gets the seconds of the work.

    Args:
        config: settings of ingest.
        compute: `pipeline.flow.tvl1`, or a function with the same arguments that computes the flow elsewhere.
    """
    recorded = recorded_flow(config) if "flow" in config.streams else {}
    is_stored = recorded.get("flow_backend") == STORED
    pictures = GPU_PICTURES if recorded.get("flow_backend") == "cuda" else SLICE_PICTURES

    def flow_of(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        return compute(frames, recorded["flow_backend"], **config.flow.parameters)

    def convert_clip(row: Row) -> Row:
        if row["status"] == "failed":
            return row
        given, watch = row.pop("content", None), Stopwatch()

        def read() -> Iterator[Slice]:
            nonlocal given
            if given is None:
                given = readable(row["source"], config.fetch.max_mib << 20)
            return slices_from_child(
                given,
                row["start_s"],
                row["end_s"],
                config.fps,
                config.short_side,
                config.max_seconds,
                config.decode_timeout_s,
                pictures,
            )

        try:
            computed = flow_of if recorded and not is_stored else None
            made = persistently(lambda: convert(read, config, computed, watch))
            if is_stored:
                made |= persistently(lambda: stored_flow(row["source"], made, config, watch))
        except Exception as error:  # a bug that one clip triggers is recorded too, under the name of its own class
            message = str(error) if isinstance(error, ClipError) else f"in {watch.stage}: {error}"
            made = {"status": "failed", "error_class": type(error).__name__, "error_message": message}
        else:
            made |= recorded
        return {**row, **made, **{f"{stage}_s": seconds for stage, seconds in watch.seconds.items()}}

    return convert_clip


def recorded_flow(config: IngestConfig) -> Row:
    """Return the columns that say where flow comes from."""
    if config.flow.backend == STORED:
        return {"flow_backend": STORED, "flow_version": PICTURES, "flow_parameters": "{}"}
    return {
        "flow_backend": flow.resolve_backend(config.flow.backend),
        "flow_version": flow.version(config.flow.backend),
        "flow_parameters": json.dumps(config.flow.parameters, sort_keys=True),
    }
