"""Every recipe is walked as a user walks it, at a tiny size and on real Ray and MLflow.

Clips become shards, the network is trained, tested, registered and drawn; the registered model is then loaded, names
the actions of a video, and is tested again. A part that works alone is not enough: 46 recipes once died behind their
last epoch, where two parts met for the first time.
"""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mlflow.tracking import MlflowClient
from torchvision.models import densenet121, googlenet, mobilenet_v3_small, resnet50

from pipeline.config import Config
from pipeline.evaluation.scores import read_scores
from pipeline.networks import build_network, network_inputs
from pipeline.recipes import FINE_TUNE, PRETRAIN, TRANSFER

from .test_jobs import job

pytestmark = [pytest.mark.ray, pytest.mark.slow]
every_recipe = pytest.mark.skipif(not os.environ.get("EVERY_RECIPE"), reason="takes long: EVERY_RECIPE=1 walks them")

IMAGENET = {"googlenet": googlenet, "resnet50": resnet50, "densenet121": densenet121}
ONE_STEP = {
    "training.epochs": "1", "training.steps": "1", "training.batch_size": "2", "training.accumulate": "1",
    "training.val_split": "test", "training.clips_per_step": "none",
    "evaluation.split": "test", "evaluation.val_frames": "16", "evaluation.views": "2", "evaluation.crops": "1",
    "evaluation.batch_size": "4", "optimiser.lr": "1e-4", "schedule.warmup_steps": "0",
    "clips.short_side": "none", "clips.crop": "32", "resources.workers": "1", "resources.worker_cpus": "0.5",
    "resources.loader_cpus": "0.5",
}  # fmt: skip
# One fine-tuning of every mode and kind of network; EVERY_RECIPE=all walks the other fine-tunings as well.
FINE_TUNINGS = (
    "i3d_ucf101_original", "i3d_ucf101_fixed", "i3d_hmdb51_full", "c3d_hmdb51_fixed", "convnet_lstm_ucf101_full",
    "two_stream_ucf101_fixed", "fused_two_stream_hmdb51_full", "t3d121_ucf101", "densenet3d121_hmdb51",
    "resnet3d18_ucf101", "resnext3d101_hmdb51", "hara_densenet3d121_ucf101", "t3d121_tsn_ucf101",
)  # fmt: skip


# What is walked without EVERY_RECIPE: both streams, clips of other levels, and T3D, which is a DenseNet.
ALWAYS = ("i3d_folder", "t3d121_kinetics")


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> Path:
    """Runs, checkpoints and MLflow of all recipes."""
    return tmp_path_factory.mktemp("recipes")


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory) -> dict[str, Path]:
    """2D weights in torchvision's own format, by the name that a recipe gives; of no training."""
    folder, found = tmp_path_factory.mktemp("imagenet"), {}
    torch.manual_seed(0)
    for name, build in IMAGENET.items():
        options = {"init_weights": True} if name == "googlenet" else {}
        found[name] = folder / f"{name}.pth"
        torch.save(build(weights=None, **options).state_dict(), found[name])
    return found


