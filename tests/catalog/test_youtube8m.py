"""YouTube-8M: records as published, windows by their rule, videos found by id."""

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline.catalog import CATALOG_SCHEMA, CatalogError, catalog_notes, read_catalog
from pipeline.catalog.youtube8m import Video, read_videos, seeded_window
from pipeline.catalog.youtube8m_lookup import Lookup
from tests.catalog.test_tfrecord import YOUTUBE8M, example, needs_records, write_records

NOBODY = Lookup(base="http://127.0.0.1:9", tries=1)  # asked only where a test expects no answer
IDS = ["ab01", "Zx9Q", "k3Lm", "0a-_", "pQrS", "tt42"]


@pytest.fixture
def cache(tmp_path):
    """The YouTube ids of all but the last id, whose video is gone."""
    path = tmp_path / "ids"
    path.write_text("".join(f"{name}\t{name}YouTube\n" for name in IDS[:-1]) + "tt42\t-\n")
    return path


def read(records, cache, **options):
    table = read_catalog("youtube8m", records=records, cache=cache, lookup=NOBODY, **options)
    assert table.schema == CATALOG_SCHEMA
    assert len(set(table["clip_id"].to_pylist())) == table.num_rows
    return table


@needs_records
def test_frame_level_records_have_lengths_and_video_level_records_have_none():
    frames = [found.video for found in read_videos(YOUTUBE8M / "train0000.tfrecord")]
    whole = [found.video for found in read_videos(YOUTUBE8M / "video_train0000.tfrecord")]
    labels = [(1,), (2, 522), (3, 522, 11), (4,), (5, 522), (6, 522, 11)]
    assert frames == [Video(name, of, n, ()) for name, of, n in zip(IDS, labels, range(5, 11), strict=True)]
    assert whole == [Video(name, of, None, ()) for name, of in zip(IDS, labels, strict=True)]


@needs_records
def test_the_records_that_tensorflow_wrote_become_unlabelled_rows(cache):
    table = read({"train": YOUTUBE8M / "train0000.tfrecord"}, cache)
    assert table["label"].null_count == table["label_id"].null_count == 6
    assert table.slice(0, 1).to_pylist() == [
        {
            "clip_id": "youtube8m.ab01.0-5",  # all of the fixture's five seconds
            "dataset": "youtube8m",
            "split": "train",
            "label": None,
            "label_id": None,
            "source": "https://www.youtube.com/watch?v=ab01YouTube",
            "start_s": 0.0,
            "end_s": 5.0,
            "error_class": None,
            "error_message": None,
        }
    ]
    assert table["error_class"].to_pylist() == [None] * 5 + ["VideoGone"]
    assert catalog_notes(table) == ["youtube8m: one window of 10 s a video, by seeded_window with seed 0"]


@needs_records
def test_both_levels_name_the_same_videos_and_a_folder_reads_them_once(cache):
    table = read({"train": YOUTUBE8M / "video_train0000.tfrecord"}, cache, seed=7)
    windows = [seeded_window(7, name, 120) for name in IDS]
    assert list(zip(table["start_s"].to_pylist(), table["end_s"].to_pylist(), strict=True)) == windows
    table = read({"train": YOUTUBE8M}, cache)  # train0000 and video_train0000: other lengths, yet the same videos
    assert table["error_class"].to_pylist() == [None] * 5 + ["VideoGone"] + ["DuplicateClip"] * 6


def test_a_window_is_a_function_of_seed_and_id():
    # `printf %s youtube8m/0/ab01 | sha256sum` is cbd08c91...aa90c8, which leaves 79 modulo the 111 starts in 120 s.
    assert seeded_window(0, "ab01", 120) == (79, 89)
    assert seeded_window(0, "ab01", 10) == (0, 10)
    assert seeded_window(0, "ab01", 9) == (0, 9)
    starts = Counter(seeded_window(seed, "ab01", 29)[0] for seed in range(4000))
    assert sorted(starts) == list(range(20))  # 0 to 19, the last that leaves ten seconds
    assert min(starts.values()) > 140  # of 200 expected; a fair draw is below 140 once in a million
    assert len({seeded_window(0, f"{number:04d}", 300) for number in range(200)}) > 100


def test_segments_are_cut_where_the_table_rates_them(tmp_path, cache):
    rated = example(
        {"rgb": 200, "audio": 200},
        id=[b"ab01"],
        labels=[7],
        segment_start_times=[40, 10, 40],  # one segment rated for two labels
        segment_end_times=[45, 15, 45],
        segment_labels=[7, 7, 8],
        segment_scores=[1.0, 0.0, 1.0],
    )
    path = write_records(tmp_path / "validate0000.tfrecord", rated, example({"rgb": 9}, id=[b"Zx9Q"], labels=[7]))
    table = read({"val": path}, cache, windows="segments")
    assert table["clip_id"].to_pylist() == ["youtube8m.ab01.40-45", "youtube8m.ab01.10-15"]
    assert catalog_notes(table) == ["youtube8m: the windows of the segment table"]
    write_records(path, example(id=[b"ab01"]))
    with pytest.raises(CatalogError, match="no rated segment in the files of split 'val'; give the records"):
        read({"val": path}, cache, windows="segments")


