"""WebDataset archives: where labels are from, and what becomes of odd samples."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from pipeline.catalog import CatalogError, catalog_classes, catalog_notes
from pipeline.command_line import override
from pipeline.config import Config, ConfigError
from pipeline.ingest.catalog import configured_catalog

UNDRAWN = {"catalog.dataset": "webdataset", "catalog.val_fraction": "0", "catalog.test_fraction": "0"}


def tar(path: Path, *members: tuple[str, bytes | str]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, content in members:
            info = tarfile.TarInfo(name)
            content = content.encode() if isinstance(content, str) else content
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return str(path)


def catalog(fields: dict[str, str]):
    return configured_catalog(override(Config(), {**UNDRAWN, **fields}).resolved())


def labels(table) -> dict[str, str | None]:
    return {(row["source"] or row["clip_id"]).rpartition("#")[2]: row["label"] for row in table.to_pylist()}


def test_a_folder_of_archives_is_read_in_its_order_and_sidecars_on_both_sides_count(tmp_path):
    tar(
        tmp_path / "tars/1.tar", ("2.txt", "run"), ("2.mp4", b"v"), ("2.json", "{}"), ("3.MKV", b"v"), ("3.txt", "jump")
    )
    tar(tmp_path / "tars/0.tar", ("a/1.mp4", b"v"), ("a/1.flow.mp4", b"f"), ("a/1.txt", " run\n"), ("note.txt", "x"))
    found = catalog({"catalog.archives.train": f"{tmp_path}/tars"})
    assert labels(found) == {"1": "run", "2": "run", "3": "jump"}
    assert found["source"].to_pylist()[0] == f"archives:{tmp_path}/tars#1"
    assert catalog_classes(found) == ["jump", "run"]
    assert catalog_notes(found) == ["labels are from txt of each clip", "1 samples have no video, and are left out"]
    assert (
        found["clip_id"].to_pylist() == catalog({"catalog.archives.train": f"{tmp_path}/tars"})["clip_id"].to_pylist()
    )


def test_numbers_are_classes_in_their_order_and_come_before_texts(tmp_path):
    samples = [
        (f"{n}.{kind}", text) for n in (2, 10) for kind, text in (("mp4", "v"), ("cls", f"{n}"), ("txt", "a cat"))
    ]
    found = catalog({"catalog.archives.train": tar(tmp_path / "a.tar", *samples)})
    assert catalog_classes(found) == ["2", "10"]
    assert found["label_id"].to_pylist() == [0, 1]


def test_a_place_may_be_named_and_who_has_none_there_is_a_row_with_an_error(tmp_path):
    samples = [
        ("1.mp4", "v"), ("1.json", json.dumps({"verb": "run", "label": "x"})),
        ("2.mp4", "v"), ("2.json", "{"), ("3.mp4", "v"), ("3.json", json.dumps({"verb": ["run"]})),
        ("4.mp4", "v"), ("5.mp4", "v"), ("5.json", "[" * 100_000), ("6.mp4", "v"), ("6.json", b"\xff"),
        ("1.mp4", "v"), ("1.json", json.dumps({"verb": "run"})), ("a#b.mp4", "v"),
        ("a#b.json", json.dumps({"verb": "b"})),
    ]  # fmt: skip
    where = tar(tmp_path / "a.tar", *samples)
    found = catalog({"catalog.archives.train": where, "catalog.label": "json:verb"}).to_pylist()
    assert [row["error_class"] for row in found] == [None, *["BadRow"] * 5, "DuplicateClip", "BadRow"]
    assert len({row["clip_id"] for row in found}) == len(found)
    assert found[1]["error_message"] == f"{where}: '2.mp4': its json is no JSON"
    with pytest.raises(CatalogError, match=r"no label for all|no place has a label for all 8 clips \(cls in 0"):
        catalog({"catalog.archives.train": where})


def test_a_caption_is_no_label(tmp_path):
    where = tar(
        tmp_path / "a.tar", ("1.mp4", "v"), ("1.txt", "word " * 100), ("2.mp4", "v"), ("2.txt", b"x" * (1 << 21))
    )
    found = catalog({"catalog.archives.train": where, "catalog.label": "txt"}).to_pylist()
    assert [row["error_message"].rpartition(": ")[2] for row in found] == [
        "its txt has more than 200 characters, which is no label", "its txt is larger than a label, or no UTF-8",
    ]  # fmt: skip


def test_one_split_alone_is_divided_and_two_stay(tmp_path):
    samples = [(f"{n}.{kind}", text) for n in range(20) for kind, text in (("mp4", "v"), ("txt", "ab"[n % 2]))]
    where = tar(tmp_path / "a.tar", *samples)
    draw = {"catalog.val_fraction": "0.2", "catalog.test_fraction": "0.2"}
    drawn = catalog({"catalog.archives.train": where, **draw})
    assert {split: drawn["split"].to_pylist().count(split) for split in ("train", "val", "test")} == {
        "train": 12, "val": 4, "test": 4,
    }  # fmt: skip
    assert any(note.startswith("the split is drawn") for note in catalog_notes(drawn))
    other = tar(tmp_path / "b.tar", ("1.mp4", "v"), ("1.txt", "a"))
    both = catalog({"catalog.archives.train": where, "catalog.archives.val": other, **draw})
    assert both["split"].to_pylist().count("val") == 1
    assert len(set(both["clip_id"].to_pylist())) == 21


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "catalog.archives: empty"),
        ({"catalog.archives.train": "EMPTY"}, "no video in these archives"),
        ({"catalog.archives.train": "EMPTY", "catalog.archives.val": "EMPTY"}, "two splits have the same archives"),
        ({"catalog.archives.replacements": "EMPTY"}, "webdataset has none"),
    ],
)
def test_what_cannot_be_read_at_all_is_one_line(fields, line, tmp_path):
    where = tar(tmp_path / "empty.tar", ("a.txt", "x"))
    with pytest.raises(CatalogError, match=line):
        catalog(dict.fromkeys(fields, where))


def test_a_wrong_place_is_one_line():
    with pytest.raises(ConfigError, match="label: caption; give auto, cls, txt or json:KEY"):
        override(Config(), {"catalog.label": "caption"})
