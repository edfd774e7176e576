"""Parquet files: what a reader of one clip and one stream touches, and what other tools see."""

import subprocess
import sys

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pipeline.shards import CLIPS_SCHEMA, SHARD_SCHEMA, read_clip
from pipeline.shards.schema import BLOBS, SCALARS
from pipeline.shards.tables import read_table, write_table
from tests.shards.sets import make_set


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def shard(made):
    return pq.ParquetFile(f"{made.path}/train-00000.parquet")


def byte_range(column) -> range:
    start = column.data_page_offset
    if column.has_dictionary_page:
        start = min(start, column.dictionary_page_offset)
    return range(start, start + column.total_compressed_size)


def columns(shard, group):
    row_group = shard.metadata.row_group(group)
    return {row_group.column(i).path_in_schema: row_group.column(i) for i in range(row_group.num_columns)}


def test_a_row_group_is_a_clip(shard):
    assert shard.num_row_groups == 2
    assert [shard.metadata.row_group(group).num_rows for group in range(2)] == [1, 1]


def test_a_shard_has_the_schema_scalars_before_blobs(shard):
    assert shard.schema_arrow.equals(SHARD_SCHEMA)
    assert SHARD_SCHEMA.names[-2:] == ["video", "flow"]
    assert all(field.type == pa.large_binary() for field in BLOBS)


def test_blobs_stay_as_they_are_and_scalars_are_compressed(shard):
    for group in range(shard.num_row_groups):
        for name, column in columns(shard, group).items():
            assert column.compression == ("UNCOMPRESSED" if name in ("video", "flow") else "ZSTD"), name


def test_blobs_lie_in_the_file_byte_for_byte(made):
    content = open(f"{made.path}/train-00000.parquet", "rb").read()  # noqa: PTH123, SIM115
    for clip in ("clip-0", "clip-3"):
        assert made.rows[clip]["video"] in content
        assert made.rows[clip]["flow"] in content


def test_blobs_have_no_statistics_that_would_repeat_them_in_the_footer(shard):
    for group in range(shard.num_row_groups):
        there = columns(shard, group)
        assert there["clip_id"].statistics is not None
        assert there["video"].statistics is None
        assert there["flow"].statistics is None
    blobs = sum(columns(shard, group)[name].total_compressed_size for group in range(2) for name in ("video", "flow"))
    assert shard.metadata.serialized_size < 20_000 < blobs


def test_the_bytes_of_one_stream_are_not_among_those_of_another(shard):
    for group in range(shard.num_row_groups):
        there = {name: byte_range(column) for name, column in columns(shard, group).items()}
        video, flow = there.pop("video"), there.pop("flow")
        assert video.stop <= flow.start
        assert all(scalar.stop <= video.start for scalar in there.values())


class Watched:
    """A file that notes what is read of it."""

    def __init__(self, path):
        self.file, self.reads, self.closed = open(path, "rb"), [], False  # noqa: PTH123, SIM115

    def read(self, size=-1):
        start = self.file.tell()
        content = self.file.read(size)
        self.reads.append(range(start, start + len(content)))
        return content

    def seek(self, *to):
        return self.file.seek(*to)

    def tell(self):
        return self.file.tell()

    def close(self):
        self.file.close()
        self.closed = True


@pytest.mark.parametrize(("stream", "other"), [("video", "flow"), ("flow", "video")])
def test_reading_one_stream_of_one_clip_reads_no_byte_of_another(made, shard, stream, other):
    file = Watched(f"{made.path}/train-00000.parquet")
    reader = pq.ParquetFile(pa.PythonFile(file, "r"), metadata=shard.metadata, pre_buffer=False)
    file.reads.clear()
    assert reader.read_row_group(1, columns=[stream]).num_rows == 1
    read = sum(len(part) for part in file.reads)
    wanted = byte_range(columns(shard, 1)[stream])
    assert len(wanted) <= read <= len(wanted) + 64
    for avoided in (columns(shard, 1)[other], columns(shard, 0)["video"], columns(shard, 0)["flow"]):
        for part in file.reads:
            assert not range(max(part.start, byte_range(avoided).start), min(part.stop, byte_range(avoided).stop))


@pytest.mark.parametrize("clip", ["clip-0", "clip-1", "clip-2", "clip-3"])
def test_a_clip_is_read_by_its_place(made, clip):
    row = made.rows[clip]
    read = read_clip(f"{made.path}/{row['shard']}", row["row_group"], ["clip_id", "flow", "video"])
    assert read == {"clip_id": clip, "flow": row["flow"], "video": row["video"]}
    assert read_clip(f"{made.path}/{row['shard']}", row["row_group"], ["video"]) == {"video": row["video"]}


def test_a_shard_that_was_written_again_is_read_again(tmp_path):
    path = f"{tmp_path}/shard.parquet"
    for video in (b"old", b"new"):
        write_table(pa.table({"clip_id": ["a"], "video": pa.array([video], pa.large_binary())}), path)
        assert read_clip(path, 0, ["video"]) == {"video": video}


def test_the_folder_reads_as_one_table_of_clips(made):
    table = pq.read_table(made.path)
    assert sorted(table["clip_id"].to_pylist()) == ["clip-0", "clip-1", "clip-2", "clip-3"]
    assert table.schema.equals(SHARD_SCHEMA)
    assert len(ds.dataset(made.path, format="parquet").to_table(columns=["label"])) == 4


def test_the_table_of_clips_has_scalars_only(made):
    clips = pq.ParquetFile(f"{made.path}/_clips.parquet")
    assert clips.schema_arrow.equals(CLIPS_SCHEMA)
    assert clips.num_row_groups == 1
    assert CLIPS_SCHEMA.names == [
        *(field.name for field in SCALARS), "shard", "row_group", "video_offset", "flow_offset",
    ]  # fmt: skip


def test_some_columns_or_all_are_read(made):
    assert read_table(f"{made.path}/val-00000.parquet", SHARD_SCHEMA, ["label", "num_frames"]).to_pylist() == [
        {"label": "whisking", "num_frames": 12}
    ]
    assert read_table(f"{made.path}/val-00000.parquet", SHARD_SCHEMA).schema.equals(SHARD_SCHEMA)


def test_reading_shards_needs_neither_ray_nor_torch():
    script = "import sys, pipeline.shards; print(sorted({'ray', 'torch', 'mlflow', 'cv2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout == b"[]\n"