def test_a_local_video_is_found_by_either_id_and_nothing_is_asked(tmp_path, cache):
    videos = tmp_path / "videos"
    (videos / "deep").mkdir(parents=True)
    unknown, known = videos / "deep" / "new1.mp4", videos / "ab01YouTube.webm"
    unknown.touch()
    known.touch()
    path = write_records(tmp_path / "a.tfrecord", *[example(id=[name]) for name in (b"new1", b"ab01", b"Zx9Q")])
    table = read({"train": path}, cache, videos=videos)
    assert table["source"].to_pylist() == [str(unknown), str(known), "https://www.youtube.com/watch?v=Zx9QYouTube"]
    assert table["start_s"].null_count == 0  # the file is the whole video, so ingest cuts it


def test_ids_without_an_answer_are_rows_with_their_error(tmp_path, cache):
    path = write_records(tmp_path / "a.tfrecord", example(id=[b"new1"]), example(id=[b"ab01"]))
    first, second = read({"train": path}, cache).to_pylist()
    assert (first["error_class"], first["source"], second["error_class"]) == ("LookupFailed", None, None)
    assert first["error_message"].startswith("http://127.0.0.1:9/ne/new1.js: no answer (NewConnectionError: ")


def test_a_cut_file_keeps_all_before_the_cut_and_says_where_it_is(tmp_path, cache):
    records = [example({"rgb": 20}, id=[name.encode()]) for name in IDS[:3]]
    path = write_records(tmp_path / "a.tfrecord", *records)
    offset = 2 * (16 + len(records[0]))
    path.write_bytes(path.read_bytes()[: offset + 50])
    other = write_records(tmp_path / "b.tfrecord", example({"rgb": 20}, id=[b"pQrS"]))
    rows = read({"train": tmp_path}, cache).to_pylist()
    assert [row["error_class"] for row in rows] == [None, None, "BadRow", None]
    assert rows[2]["error_message"] == (
        f"{path}: byte {offset}: the file ends inside a record of {len(records[2])} bytes; "
        "the 50 bytes from here are lost"
    )
    assert rows[2]["clip_id"].startswith(f"youtube8m.~train.a-tfrecord-{offset}~")
    assert rows[3]["clip_id"].startswith("youtube8m.pQrS.")
    assert other.exists()


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (b"\xff\xff", "neither a tf.train.Example nor a SequenceExample"),
        (example(labels=[1]), "0 values in its feature 'id'; a record of YouTube-8M has one"),
        (example(id=[b"ab01", b"ab02"]), "2 values in its feature 'id'; a record of YouTube-8M has one"),
        (example(id=[5]), "1 values in its feature 'id'; a record of YouTube-8M has one"),
        (example(id=[b"../x"]), "id '../x' is none of YouTube-8M; expected four letters, digits, '-' or '_'"),
        (example(id=[b"a\xff\n\x00"]), "id 'a\\\\xff\\n\\x00' is none of YouTube-8M"),
        (example(id=[b"ab01"], labels=[b"x"]), "its feature 'labels' holds something other than integers"),
        (example({"rgb": 5, "audio": 6}, id=[b"ab01"]), "ab01: feature lists of 5 and 6 steps; all must have as many"),
        (example({"rgb": 0}, id=[b"ab01"]), "ab01: feature lists of 0 steps; all must have as many"),
        (example(id=[b"ab01"], segment_start_times=[1]), "ab01: its segments make no times; each needs a start from"),
        (example(id=[b"ab01"], segment_start_times=[5], segment_end_times=[5]), "ab01: its segments make no times"),
        (example(id=[b"ab01"], segment_start_times=[-5], segment_end_times=[5]), "ab01: its segments make no times"),
    ],
    ids=range(12),
)
def test_a_wrong_record_is_a_row_with_its_error_and_costs_no_other(tmp_path, cache, record, problem):
    path = write_records(tmp_path / "a.tfrecord", example(id=[b"Zx9Q"]), record, example(id=[b"k3Lm"]))
    before, wrong, after = read({"train": path}, cache).to_pylist()
    assert (before["error_class"], wrong["error_class"], after["error_class"]) == (None, "BadRow", None)
    assert problem in wrong["error_message"]
    assert wrong["error_message"].startswith(f"{path}: byte {16 + len(example(id=[b'Zx9Q']))}: ")
    assert "\n" not in wrong["error_message"]


