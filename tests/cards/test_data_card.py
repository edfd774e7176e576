"""The data card as a page: whole, self-contained, and safe against what its clips are called."""

import json
import re
from html.parser import HTMLParser

import pyarrow as pa
import pytest

from pipeline.cards import data_card
from pipeline.shards import CLIPS_SCHEMA, Problem, ShardError, Verification, overlaps
from pipeline.shards.manifest import summarise, write_manifest
from pipeline.shards.schema import FORMAT_VERSION
from pipeline.shards.tables import read_table, write_table
from tests.shards.sets import make_set

VOID = {"meta", "img", "br", "link", "input", "hr"}
HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>\" onload=\"alert(2)"


class Page(HTMLParser):
    """Reads a page: its tags with attributes, its text, and whether every tag that opens also closes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.text, self.open, self.wrong = [], "", [], []
        self.feed(html)
        self.close()
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append((tag, self.getpos()))

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += f" {data}"


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> str:
    return make_set(tmp_path_factory.mktemp("set")).path


@pytest.fixture(scope="module")
def page(shards) -> Page:
    return Page(data_card(shards, Verification(4, []), shards, overlaps(shards, shards)))


def renamed(folder, **columns: list[str]) -> str:
    """A set whose table of clips says something else in some columns."""
    made = make_set(folder)
    clips = made.clips
    for name, values in columns.items():
        clips = clips.set_column(clips.column_names.index(name), name, pa.array(values, pa.string()))
    write_manifest(made.path, clips, summarise(clips, {}))
    return made.path


def test_notes_on_the_set_are_on_the_page_and_are_text(shards, tmp_path):
    made = make_set(tmp_path / "set")
    manifest = summarise(made.clips, {}, notes=["the split is drawn: 2 train, 1 val clips, from clips", HOSTILE])
    write_manifest(made.path, made.clips, manifest)
    page = Page(data_card(made.path))
    assert "the split is drawn: 2 train, 1 val clips, from clips" in page.text
    assert "1 of the 1 classes of 'val' are not in 'train' (1 clip): 'whisking'" in page.text
    assert page.wrong == []
    assert not any(tag == "script" or "onerror" in attributes for tag, attributes in page.tags)


def test_every_tag_closes(page):
    assert page.wrong == []
    assert page.open == []


def test_the_page_needs_nothing_but_itself(page):
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "form", "base"}
    addresses = [attributes[name] for _, attributes in page.tags for name in ("src", "href") if name in attributes]
    assert addresses
    assert all(address.startswith("data:image/webp;base64,") for address in addresses)
    policies = [attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_the_page_says_what_the_set_holds(page):
    for text in (
        "by_hand",
        "Verified. All 4 clips are where the manifest says, and every stream has its digest.",
        "train 5 2 3 60.0 %",
        "All 8 4 4 50.0 %",
        "pouring milk 1 of 2",
        "ZeroByte 2",
        "/videos/6.mp4: FileNotFound",
        "4 pairs of clips from the same video",
    ):
        assert text in page.text, text


def test_every_picture_is_described(page):
    pictures = [attributes for tag, attributes in page.tags if tag in ("img", "svg")]
    assert len([attributes for attributes in pictures if "src" in attributes]) == 1 + 2 * 4  # wheel, frames and flow
    assert all(attributes.get("alt") or attributes.get("aria-label") for attributes in pictures)


def test_a_set_without_flow_speaks_of_none(tmp_path):
    read = Page(data_card(make_set(tmp_path, streams=("rgb",)).path))
    assert "One frame from the middle of each clip. Beside a clip's id: its split." in read.text
    assert "flow" not in read.text.replace(str(tmp_path), "").lower()
    assert (read.wrong, read.open) == ([], [])


def test_the_same_set_gives_the_same_page(shards):
    assert data_card(shards) == data_card(shards)


@pytest.mark.parametrize(
    "column", ["label", "clip_id", "error_message", "error_class", "source_codec", "flow_parameters"]
)
def test_what_clips_are_called_is_text_and_nothing_else(tmp_path, column):
    path = renamed(tmp_path, **{column: [f"{HOSTILE}{i}" for i in range(8)]})
    html = data_card(path, Verification(0, [Problem(HOSTILE, HOSTILE)]), HOSTILE, overlaps(path, path))
    read = Page(html)
    assert (read.wrong, read.open) == ([], [])
    assert not [tag for tag, _ in read.tags if tag == "script"]
    assert not [name for _, attributes in read.tags for name in attributes if name.startswith("on")]
    assert "<script" not in html
    assert HOSTILE in read.text


def test_long_names_and_control_sequences_do_not_reach_the_page(tmp_path):
    path = renamed(
        tmp_path,
        label=["y" * 20_000] * 8,
        error_message=["\x1b[2J\u202edaol" + "z" * 50_000] * 8,
        error_class=[f"kind {number}" for number in range(8)],
    )
    html = data_card(path)
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "y" * 119 + "…" in html
    assert "y" * 121 not in html
    assert "z" * 1001 not in html
    assert (Page(html).wrong, Page(html).open) == ([], [])


def test_problems_are_on_the_page(shards):
    read = Page(data_card(shards, Verification(3, [Problem("clip-1", f"fault {i}") for i in range(300)])))
    assert "300 problems. 3 clips were found" in read.text
    assert "fault 199 and 100 more" in read.text


def test_many_classes_are_folded(tmp_path):
    made = make_set(tmp_path)
    rows = made.clips.slice(7, 1).to_pylist()
    rows = [{**rows[0], "clip_id": f"x.{i}", "label": f"class {i:03d}", "label_id": i} for i in range(700)]
    clips = pa.concat_tables([made.clips, pa.Table.from_pylist(rows, made.clips.schema)])
    write_manifest(made.path, clips, summarise(clips, {}))
    html = data_card(made.path)
    read = Page(html)
    assert "All 704 classes" in read.text
    assert "class 350 0 of 1" in read.text
    assert len(html) < 2e6


def test_equal_videos_are_named(tmp_path):
    path = renamed(tmp_path, video_sha256=["a", "b", "a", "c", *[None] * 4])
    read = Page(data_card(path))
    assert "1 group of clips with equal video, 1 across splits." in read.text
    assert re.search(r"train, val clip-1 whisking clip-3 stirring", read.text)


def test_a_set_of_nothing_has_a_card_too(tmp_path):
    empty = make_set(tmp_path).clips.slice(0, 0)
    write_manifest(str(tmp_path), empty, summarise(empty, {}))
    assert "empty set" in Page(data_card(str(tmp_path))).text


def test_a_set_whose_clips_all_failed_has_a_card_too(tmp_path):
    failed = make_set(tmp_path).clips.slice(4)
    write_manifest(str(tmp_path), failed, summarise(failed, {}))
    read = Page(data_card(str(tmp_path)))
    assert "All 4 0 4 100 %" in read.text
    assert not [tag for tag, _ in read.tags if tag == "figure"]


def test_an_edited_manifest_gives_no_card_but_one_line(tmp_path):
    made = make_set(tmp_path)
    (tmp_path / "_manifest.json").write_text(json.dumps({"format_version": FORMAT_VERSION}))
    with pytest.raises(ShardError, match=r"_manifest\.json: digest: Field required; copy it again"):
        data_card(made.path)


def test_a_table_without_a_column_still_has_a_card(tmp_path):
    made = make_set(tmp_path)
    write_table(
        read_table(f"{made.path}/_clips.parquet", CLIPS_SCHEMA).drop(["source_codec"]), f"{made.path}/_clips.parquet"
    )
    assert "by_hand" in Page(data_card(made.path)).text


def test_what_is_no_set_is_refused(tmp_path):
    with pytest.raises(ShardError, match="no shard set there"):
        data_card(str(tmp_path))
