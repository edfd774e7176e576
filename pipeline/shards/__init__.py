"""Parquet shards, the data format between ingest and training."""

from pipeline.shards.codec import Area, CodecError, decode_flow, decode_planes, decode_video, encode_flow, encode_video
from pipeline.shards.digest import digest
from pipeline.shards.manifest import read_catalog, read_clips, read_manifest, read_verified
from pipeline.shards.overlaps import overlaps
from pipeline.shards.schema import CLIPS_SCHEMA, FORMAT_VERSION, SHARD_SCHEMA
from pipeline.shards.tables import ShardError, read_clip
from pipeline.shards.verify import Problem, Verification, verify

__all__ = [
    "CLIPS_SCHEMA",
    "FORMAT_VERSION",
    "SHARD_SCHEMA",
    "Area",
    "CodecError",
    "Problem",
    "ShardError",
    "Verification",
    "decode_flow",
    "decode_planes",
    "decode_video",
    "digest",
    "encode_flow",
    "encode_video",
    "overlaps",
    "read_catalog",
    "read_clip",
    "read_clips",
    "read_manifest",
    "read_verified",
    "verify",
]
