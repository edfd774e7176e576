"""The stages of ingest. Each is a plain function from row to row that can be used and tested without Ray.

A failed row passes through the later stages unchanged: number of clips in = clips stored + clips failed. The diagram
shows the columns that each stage adds (+) and removes (-).

    clip -> decode -> + frames (T, H, W, 3), source facts; - content
         -> flow   -> + flow_field (T - 1, H, W, 2)
         -> encode -> + video, flow, their facts; - frames, flow_field
         -> store  -> writes a one-row Parquet file and returns only a small status row (`staging.make_store`)
"""

import functools
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import flow
from pipeline.config import IngestConfig
from pipeline.ingest.clip_errors import ClipError
from pipeline.ingest.decode.child_process import decode_in_child
from pipeline.ingest.encode import encode_clip, encode_flow_columns
from pipeline.ingest.second_try import persistently

Row = dict[str, Any]
Stage = Callable[[Row], Row]


def make_decode(config: IngestConfig) -> Stage:
    """Return the stage that decodes a clip to a constant rate and size, in a child process that can be killed."""

    def decode(row: Row) -> Row:
        content = row.pop("content", None)
        frames, facts = decode_in_child(
            row["source"] if content is None else content,
            row["start_s"],
            row["end_s"],
            config.fps,
            config.short_side,
            config.max_seconds,
            config.decode_timeout_s,
        )
        return {**row, **facts.columns(), "frames": frames}

    return _guarded("decode", decode)


def make_flow(config: IngestConfig, compute: Callable[..., NDArray[np.float32]] = flow.tvl1) -> Stage:
    """Return the stage that computes TV-L1 flow from every frame to the next.

    Args:
        config: settings of ingest.
        compute: `pipeline.flow.tvl1`, or a function with the same arguments that computes the flow elsewhere.
    """
    parameters = config.flow.parameters
    recorded = {
        "flow_backend": flow.resolve_backend(config.flow.backend),
        "flow_version": flow.version(config.flow.backend),
        "flow_parameters": json.dumps(parameters, sort_keys=True),
    }

    def compute_flow(row: Row) -> Row:
        return {**row, **recorded, "flow_field": compute(row["frames"], recorded["flow_backend"], **parameters)}

    return _guarded("flow", compute_flow)


def make_encode(config: IngestConfig) -> Stage:
    """Return the stage that encodes frames and flow to the stored bytes and drops the arrays."""

    def encode(row: Row) -> Row:
        frames, field = row.pop("frames"), row.pop("flow_field", None)
        row |= encode_clip(frames, config.fps, config.crf, config.gop, config.min_psnr)
        if field is not None:
            row |= encode_flow_columns(field, config.flow.bound, config.fps, config.gop)
        return row

    return _guarded("encode", encode)


def _guarded(name: str, stage: Stage) -> Stage:
    """Wrap a stage so that an exception becomes the status of its clip, and so that the stage's seconds are recorded.

    One clip therefore never stops a run. What is the machine's fault is tried again first.
    """

    @functools.wraps(stage)
    def guarded(row: Row) -> Row:
        if row["status"] == "failed":
            return row
        start = time.perf_counter()
        try:
            done = persistently(stage, row)
        except Exception as error:  # a bug that one clip triggers is recorded too, under the name of its own class
            message = str(error) if isinstance(error, ClipError) else f"in {stage.__name__}: {error}"
            kept = {key: value for key, value in row.items() if key not in ("content", "frames", "flow_field")}
            done = {**kept, "status": "failed", "error_class": type(error).__name__, "error_message": message}
        return {**done, f"{name}_s": time.perf_counter() - start}

    return guarded
