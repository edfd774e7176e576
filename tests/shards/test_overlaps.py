"""Videos that two shard sets share."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.shards import CLIPS_SCHEMA, overlaps
from pipeline.shards.manifest import summarise, write_manifest
from pipeline.shards.overlaps import videos_of

PACKETS = pa.field("packets_sha256", pa.string())


def listed(folder: Path, clips: list[tuple[str, str]], failed: str = "", packets: dict[str, str] | None = None) -> str:
    """A set of which only the table and the manifest are there, which is all that this reads."""
    rows = [
        {
            "clip_id": clip,
            "dataset": clip.partition(".")[0],
            "split": split,
            "label": "riding",
            "status": "failed" if clip == failed else "ok",
            "packets_sha256": (packets or {}).get(clip),
        }
        for clip, split in clips
    ]
    names = CLIPS_SCHEMA.names
    schema = CLIPS_SCHEMA if PACKETS.name in names or packets is None else CLIPS_SCHEMA.append(PACKETS)
    table = pa.Table.from_pylist(rows, schema)
    folder.mkdir()
    write_manifest(str(folder), table, summarise(table, {}))
    return str(folder)


@pytest.mark.parametrize(
    ("clip", "video"),
    [
        ("kinetics400.0wR5jVB-WPk.417-427", "0wR5jVB-WPk"),
        ("kinetics700.0wR5jVB-WPk.2.5-12.5", "0wR5jVB-WPk"),
        ("kinetics400._______ABCD", "_______ABCD"),
        ("ucf101.v_Basketball_g01_c01", "ucf101.v_Basketball_g01_c01"),
        ("mine.clip-7.0-2", "mine.clip-7"),
        ("mine.a-slug~0123456789abcdef", "mine.a-slug~0123456789abcdef"),
        ("kinetics400.~val-line-12", "kinetics400.~val-line-12"),
        ("no dot", "no dot."),
    ],
)
def test_a_youtube_id_is_one_video_everywhere_other_names_only_in_their_data_set(clip, video):
    assert videos_of(pa.chunked_array([[clip, clip], [clip]])).to_pylist() == [video] * 3


def test_the_validation_of_one_set_is_found_in_the_training_of_another(tmp_path):
    a = listed(
        tmp_path / "a",
        [
            ("kinetics400.AAAAAAAAAAA.1-11", "val"),
            ("kinetics400.BBBBBBBBBBB.1-11", "train"),
            ("kinetics400.CCCCCCCCCCC.1-11", "val"),
        ],
    )
    b = listed(
        tmp_path / "b",
        [
            ("kinetics700.BBBBBBBBBBB.3-13", "val"),
            ("kinetics700.AAAAAAAAAAA.1-11", "train"),
            ("kinetics700.AAAAAAAAAAA.60-70", "train"),
            ("kinetics700.CCCCCCCCCCC.1-11", "train"),
        ],
        failed="kinetics700.CCCCCCCCCCC.1-11",
    )
    rows = overlaps(a, b).to_pylist()
    assert [(row["clip_a"], row["split_a"], row["clip_b"], row["split_b"], row["same"]) for row in rows] == [
        ("kinetics400.AAAAAAAAAAA.1-11", "val", "kinetics700.AAAAAAAAAAA.1-11", "train", "video"),
        ("kinetics400.AAAAAAAAAAA.1-11", "val", "kinetics700.AAAAAAAAAAA.60-70", "train", "video"),
        ("kinetics400.BBBBBBBBBBB.1-11", "train", "kinetics700.BBBBBBBBBBB.3-13", "val", "video"),
    ]


def test_the_same_name_in_two_data_sets_is_another_video(tmp_path):
    a, b = listed(tmp_path / "a", [("mine.clip-1", "val")]), listed(tmp_path / "b", [("yours.clip-1", "train")])
    assert len(overlaps(a, b)) == 0
    assert overlaps(a, a)["clip_b"].to_pylist() == ["mine.clip-1"]


def test_equal_packets_are_the_same_video_under_whatever_name(tmp_path):
    digest = hashlib.sha256(b"packets").hexdigest()
    clips = [("mine.clip-1", "val"), ("mine.clip-2", "val")]
    a = listed(tmp_path / "a", clips, packets={"mine.clip-1": digest})
    b = listed(tmp_path / "b", [("yours.x", "train"), ("yours.y", "train")], packets={"yours.y": digest})
    (row,) = overlaps(a, b).to_pylist()
    assert (row["clip_a"], row["clip_b"], row["same"]) == ("mine.clip-1", "yours.y", "packets")
    (row, *_) = overlaps(a, a).to_pylist()
    assert (row["clip_a"], row["clip_b"], row["same"]) == ("mine.clip-1", "mine.clip-1", "video")


def test_sets_that_share_nothing_give_an_empty_table(tmp_path):
    a, b = listed(tmp_path / "a", [("k.AAAAAAAAAAA", "val")]), listed(tmp_path / "b", [])
    assert overlaps(a, b).column_names == ["clip_a", "split_a", "label_a", "clip_b", "split_b", "label_b", "same"]
    assert len(overlaps(a, b)) == 0
