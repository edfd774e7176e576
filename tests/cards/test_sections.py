"""What the card says of the clips."""

import pyarrow as pa
import pytest

from pipeline.cards import sections
from pipeline.cards.sections import Label, Split
from pipeline.shards import CLIPS_SCHEMA
from tests.shards.sets import Made, make_set


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    return make_set(tmp_path_factory.mktemp("set"))


def listed(*rows: dict, extra: dict[str, list] | None = None) -> pa.Table:
    """A table of clips by hand, all readable unless they say otherwise."""
    common = {"dataset": "x", "split": "train", "status": "ok"}
    table = pa.Table.from_pylist([{**common, "clip_id": f"x.{i}", **row} for i, row in enumerate(rows)], CLIPS_SCHEMA)
    for name, column in (extra or {}).items():
        if name in table.column_names:
            table = table.drop([name])
        table = table.append_column(name, pa.array(column, pa.string()))
    return table


def test_splits_count_what_is_expected_and_measure_what_is_there(made):
    found = {split.name: split for split in sections.splits(made.clips)}
    assert list(found) == ["extra", "test", "train", "val"]
    sizes = [made.rows[clip] for clip in ("clip-0", "clip-3")]
    assert found["train"] == Split(
        "train", 5, 2, 21 / 25, 21, sum(row["video_bytes"] for row in sizes), sum(row["flow_bytes"] for row in sizes)
    )
    assert found["extra"] == Split("extra", 1, 0, 0, 0, 0, 0)


def test_classes_come_by_the_clips_that_are_there_the_unlabelled_among_them(made):
    assert sections.labels(made.clips) == [
        Label("whisking", 4, 1, None),
        Label("pouring milk", 2, 1, None),
        Label(None, 1, 1, None),
        Label("stirring", 1, 1, None),
    ]


def test_failures_come_by_class_with_their_messages(made):
    found = sections.failures(made.clips)
    assert [(kind.error_class, kind.count) for kind in found] == [
        ("ZeroByte", 2),
        ("DecodeError", 1),
        ("FileNotFound", 1),
    ]
    assert [message["clip_id"] for message in found[0].messages] == ["clip-7", "clip-9"]
    assert found[2].messages[0]["error_message"] == "/videos/6.mp4: FileNotFound"


def test_of_many_failures_the_first_messages_are_shown():
    clips = listed(*({"status": "failed", "error_class": "VideoGone"} for _ in range(50)), {"status": "failed"})
    gone, unknown = sections.failures(clips)
    assert (gone.count, len(gone.messages)) == (50, sections.SHOWN)
    assert (unknown.error_class, unknown.count) == ("None", 1)


def test_distributions_leave_out_what_nobody_knows(made):
    titles = [chart.title for chart in sections.distributions(sections.readable(made.clips))]
    assert titles == ["Duration", "Video a clip", "Flow a clip"]
    assert sections.distributions(CLIPS_SCHEMA.empty_table()) == []


def test_sources_are_ranked_and_rates_rounded():
    clips = listed(
        *({"source_width": 340, "source_height": 256, "source_fps": fps} for fps in (30000 / 1001, 29.97, 25.0)),
        {"source_codec": "h264"},
    )
    charts = {chart.title: chart for chart in sections.distributions(clips)}
    assert [(bar.label, bar.value) for bar in charts["Source size"].bars] == [("340 x 256", 3)]
    assert [(bar.label, bar.value) for bar in charts["Source rate"].bars] == [("29.97 fps", 2), ("25 fps", 1)]
    assert [(bar.label, bar.value) for bar in charts["Source codec"].bars] == [("h264", 1)]


def test_what_was_unusual_about_sources_is_counted_by_kind():
    notes = [
        "", None, "interlaced", "interlaced, 3 damaged frames", "17 damaged frames, pixel aspect 64:51",
        "ends before the clip (13 of 162 frames)", "ends before the clip (2 of 9 frames), times begin anew (1)",
    ]  # fmt: skip
    clips = listed(*({"source_notes": note} for note in notes))
    charts = {chart.title: chart for chart in sections.distributions(clips)}
    assert [(bar.label, bar.value) for bar in charts["Source notes"].bars] == [
        ("damaged frames", 2), ("ends before the clip", 2), ("interlaced", 2), ("pixel aspect 64:51", 1),
        ("times begin anew", 1),
    ]  # fmt: skip


def test_motion_is_told_by_clip_and_by_class():
    clips = listed(*({"label": f"c{i % 20}", "flow_magnitude": float(i % 20), "flow_clipped": 0.5} for i in range(40)))
    magnitude, clipped = sections.motion(clips)
    assert (magnitude.smallest, magnitude.largest) == (0, 19)
    assert (clipped.smallest, clipped.unit) == (50, "% of components")
    (_, most), (_, least) = sections.moving(sections.labels(clips))
    assert [bar.label for bar in most[:2]] == ["c19", "c18"]
    assert [bar.label for bar in least[:2]] == ["c0", "c1"]
    ((title, every),) = sections.moving(sections.labels(clips)[:5])
    assert (title, len(every)) == ("Classes, most moving first", 5)


def test_equal_videos_are_found_within_and_across_splits():
    clips = listed(
        {"video_sha256": "a"},
        {"video_sha256": "b"},
        {"video_sha256": "a"},
        {"video_sha256": "c", "split": "val"},
        {"video_sha256": "b", "split": "val"},
        {"video_sha256": None},
        {"video_sha256": None},
    )
    across, within = sections.twins(clips)
    assert ([clip["clip_id"] for clip in across.clips], across.splits) == (["x.1", "x.4"], ("train", "val"))
    assert ([clip["clip_id"] for clip in within.clips], within.splits) == (["x.0", "x.2"], ("train",))


def test_where_there_are_digests_of_packets_they_decide():
    clips = listed(*({"video_sha256": name} for name in "aab"), extra={"packets_sha256": ["one", "two", "two"]})
    (group,) = sections.twins(clips)
    assert [clip["clip_id"] for clip in group.clips] == ["x.1", "x.2"]


def test_settings_are_those_stored_with_the_clips():
    clips = listed(
        {
            "fps": 25,
            "height": 256,
            "width": 340,
            "flow_bound": 20.0,
            "flow_parameters": '{"tau": 0.25, "lambda_": 0.15}',
        },
        {"fps": 25, "height": 256, "width": 455, "video_crf": 17},
    )
    assert sections.settings(clips) == [
        ("Frames", "25 fps; short side 256 px"),
        ("Video", "crf 17"),
        ("Flow", "bound 20 px"),
        ("Flow parameters", "tau 0.25, lambda 0.15"),
    ]
    assert sections.settings(listed({"flow_parameters": "not JSON"})) == [("Flow parameters", "not JSON")]
