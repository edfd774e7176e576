"""Parquet shards: the contract between ingest and training."""

from pipeline.shards.codec import CodecError, decode_flow, decode_video, encode_flow, encode_video
from pipeline.shards.manifest import ShardError, digest, read_clips, read_manifest, verify
from pipeline.shards.schema import CLIPS_SCHEMA, FORMAT_VERSION, SHARD_SCHEMA
from pipeline.shards.tables import read_clip

__all__ = [
    "CLIPS_SCHEMA",
    "FORMAT_VERSION",
    "SHARD_SCHEMA",
    "CodecError",
    "ShardError",
    "decode_flow",
    "decode_video",
    "digest",
    "encode_flow",
    "encode_video",
    "read_clip",
    "read_clips",
    "read_manifest",
    "verify",
]
