"""Before a training: a shard set alone is enough, a plan does nothing, and what would fail late is said at once."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.command_line import override
from pipeline.config import Config, ConfigError
from pipeline.ingest.stored import is_alone, with_stored
from pipeline.recipes import PRETRAIN
from pipeline.runs.prepare import evaluated_on, find_clips, planned
from pipeline.shards import ShardError
from pipeline.shards.summary import training_words


def asked(shards: str, storage: Path, recipe: str = "i3d_folder", **fields: str) -> tuple[Config, list[str]]:
    """A config as a command line makes it, and the names of its fields."""
    words = {"ingest.shards": shards, "storage": str(storage), "clips.crop": "32"} | {
        name.replace("__", "."): text for name, text in fields.items()
    }
    return override(PRETRAIN[recipe](), words).resolved(), list(words)


@pytest.fixture(scope="module")
def carried(shards, tmp_path_factory):
    """The shard set in another folder, which nobody may write to; its videos are not there."""
    folder = tmp_path_factory.mktemp("carried") / "set"
    shutil.copytree(shards.ingest.shards, folder)
    for path in [folder, *folder.iterdir()]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield str(folder)
    folder.chmod(0o755)


@pytest.mark.ray
def test_the_settings_of_a_set_become_the_runs(carried, shards, tmp_path):
    config, given = asked(carried, tmp_path)
    found = find_clips(config, given)
    assert found.catalog is None
    assert (found.clips, found.classes) == ({"test": 8, "train": 16, "val": 101}, 8)
    assert found.config.catalog.dataset == "motion_shapes"
    assert found.config.ingest.flow == replace(shards.ingest.flow, backend="cpu")
    assert (found.config.ingest.short_side, found.config.ingest.fps) == (32, 25)
    assert found.config.ingest.shards == carried
    assert found.config.evaluation.split == "test"


@pytest.mark.ray
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ingest__fps": "30"}, r"^--ingest\.fps: \S+ was made with 25, not 30; leave it out"),
        ({"ingest__flow__bound": "20"}, r"^--ingest\.flow\.bound: \S+ was made with 5\.0, not 20\.0"),
        (
            {"ingest__streams": "rgb", "model__streams": "rgb"},
            r"^--ingest\.streams: \S+ was made with rgb,flow, not rgb;",
        ),
        ({"catalog__dataset": "kinetics400"}, r"^--catalog\.dataset: \S+ was made with motion_shapes, not kinetics400"),
        ({"catalog__limit": "3"}, r"^--catalog\.limit: \S+ has its clips already"),
    ],
)
def test_what_contradicts_a_set_is_refused(carried, tmp_path, fields, message):
    config, given = asked(carried, tmp_path, **fields)
    with pytest.raises(ConfigError, match=message):
        with_stored(config, given)


@pytest.mark.ray
def test_what_agrees_with_a_set_or_does_not_decide_over_it_is_taken(carried, tmp_path):
    config, given = asked(carried, tmp_path, ingest__fps="25", ingest__max_failed="0.1", ingest__short_side="32")
    assert with_stored(config, given).ingest.max_failed == 0.1


@pytest.mark.ray
def test_a_crop_that_its_clips_do_not_have_is_one_line(carried, tmp_path):
    config, given = asked(carried, tmp_path, "i3d_kinetics", clips__crop="224")
    with pytest.raises(ConfigError, match=r"^clips\.crop: 224 pixels do not fit into the shorter side of 32"):
        with_stored(config, given)


def test_a_set_that_is_not_there_or_not_complete_is_one_line(tmp_path):
    config, given = asked(str(tmp_path / "nowhere"), tmp_path)
    with pytest.raises(ShardError, match=r"nowhere: no shard set there .* run the command ingest"):
        find_clips(config, given)


@pytest.mark.ray
def test_who_names_the_videos_wants_them_ingested(carried, shards, tmp_path):
    config, given = asked(carried, tmp_path)
    assert is_alone(config, given)
    assert not is_alone(config, [*given, "catalog.videos"])
    assert not is_alone(config, [*given, "catalog.annotations.val"])
    assert is_alone(config, [])  # there is nothing but the set
    assert not is_alone(shards, [])  # its clips are in a folder that the config names
    assert is_alone(replace(shards, resume="tiny"), [])
    assert is_alone(config, ["base.ingest.shards"], "base.")


@pytest.mark.ray
def test_the_command_that_an_inspection_prints_is_understood(carried, tmp_path):
    words = ["pretrain", "--recipe", "i3d_folder", "--ingest.shards", carried, "--clips.crop", "32"]
    assert training_words(carried) == words  # its clips are 32 pixels high
    assert find_clips(*asked(carried, tmp_path, "i3d_folder")).clips["train"] == 16


@pytest.mark.ray
def test_a_plan_says_what_would_be_trained_and_does_nothing(carried, tmp_path):
    config, given = asked(carried, tmp_path / "new", training__epochs="3")
    said = planned(config, given)
    assert "i3d, parameters: rgb 12.3 M, flow 12.3 M; 8 classes; nothing has been done" in said
    assert "clips: 16 train, 101 val, 8 test; windows of 16 frames of 32 x 32" in said
    assert "steps of 8 clips (" in said
    assert "): 2 an epoch, 3 epochs at most" in said
    assert not (tmp_path / "new").exists()


def test_a_plan_with_a_catalog_also_says_what_would_be_ingested(tmp_path):
    for label in "ab":
        for number in range(10):
            path = tmp_path / "videos" / label / f"{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes([number]) * (number + 1))
    config, given = asked(
        "",
        tmp_path / "new",
        "resnet3d18_folder",
        catalog__videos=str(tmp_path / "videos"),
        model__weights__rgb="r3d_18",
    )
    said = planned(config, [name for name in given if name != "ingest.shards"])
    assert said.index("folder into") < said.index("resnet3d18, parameters: rgb 33.2 M; 2 classes")
    assert "clips: 12 train, 4 val, 4 test" in said
    assert said.count("nothing has been done") == 2
    assert not (tmp_path / "new").exists()


def test_one_class_alone_is_refused_before_anything_runs(tmp_path):
    for number in range(4):
        path = tmp_path / "mine" / "videos" / "pour" / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(number + 1))
    config, given = asked("", tmp_path / "new", "resnet3d18_folder", catalog__videos=str(tmp_path / "mine"))
    says = r"^catalog: one class only, 'videos'; a training needs two to tell apart; give the folder above those of the"
    with pytest.raises(ConfigError, match=says):
        find_clips(config, [name for name in given if name != "ingest.shards"])


def test_a_limit_counts_the_classes_of_which_it_drew_no_clip(tmp_path):
    for label in "abc":
        for number in range(3):
            path = tmp_path / "mine" / label / f"{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{label}{number}")
    fields = {"catalog__videos": str(tmp_path / "mine"), "catalog__limit": "1"}
    config, given = asked("", tmp_path / "new", "resnet3d18_folder", **fields)
    found = find_clips(config, [name for name in given if name != "ingest.shards"])
    assert found.clips == {"train": 1, "val": 1, "test": 1}
    assert found.classes == 3


def test_the_tested_split_is_the_test_where_there_is_one(capsys):
    auto = PRETRAIN["i3d_folder"]().evaluation
    assert evaluated_on(auto, "val", {"train", "val", "test"}).split == "test"
    assert capsys.readouterr().out == ""
    assert evaluated_on(auto, "val", {"train", "val"}).split == "val"
    assert "there is no split test: the accuracy will be that on val" in capsys.readouterr().out
    assert evaluated_on(PRETRAIN["i3d_kinetics"]().evaluation, "val", {"train", "val", "test"}).split == "val"


def test_three_splits_are_refused_before_a_training_without_labels_begins():
    config = override(Config(), {"catalog.dataset": "ucf101", "catalog.split_number": "all"})
    with pytest.raises(ConfigError, match=r"catalog\.split_number: all is for trainings on labels; give one"):
        find_clips(config, [], labelled=False)