def test_a_video_met_twice_is_kept_once(tmp_path, cache):
    train = write_records(tmp_path / "t.tfrecord", example(id=[b"ab01"]), example(id=[b"ab01"]))
    val = write_records(tmp_path / "v.tfrecord", example(id=[b"ab01"]))
    rows = read({"train": train, "val": val}, cache).to_pylist()
    assert [row["error_class"] for row in rows] == [None, "DuplicateClip", "DuplicateClip"]
    assert rows[2]["error_message"].endswith(f"is already at {train}: byte 0; remove one of the two")


def test_a_limit_comes_before_the_lookup_and_is_spread_over_the_records(tmp_path, cache):
    names = [f"{number:04d}".encode() for number in range(100)]
    path = write_records(tmp_path / "a.tfrecord", *[example(id=[name]) for name in names])
    cache.write_text("".join(f"{number:04d}\t{number:011d}\n" for number in range(0, 100, 25)))
    table = read({"train": path}, cache, limit=4)
    assert [name.split(".")[1] for name in table["clip_id"].to_pylist()] == ["0000", "0025", "0050", "0075"]
    assert table["error_class"].null_count == 4  # the ids of all others would have been errors


@pytest.mark.parametrize("windows", ["seeded", "segments"])
@pytest.mark.parametrize("limit", [1, 3, 7, 10, 49, 1000])
def test_a_limit_takes_what_a_cut_of_the_whole_list_would(tmp_path, cache, windows, limit):
    """Also of damaged records, of videos met twice, and where the first of them is not taken."""
    for split, count in (("train", 40), ("val", 9)):
        (tmp_path / split).mkdir()
        for number in range(2):
            names = [f"{n:04d}".encode() for n in (*range(number * count // 2, count), *range(5))]
            records = [
                b"no record" if n % 11 == 3 else example(
                    {"rgb": 20 + n}, id=[name], segment_start_times=[5, 0, 5], segment_end_times=[10, 5, 10]
                )
                for n, name in enumerate(names)
            ]  # fmt: skip
            write_records(tmp_path / split / f"{number}.tfrecord", *records)
        cut = tmp_path / split / "1.tfrecord"
        cut.write_bytes(cut.read_bytes()[:-7])
    cache.write_text("".join(f"{number:04d}\t{number:011d}\n" for number in range(40)))
    records = {split: tmp_path / split for split in ("train", "val")}
    every = read(records, cache, windows=windows)
    parts = [every.filter(pc.field("split") == split) for split in records]
    taken = [
        part if len(part) <= limit else part.take([place * len(part) // limit for place in range(limit)])
        for part in parts
    ]
    assert {"BadRow", "DuplicateClip", None} == set(every["error_class"].to_pylist())
    assert read(records, cache, windows=windows, limit=limit).to_pylist() == pa.concat_tables(taken).to_pylist()


def test_a_plan_asks_nobody_and_writes_nothing(tmp_path, cache):
    """Every connection is refused, so an id that was asked for would be an error."""
    path = write_records(tmp_path / "a.tfrecord", *[example(id=[name.encode()]) for name in ("new1", "new2", *IDS)])
    table = read({"train": path}, cache, plan=True)
    assert table["error_class"].to_pylist() == [None] * 7 + ["VideoGone"]
    assert table["source"].to_pylist()[1:3] == [
        "https://www.youtube.com/watch?v=new2",
        "https://www.youtube.com/watch?v=ab01YouTube",
    ]
    assert catalog_notes(table)[1] == (
        "youtube8m: 2 of 8 videos count as being on YouTube, since their ids are not known yet and a plan asks for "
        "none; the job asks, 10 a second: 0.0 hours"
    )
    new = tmp_path / "folder" / "ids"
    assert read({"train": path}, new, plan=True)["error_class"].null_count == 8
    assert not new.parent.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"records": {}}, "youtube8m: no records; give files of each split"),
        (
            {"records": {"train": "/nowhere"}},
            r"/nowhere: cannot be read \(No such file or directory\); give a TFRecord",
        ),
        ({"records": {"a/b": "x"}}, "split 'a/b': use 1 to 64 letters"),
        ({"windows": "random"}, r"windows 'random': no such rule; choose one of seeded, segments"),
        ({"limit": 0}, "limit 0: give at least 1, or None for all"),
        ({"videos": "/nowhere"}, "/nowhere: no such folder of videos"),
    ],
)
def test_what_cannot_be_read_at_all_is_said_in_one_line(tmp_path, cache, options, message):
    path = write_records(tmp_path / "a.tfrecord", example(id=[b"ab01"]))
    with pytest.raises(CatalogError, match=message) as caught:
        read(**{"records": {"train": path}, "cache": cache, **options})
    assert "\n" not in str(caught.value)


def test_a_folder_or_file_without_records_is_refused(tmp_path, cache):
    with pytest.raises(CatalogError, match=r"no \*\.tfrecord in it; give the folder of the downloaded records"):
        read({"train": tmp_path}, cache)
    (tmp_path / "empty.tfrecord").touch()
    with pytest.raises(CatalogError, match="no record in the files of split 'train'"):
        read({"train": tmp_path}, cache)
