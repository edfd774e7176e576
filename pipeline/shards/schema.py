"""The Parquet schema of a shard set: one row per clip, with the scalar columns before the blobs.

    SHARDS/
        SPLIT-00000.parquet ...   the clips of a split that could be read; one row group per clip
        _clips.parquet            every clip of the catalog, readable or not: the scalars, and the place of its row
        _manifest.json            counts, bytes, digest; written last, so a set without it is not complete
        _plan.json                the catalog's digest and the settings that made the set; written first

Files whose names begin with an underscore are not data: `pyarrow.dataset`, `ray.data.read_parquet`, DuckDB and Spark
skip them, and so read the folder as one table.
"""

import pyarrow as pa

FORMAT_VERSION = 4
"""Format 4 has the places of the streams in the table of clips, so that one request reads a stream; else it is as 3.
The digest of format 2 covers only clips, class names and bytes, not all that decides a training."""

CATALOG = [
    pa.field("clip_id", pa.string()),
    pa.field("dataset", pa.string()),
    pa.field("split", pa.string()),
    pa.field("label", pa.string()),
    pa.field("label_id", pa.int32()),
    pa.field("source", pa.string()),
    pa.field("start_s", pa.float64()),
    pa.field("end_s", pa.float64()),
]
STATUS = [
    pa.field("status", pa.string()),  # "ok" or "failed"
    pa.field("error_class", pa.string()),
    pa.field("error_message", pa.string()),
]
VIDEO = [
    pa.field("num_frames", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("width", pa.int32()),
    pa.field("fps", pa.int32()),
    pa.field("video_codec", pa.string()),
    pa.field("video_crf", pa.int32()),
    pa.field("video_gop", pa.int32()),
    pa.field("video_pixel_format", pa.string()),
    pa.field("video_psnr", pa.float32()),  # dB, worst decoded frame compared with the frame that was encoded
    pa.field("video_bytes", pa.int64()),
    pa.field("video_sha256", pa.string()),
]
FLOW = [
    pa.field("num_flow", pa.int32()),
    pa.field("flow_codec", pa.string()),
    pa.field("flow_bound", pa.float32()),  # pixels
    pa.field("flow_backend", pa.string()),
    pa.field("flow_version", pa.string()),
    pa.field("flow_parameters", pa.string()),  # JSON
    pa.field("flow_bytes", pa.int64()),
    pa.field("flow_sha256", pa.string()),
]
SOURCE = [
    pa.field("source_codec", pa.string()),
    pa.field("source_width", pa.int32()),
    pa.field("source_height", pa.int32()),
    pa.field("source_fps", pa.float64()),
    pa.field("source_frames", pa.int32()),  # decoded frames of the clip, not the header's number
    pa.field("source_bytes", pa.int64()),
    pa.field("source_sha256", pa.string()),
    pa.field(
        "packets_sha256", pa.string()
    ),  # digest of the clip's compressed video, independent of the container, to find copies
    pa.field("source_notes", pa.string()),  # anything unusual: interlaced, rotated, times guessed, ...
]
STATISTICS = [
    pa.field("brightness", pa.float32()),  # mean grey level, 0 to 255
    pa.field("flow_magnitude", pa.float32()),  # mean length of the vectors, pixels
    pa.field("flow_clipped", pa.float32()),  # share of vector components beyond the bound
]
BLOBS = [
    pa.field("video", pa.large_binary()),
    pa.field("flow", pa.large_binary()),
]
SCALARS = [*CATALOG, *STATUS, *VIDEO, *FLOW, *SOURCE, *STATISTICS]
SHARD_SCHEMA = pa.schema([*SCALARS, *BLOBS])
PLACES = [
    pa.field("shard", pa.string()),
    pa.field("row_group", pa.int32()),
    pa.field("video_offset", pa.int64()),  # first byte of the stream in the shard
    pa.field("flow_offset", pa.int64()),
]
CLIPS_SCHEMA = pa.schema([*SCALARS, *PLACES])


def clips_columns(version: int) -> list[str]:
    """Return the names of the columns of the table of clips in a set of a format."""
    return CLIPS_SCHEMA.names[: None if version >= 4 else -2]
