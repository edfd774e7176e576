"""The model card says what a reader must know, from numbers that are given: no training is needed to test it."""

import re
from dataclasses import replace

import numpy as np
import pytest

from pipeline.command_line import override
from pipeline.config import Config
from pipeline.evaluation.analysis import analyse
from pipeline.evaluation.scores import Scores
from pipeline.recipes.folder import i3d_folder
from pipeline.registry.model_card import model_card
from pipeline.tracking.runs import Run
from pipeline.training.trainer import Trained

LABELS = ("jump", "run | fast", "<b>sit</b>")


@pytest.fixture
def scores() -> Scores:
    """Of six clips, of which flow gets five right and RGB two."""
    targets = np.array([0, 0, 1, 1, 2, 2])
    flow = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2, 0]] * 4
    rgb = np.eye(3, dtype=np.float32)[[0, 0, 0, 0, 0, 0]] * 2
    names = np.array([f"clip{number}" for number in range(6)])
    return Scores("test", "d" * 16, 1, LABELS, names, targets, {"rgb": rgb, "flow": flow}, "i3d (Quo Vadis)")


DRAWN = {"seed": 3, "val_fraction": 0.2, "test_fraction": 0.25, "groups": "97ce"}


def card(scores: Scores, drawn: dict | None = None, failed: str = "Truncated", **fields: str) -> str:
    wanted = {"ingest.shards": "/data/set", "evaluation.split": "test", "tracking.uri": "sqlite:////data/mlflow.db"}
    config: Config = override(i3d_folder(), wanted | {name.replace("__", "."): text for name, text in fields.items()})
    counts = {
        "expected": 7,
        "present": 6,
        "failed": {failed: 1},
        "labels": {name: {"present": 2} for name in LABELS},
    }
    manifest = {
        "dataset": "folder", "digest": "d" * 16, "labels": list(LABELS),
        "plan": {"flow_version": "cpu 1", "split": drawn},
        "splits": dict.fromkeys(("train", "val", "test"), counts),
    }  # fmt: skip
    best = {"val/top1": 0.5, "val/clips": 6.0, "val/loss": 1.25}
    trained = {name: Trained(name, f"/data/{name}/checkpoint_1", best, [best, best]) for name in ("rgb", "flow")}
    analyses = {name: analyse(scores, name) for name in scores.all_logits}
    return model_card(config, Run("sqlite:////data/mlflow.db", "abc"), manifest, trained, scores, analyses)


def test_each_number_stands_with_the_clips_and_the_data_that_it_is_of(scores):
    text = card(scores)
    rows = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")]
        for line in text.splitlines()
        if "|" in line
    }
    assert rows["rgb"][2] == "33.3"
    assert rows["flow"][2] == "83.3"
    assert rows["flow"][-3:-1] == ["6", "1"]
    assert "Protocol: i3d (Quo Vadis)" in text
    assert f"digest `{'d' * 16}`" in text
    assert rows["test"][2:6] == ["test", "7", "6", "1 Truncated"]
    assert "- `rgb`: from scratch; 2 epochs; the checkpoint taken has 50.0 % of 6 clips of `val`, loss 1.250" in text


def test_how_splits_were_drawn_is_said(scores):
    assert "drawn" not in card(scores)
    drawn = {"seed": 3, "val_fraction": 0.2, "test_fraction": 0.25}
    assert "by clips, seed 3: the test has 25 %, the validation has 20 %." in card(scores, drawn)
    assert "seed 3: the validation has 20 %." in card(scores, {**drawn, "test_fraction": 0.0})  # its own test
    folded = {**drawn, "test_fraction": 0.0, "groups": "97ce", "fold": "<0>"}
    said = r"by groups (file of digest `97ce`), seed 3: fold \<0\> is the test, the validation has 20 % of the rest."
    assert said in card(scores, folded)
    assert "seed 3: each fold is the test in turn, the validation has 20 % of the rest." in card(
        scores, {**folded, "fold": "all"}
    )


def test_where_weights_come_from_is_said(scores):
    text = card(scores, model__weights__rgb="/weights/rgb_imagenet.pt", model__fine_tune="full")
    assert "from `/weights/rgb_imagenet.pt`, all of it trained on" in text


def test_a_split_that_decided_something_is_no_untouched_test(scores):
    assert "picks the checkpoint" in card(scores)
    assert card(scores, evaluation__split="val") != card(scores)


def test_a_class_name_is_no_markup(scores):
    assert r"jump, run \| fast, \<b\>sit\</b\>" in card(scores)


def test_a_card_of_hostile_names_loads_runs_and_links_nothing(scores):
    evil = "![x](https://evil.example/p.png) <img src=//evil.example> [y](javascript:z) www.evil.example a@evil.ex"
    names = (evil, "x" * 20_000, "`</code><script>alert(1)</script>\x1b[2J")
    text = card(replace(scores, labels=names, protocol=evil), {**DRAWN, "fold": evil}, failed=evil)
    assert text.count("evil") > 9
    read = re.sub(r"`[^`\n]*`", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))  # without code
    assert re.findall(r"(?<!\\)[<\[\]`&]|https?://|www\.|@\w", read) == []
    assert len(text) < 12_000
    assert "\x1b" not in text