def tiny(recipes: dict[str, Callable[[], Config]], name: str, shards: Config, storage: Path, imagenet: dict) -> dict:
    """The fields that make a recipe tiny, and give it what it begins with."""
    config = recipes[name]()
    wanted = {
        "name": name, "storage": str(storage), "tracking.uri": f"sqlite:///{storage}/mlflow.db",
        "ingest.shards": shards.ingest.shards, **ONE_STEP,
    }  # fmt: skip
    if config.clips.frames == 16:  # ends in one value a clip and channel: of two, a batch normalisation makes noise
        wanted["training.batch_size"] = "8"
    wanted["evaluation.val_frames"] = str(max(1, 16 // config.clips.rgb_every) * config.clips.rgb_every)
    if config.model.name in ("single_stream", "fused_single_stream"):
        wanted["evaluation.val_frames"] = str(config.clips.frames)  # flow comes in stacks
    if config.model.inflate:
        wanted["model.inflate"] = str(imagenet[config.model.inflate])
    if config.model.name == "c3d":
        wanted["model.options.size"] = "32"
    if config.model.fine_tune in ("fixed", "full", "last_block"):
        torch.manual_seed(0)
        for stream in network_inputs(config.model):
            options = {**config.model.options, **({"size": 32} if config.model.name == "c3d" else {})}
            network = build_network(replace(config.model, options=options), stream, num_classes=3)
            file = storage / f"{name}-{stream}.pt"
            torch.save(network.state_dict(), file)
            wanted[f"model.weights.{stream}"] = str(file)
    return wanted


def walk(script: str, name: str, wanted: dict[str, str], video: Path, capsys) -> None:
    """Train, then use what was registered as its last lines say."""
    job(script).main(["--recipe", name, *(word for key, value in wanted.items() for word in (f"--{key}", value))])
    out = capsys.readouterr().out
    assert re.search(r"^ +registered \S+ version \d+ as candidate$", out, re.MULTILINE), out
    model = re.search(r"models:/\S+@candidate", out)[0]
    client = MlflowClient(wanted["tracking.uri"])
    version = client.get_model_version_by_alias(model.removeprefix("models:/").removesuffix("@candidate"), "candidate")
    run = client.get_run(version.run_id)
    assert (run.info.status, version.tags["recipe"], version.tags["clips"]) == ("FINISHED", name, "8")
    assert artifacts(client, version.run_id, "attention"), "no picture of where the network looks"

    job("predict").main([str(video), "--model", model, "--tracking", wanted["tracking.uri"]])
    assert len(re.findall(r"^  \S.* +\d+\.\d$", capsys.readouterr().out, re.MULTILINE)) == 5

    job("evaluate").main(["--model", model, "--tracking.uri", wanted["tracking.uri"], "--storage", wanted["storage"]])
    again = read_scores(re.search(r"scores (\S+)", capsys.readouterr().out)[1])
    first = read_scores(f"{wanted['storage']}/runs/{wanted['name']}")
    assert (again.digest, again.protocol, again.labels) == (first.digest, first.protocol, first.labels)
    for stream, logits in first.logits.items():
        assert again.logits[stream] == pytest.approx(logits, rel=1e-3, abs=1e-3)
    for kept in (f"runs/{wanted['name']}", "evaluations"):  # half a GB of checkpoints
        shutil.rmtree(f"{wanted['storage']}/{kept}")


def artifacts(client: MlflowClient, run_id: str, folder: str) -> list[str]:
    """What a run's folder of artifacts holds."""
    return [item.path for item in client.list_artifacts(run_id, folder)]


@pytest.fixture
def video(shards: Config) -> Path:
    """One of the clips."""
    return next(Path(shards.catalog.videos).rglob("*.mp4"))


@pytest.mark.parametrize(
    "name",  # the demo has tests of its own
    [pytest.param(name, marks=[] if name in ALWAYS else every_recipe) for name in PRETRAIN if name != "demo"],
)
def test_a_pretraining_ends_in_a_model_that_names_actions_and_can_be_tested_again(
    name, shards, storage, imagenet, video, capsys
):
    walk("pretrain_kinetics", name, tiny(PRETRAIN, name, shards, storage, imagenet), video, capsys)


def test_any_inflated_backbone_ends_in_a_model_that_names_actions_and_can_be_tested_again(
    shards, storage, imagenet, video, capsys
):
    file = storage / "mobilenet_v3_small.pth"
    torch.manual_seed(0)
    torch.save(mobilenet_v3_small(weights=None).state_dict(), file)
    wanted = tiny(PRETRAIN, "resnet3d18_kinetics", shards, storage, imagenet) | {
        "name": "inflated", "model.name": "inflated", "model.options.backbone": "mobilenet_v3_small",
        "model.inflate": str(file), "model.levels": "imagenet", "tracking.registered_model": "video-inflated",
    }  # fmt: skip
    walk("pretrain_kinetics", "resnet3d18_kinetics", wanted, video, capsys)


@every_recipe
@pytest.mark.parametrize("name", FINE_TUNE if os.environ.get("EVERY_RECIPE") == "all" else FINE_TUNINGS)
def test_a_fine_tuning_ends_in_a_model_that_names_actions_and_can_be_tested_again(
    name, shards, storage, imagenet, video, capsys
):
    walk("finetune", name, tiny(FINE_TUNE, name, shards, storage, imagenet), video, capsys)


@every_recipe
@pytest.mark.parametrize("name", TRANSFER)
def test_a_supervision_transfer_ends_in_a_student_with_which_a_fine_tuning_begins(
    name, shards, storage, imagenet, video, capsys
):
    wanted = tiny(TRANSFER, name, shards, storage, imagenet)
    job("transfer_youtube8m").main(
        ["--recipe", name, *(word for key, value in wanted.items() for word in (f"--{key}", value))]
    )
    student = re.search(r"--model\.weights\.rgb (\S+)", capsys.readouterr().out)[1]
    tuned = name.replace("youtube8m", "ucf101")
    wanted = tiny(FINE_TUNE, tuned, shards, storage, imagenet) | {
        "name": f"taught_{name}",
        "model.weights.rgb": student,
    }
    walk("finetune", tuned, wanted, video, capsys)
