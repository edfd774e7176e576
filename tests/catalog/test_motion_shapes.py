"""Motion shapes: a frame says nothing about the class, motion says all; rendering is deterministic and resumes."""

import csv
import dataclasses
import itertools
import json
import math
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pipeline.catalog import CATALOG_SCHEMA, CatalogError, read_catalog
from pipeline.catalog.motion_shapes import Parameters, planned, render
from pipeline.catalog.shapes import (
    CLASSES,
    LEVELS,
    OTHER_MOTIONS,
    PATTERNS,
    SLOW_MOTIONS,
    clip_frames,
    draw,
    random_look,
)

CHANCE = 1 / len(CLASSES)
SPLITS = {"train": 25, "test": 25}
FRAMES = 12


def decode(path):
    """All frames, (T, H, W, 3) uint8."""
    with av.open(path) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """400 clips as (V: (N, T, H, W, 3) uint8, labels (N,), train (N,) bool, bytes of the files (N,))."""
    root = tmp_path_factory.mktemp("motion_shapes")
    table = read_catalog("motion_shapes", root=root, clips_per_class=SPLITS, frames=FRAMES, seed=3)
    assert table.schema == CATALOG_SCHEMA
    assert table["error_class"].null_count == table.num_rows == 400
    rows = table.to_pylist()
    return (
        np.stack([decode(row["source"]) for row in rows]),
        np.array([row["label_id"] for row in rows]),
        np.array([row["split"] == "train" for row in rows]),
        np.array([Path(row["source"]).stat().st_size for row in rows]),
    )


# What a linear probe finds.


def probe(features, labels, train, penalties=(0.01, 1.0)):
    """Held-out accuracy of ridge regression to one-hot labels, the best of the penalties.

    In its dual form, because features may outnumber clips.
    """
    x = features.reshape(len(features), -1).astype(np.float32)
    x = (x - x[train].mean(0)) / (x[train].std(0) + 1e-6)
    kernel = (x @ x[train].T / x.shape[1]).astype(np.float64)
    targets = np.eye(len(CLASSES))[labels[train]] - CHANCE
    weights = [np.linalg.solve(kernel[train] + p * np.eye(train.sum()), targets) for p in penalties]
    return max((np.argmax(kernel @ w, axis=1) == labels)[~train].mean() for w in weights)


def most_by_chance(clips, probability):
    """The accuracy that guessing on so many clips exceeds with at most this probability (binomial tail)."""
    tail = 0.0
    for right in range(clips, -1, -1):
        tail += math.comb(clips, right) * CHANCE**right * (1 - CHANCE) ** (clips - right)
        if tail > probability:
            return right / clips
    raise AssertionError


