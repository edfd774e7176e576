"""Which trainings are the same, which come first, and that each is described once."""

from dataclasses import replace

import pytest

from pipeline.config import ConfigError, from_dict
from pipeline.experiments.claims import CLAIMS, chosen
from pipeline.experiments.settings import DATA, DESCRIBED, StudyConfig, data_config
from pipeline.experiments.trial import Outcome, Training, in_order

STUDY = StudyConfig(storage="/nowhere")
DIGESTS = dict.fromkeys(DATA, "digest")


def trainings() -> dict[str, Training]:
    return {name: one for claim in chosen(STUDY) for name, one in claim.trainings.items()}


def test_a_key_is_of_all_that_the_result_depends_on_and_of_nothing_else():
    full = trainings()["i3d-flow-full"]
    key = full.trial(0).key(DIGESTS)
    assert trainings()["i3d-flow-full"].trial(0).key(DIGESTS) == key
    moved = replace(full, config=replace(full.config, storage="/elsewhere"), name="other")
    assert moved.trial(0).key(DIGESTS) == key
    start = full.starts["flow"]
    longer = replace(start.config, training=replace(start.config.training, epochs=99))
    others = [
        full.trial(1).key(DIGESTS),
        full.trial(0).key({**DIGESTS, "other_motions": "changed"}),
        full.trial(0).key({**DIGESTS, "motions": "changed"}),  # of the training that it starts from
        replace(full, starts={"flow": replace(start, config=longer)}).trial(0).key(DIGESTS),
        replace(full, config=replace(full.config, optimiser=replace(full.config.optimiser, lr=0.5)))
        .trial(0)
        .key(DIGESTS),
    ]
    assert len({key, *others}) == 6


def test_trainings_that_claims_share_are_run_once_and_starts_come_first():
    trials = in_order([one.trial(seed) for one in trainings().values() for seed in (0, 1)])
    names = [str(trial) for trial in trials]
    assert len(names) == len(set(names))
    assert names.count("densenet121-frames seed 0") == 1
    assert "densenet121-frames seed 1" not in names  # one teacher for all, as a published file would be
    for trial in trials:
        for start in trial.starts.values():
            assert names.index(str(start)) < names.index(str(trial))
    for name in ("i3d-motions seed 1", "i3d-taught seed 1", "googlenet-frames seed 0"):
        assert name in names


def test_one_name_is_one_training():
    found: dict[str, str] = {}
    for claim in chosen(STUDY):
        for name, one in claim.trainings.items():
            key = one.trial(0).key(DIGESTS)
            assert found.setdefault(name, key) == key


def test_an_outcome_comes_back_from_its_file(tmp_path):
    path = f"{tmp_path}/outcomes/x.json"
    assert Outcome.load(path) is None
    history = {"flow": [{"train/clips": 20.0, "val/top1": 0.5}] * 2}
    outcome = Outcome("x", {"flow": 0.5}, 8, "d", history, 8, {"flow": "/model.pt"}, 2.5, {})
    outcome.save(path)
    assert Outcome.load(path) == outcome
    assert outcome.steps("flow") == [3, 6]


def test_data_sets_that_are_trained_on_in_turn_have_other_pictures():
    configs = {name: data_config(STUDY, name) for name in DATA}
    assert len({config.seed for config in configs.values()}) == len(DATA) == len(DESCRIBED)
    assert len({config.ingest.shards for config in configs.values()}) == len(DATA)
    tested = [shapes.test * (5 if shapes.classes == "patterns" else 8) for shapes, _, _ in DATA.values()]
    assert min(tested) >= 160


def test_seeds_are_given_once():
    with pytest.raises(ConfigError, match="seeds: 1,1; give different ones"):
        from_dict(StudyConfig, {"seeds": [1, 1]})


@pytest.mark.parametrize("name", CLAIMS)
def test_sides_of_a_comparison_see_the_same_test_clips(name):
    for comparison in CLAIMS[name](STUDY).comparisons:
        assert comparison.first.training.data == comparison.second.training.data