def frame_features(pictures):
    """Four views of single frames (N, H, W, 3): pixels, coarse pixels, edges, moments."""
    x = pictures.astype(np.float32) / 255
    n, size = x.shape[:2]
    slopes = np.abs(np.stack(np.gradient(x.mean(-1), axis=(1, 2)), axis=1))  # (N, 2, H, W)
    away = np.abs(x - np.median(x, axis=(1, 2), keepdims=True)).sum(-1)  # where the shape is, roughly
    wave = np.exp(2j * np.pi * np.arange(size) / size)  # the frame is a torus: places are angles
    places = [profile @ wave**k for k in (1, 2, 3) for profile in (away.sum(1), away.sum(2))]
    moments = [away.sum((1, 2)), away.std((1, 2)), *[p.real for p in places], *[p.imag for p in places]]
    return {
        "pixels": x,
        "coarse pixels": np.stack([cv2.resize(p, (16, 16), interpolation=cv2.INTER_AREA) for p in x]),
        "edges": slopes.reshape(n, 2, 8, size // 8, 8, size // 8).mean((3, 5)),
        "moments": np.column_stack([*moments, *slopes.mean((2, 3)).T, *x.mean((1, 2)).T, *x.std((1, 2)).T]),
    }


def flow_features(previous, following):
    """Mean flow, turning and spreading about the moving centre, of one pair of grey frames."""
    flow = cv2.calcOpticalFlowFarneback(previous, following, None, 0.5, 3, 9, 3, 5, 1.1, 0)
    u, v = flow[..., 0], flow[..., 1]
    speed = np.hypot(u, v)
    n = len(u)
    wave = np.exp(2j * np.pi * np.arange(n) / n)  # the frame is a torus, so the centre is a mean of angles
    x, y = (np.angle((speed**2).sum(axis) @ wave) * n / (2 * np.pi) for axis in (0, 1))
    dx, dy = np.meshgrid((np.arange(n) - x + n / 2) % n - n / 2, (np.arange(n) - y + n / 2) % n - n / 2)
    weight = speed.sum() + 1e-6
    means = [(speed * u).sum() / weight, (speed * v).sum() / weight]
    return [*means, (dx * v - dy * u).mean(), (dx * u + dy * v).mean()]


def test_a_single_frame_says_nothing_and_flow_says_the_class(data):
    videos, labels, train, sizes = data
    held_out = int((~train).sum())
    # 4 frames x 4 views x 2 penalties: each may pass the bound by chance once in 10,000.
    bound = most_by_chance(held_out, 1e-4)
    assert (held_out, bound) == (200, 0.22)
    for t in (0, 4, 8, FRAMES - 1):
        for view, features in frame_features(videos[:, t]).items():
            accuracy = probe(features, labels, train)
            assert accuracy <= bound, f"{view} of frame {t} tell the class: {accuracy:.1%} of {held_out} clips"
    assert probe(sizes[:, None], labels, train) <= bound, "the size of the file tells the class"

    greys = [[cv2.cvtColor(clip[t], cv2.COLOR_RGB2GRAY) for t in range(FRAMES)] for clip in videos]
    flows = np.array([[flow_features(g[t], g[t + 1]) for t in (2, 5, 8)] for g in greys]).mean(1)
    accuracy = probe(flows, labels, train)
    assert accuracy >= 0.85, f"flow tells the class of only {accuracy:.1%} of {held_out} clips"


def test_the_probe_would_see_a_leak():
    """Its power: frames 8 steps after a start in the middle, as a naive data set has them, are told apart."""
    looks = [random_look(64, margin=4, rng=np.random.default_rng(n)) for n in range(50)]
    window = np.array([4.0, 4.0], np.float32)
    periods = np.array([64, 64, 2 * math.pi, LEVELS])
    states = [
        np.array([0.5, 0.5, 0.1, 0.5]) * periods + 8 * np.array(CLASSES[c]) * periods / 50 for c in sorted(CLASSES)
    ]
    frames = np.stack([draw(look, *state, window, 64) * 255 for look in looks for state in states])
    labels, train = np.tile(np.arange(8), 50), np.repeat(np.arange(50) < 25, 8)
    accuracies = {view: probe(features, labels, train) for view, features in frame_features(frames).items()}
    assert max(accuracies.values()) > 0.4, accuracies


def test_flow_has_the_direction_that_the_label_says(data):
    videos, labels, _, _ = data
    names = sorted(CLASSES)
    expected = {  # (place in flow_features, sign); image y points down
        "moving left": (0, -1),
        "moving right": (0, 1),
        "moving up": (1, -1),
        "moving down": (1, 1),
        "rotating anticlockwise": (2, -1),
        "rotating clockwise": (2, 1),
        "shrinking": (3, -1),
        "growing": (3, 1),
    }
    for number, name in enumerate(names):
        clips = videos[labels == number][:12]
        pairs = [[cv2.cvtColor(clip[t], cv2.COLOR_RGB2GRAY) for t in (5, 6)] for clip in clips]
        place, sign = expected[name]
        assert sign * np.median([flow_features(*pair)[place] for pair in pairs]) > 0.3, name


# Why it must be so.


def test_the_class_touches_nothing_but_the_order_of_frames():
    clips = {label: list(clip_frames(label, 3, 64, np.random.default_rng(5))) for label in CLASSES}
    first = clips["growing"][0]
    assert all(np.array_equal(frames[0], first) for frames in clips.values())
    lasts = [frames[2] for frames in clips.values()]
    assert all(not np.array_equal(a, b) for a, b in itertools.combinations(lasts, 2))


def test_other_motions_touch_no_more_and_are_as_fast():
    clips = {label: list(clip_frames(label, 3, 64, np.random.default_rng(5))) for label in [*OTHER_MOTIONS, *CLASSES]}
    assert not OTHER_MOTIONS.keys() & CLASSES.keys()
    assert all(np.array_equal(frames[0], clips["growing"][0]) for frames in clips.values())
    lasts = [frames[2] for frames in clips.values()]
    assert all(not np.array_equal(a, b) for a, b in itertools.combinations(lasts, 2))
    assert [math.hypot(*shift) for shift in OTHER_MOTIONS.values()] == pytest.approx([1.0] * 8)


def test_a_slow_motion_moves_in_six_frames_as_far_as_a_fast_one_in_one():
    for label, shift in CLASSES.items():
        assert SLOW_MOTIONS[f"{label} slowly"] == pytest.approx([each / 6 for each in shift])
    fast, slow = (list(clip_frames(f"growing{how}", 7, 64, np.random.default_rng(5))) for how in ("", " slowly"))
    assert np.array_equal(fast[0], slow[0])
    moved = [np.abs(frames[at] - frames[0].astype(float)).mean() for frames, at in ((slow, 1), (slow, 6), (fast, 6))]
    assert moved == sorted(moved)


def test_a_pattern_is_seen_in_a_frame_and_not_in_the_motion():
    shown = {label: [list(clip_frames(label, 2, 64, np.random.default_rng(n))) for n in range(3)] for label in PATTERNS}
    assert len({clips[0][0].tobytes() for clips in shown.values()}) == len(PATTERNS)
    again = list(clip_frames("dots", 2, 64, np.random.default_rng(0)))
    assert all(np.array_equal(a, b) for a, b in zip(again, shown["dots"][0], strict=True))


@pytest.mark.parametrize("size", [32, 64, 112])
def test_the_state_is_a_torus(size):
    """Shifting x, y, orientation or zoom by its period gives the same picture: uniform stays uniform."""
    look = random_look(size, margin=4, rng=np.random.default_rng(1))
    window = np.array([4.0, 4.0], np.float32)
    state = np.array([3.3, 0.6 * size, 1.0, 0.7])  # over the left side
    picture = draw(look, *state, window, size)
    for period in np.diag([size, size, 2 * math.pi, LEVELS]):
        for turns in (-2, 1):
            np.testing.assert_allclose(draw(look, *(state + turns * period), window, size), picture, atol=1e-3)
        assert np.abs(draw(look, *(state + 0.4 * period), window, size) - picture).max() > 0.1


def test_zoom_has_no_jump():
    """No doll appears or vanishes at once, the outermost and the innermost included."""
    look = random_look(64, margin=4, rng=np.random.default_rng(2))
    window = np.array([4.0, 4.0], np.float32)
    steps = np.linspace(0, LEVELS, 601)
    pictures = np.stack([draw(look, 32.0, 32.0, 0.3, zoom, window, 64) for zoom in steps])
    changes = np.abs(np.diff(pictures, axis=0)).mean((1, 2, 3))
    assert changes.max() < 6 * np.median(changes)


# Files.


def files(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


SMALL = {"clips_per_class": {"train": 2, "val": 1}, "frames": 4, "size": 32}


def test_clips_are_encoded_frame_by_frame_at_25_a_second(tmp_path):
    rows = read_catalog("motion_shapes", root=tmp_path, **{**SMALL, "frames": 30}).to_pylist()
    assert [row["split"] for row in rows] == ["train"] * 16 + ["val"] * 8
    for row in rows[:3]:
        with av.open(row["source"]) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 25)
            packets = [packet for packet in container.demux(stream) if packet.size]
            assert len(packets) == 30
            assert all(packet.is_keyframe for packet in packets)
            assert [float(packet.pts * packet.time_base) for packet in packets] == pytest.approx(np.arange(30) / 25)


def test_encoding_is_good(tmp_path):
    """At least 36 dB in luma between what was drawn and what is decoded."""
    parameters = Parameters({"train": 1}, frames=4, size=64, seed=0, qp=18)
    rows = read_catalog("motion_shapes", root=tmp_path, **dataclasses.asdict(parameters)).to_pylist()
    for clip, row in zip(planned(parameters), rows, strict=True):
        drawn = clip_frames(clip.label, 4, 64, np.random.default_rng(list(clip.seed)))
        a, b = (
            np.stack([cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in v]) for v in (list(drawn), decode(row["source"]))
        )
        error = (a.astype(float) - b.astype(float)) ** 2
        assert 10 * math.log10(255**2 / error.mean()) > 36, clip.label


def test_the_choice_of_classes_left_the_first_set_as_it_was():
    """Names, and with them digests of shard sets, are of the record's text."""
    parameters = Parameters({"train": 2, "val": 1}, frames=4, size=64, seed=0, qp=18)
    first = next(planned(parameters))
    assert (first.label, first.youtube_id, first.time_start) == ("shrinking", "FZwDNxhLLFc", 477)
    others = [next(planned(dataclasses.replace(parameters, classes=name))) for name in ("other_motions", "patterns")]
    assert others[0].label in OTHER_MOTIONS
    assert others[1].label in PATTERNS
    assert len({first.youtube_id, *(clip.youtube_id for clip in others)}) == 3
    with pytest.raises(
        CatalogError, match="classes is 'colours'; give one of motions, other_motions, slow_motions, patterns"
    ):
        dataclasses.replace(parameters, classes="colours")


def test_it_is_written_as_kinetics_is(tmp_path):
    render(tmp_path, **SMALL)
    with (tmp_path / "train.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert list(rows[0]) == ["label", "youtube_id", "time_start", "time_end", "split", "is_cc"]
    assert sorted(row["label"] for row in rows) == sorted(2 * list(CLASSES))
    assert [row["label"] for row in rows] != sorted(row["label"] for row in rows)  # places say nothing either
    assert {len(row["youtube_id"]) for row in rows} == {11}
    lists = {split: tmp_path / f"{split}.csv" for split in SMALL["clips_per_class"]}
    table = read_catalog("kinetics", annotations=lists, videos=tmp_path / "videos", dataset="motion_shapes")
    assert table.equals(read_catalog("motion_shapes", root=tmp_path, **SMALL))


def test_the_same_seed_gives_the_same_bytes_and_another_other_clips(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        render(tmp_path / name, **SMALL, seed=seed)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert not {n for n in files(tmp_path / "a") if n.endswith(".mp4")} & set(files(tmp_path / "c"))


def test_a_second_call_does_nothing(tmp_path):
    assert render(tmp_path, **SMALL) == 24
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert render(tmp_path, **SMALL) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_what_is_missing_is_made_again_the_same(tmp_path):
    render(tmp_path, **SMALL)
    before = files(tmp_path)
    for name in sorted(before)[-3:]:
        (tmp_path / name).unlink()
    (tmp_path / "val.csv").unlink()
    (tmp_path / "videos" / ".torn.mp4.123").write_bytes(b"half a clip")  # as a killed call leaves it
    assert render(tmp_path, **SMALL) == 3
    (tmp_path / "videos" / ".torn.mp4.123").unlink()
    assert files(tmp_path) == before


def test_other_parameters_replace_the_clips_and_nothing_else(tmp_path):
    render(tmp_path, **SMALL)
    (tmp_path / "videos" / "mine.mp4").write_bytes(b"mine")
    (tmp_path / "notes.txt").write_text("mine")
    with (tmp_path / "train.csv").open("a") as lines:
        lines.write("jump,../../../../x,1,2,train,0\n")  # no edited list leads out of the folder
    other = {**SMALL, "clips_per_class": {"train": 1}}
    assert render(tmp_path, **other) == 8
    names = {name for name in files(tmp_path) if not name.startswith("videos/")}
    assert names == {"motion_shapes.json", "train.csv", "notes.txt"}
    assert len(files(tmp_path)) == 3 + 8 + 1
    assert json.loads((tmp_path / "motion_shapes.json").read_text())["clips_per_class"] == {"train": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 65}, "size is 65; give an even number of pixels from 32 on"),
        ({"frames": 1}, "frames is 1; motion needs at least 2"),
        ({"clips_per_class": {}}, "clips_per_class is empty; give"),
        ({"clips_per_class": {"train": 0}}, r"clips_per_class\['train'\] is 0; give at least 1"),
        ({"clips_per_class": {"../x": 1}}, "split '../x': use 1 to 64 letters"),
        ({"seed": -1}, "seed is -1; give 0 or more"),
        ({"qp": 0}, "qp is 0; give 1 to 51"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(CatalogError, match=message):
        render(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_a_record_that_is_not_ours_is_left_alone(tmp_path):
    (tmp_path / "motion_shapes.json").write_text("[]")
    with pytest.raises(CatalogError, match="not a record of motion_shapes; give another folder, or remove it"):
        render(tmp_path, **SMALL)
    assert list(files(tmp_path)) == ["motion_shapes.json"]


def test_lists_of_others_are_never_overwritten(tmp_path):
    (tmp_path / "train.csv").write_text("mine")
    with pytest.raises(CatalogError, match=r"holds a train\.csv that motion_shapes did not write; give another folder"):
        render(tmp_path, **SMALL)
    assert files(tmp_path) == {"train.csv": b"mine"}


def test_a_plan_names_the_clips_that_would_be_rendered_and_renders_none(tmp_path):
    options = {"root": tmp_path / "shapes", "clips_per_class": {"train": 2, "val": 1}, "frames": 30, "size": 32}
    plan = read_catalog("motion_shapes", **options, plan=True)
    assert not (tmp_path / "shapes").exists()
    assert plan.equals(read_catalog("motion_shapes", **options), check_metadata=True)
