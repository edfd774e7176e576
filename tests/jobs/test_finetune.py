"""Fine-tuning end to end: from a checkpoint of other classes, with its features fixed, and with all of it trained."""

from pathlib import Path

import pytest
import torch
from mlflow.tracking import MlflowClient

from pipeline.command_line import override
from pipeline.config import Config, save
from pipeline.networks import build_network
from pipeline.runs.trained_networks import trained_run

from .test_jobs import job

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def start(shards: Config, tmp_path_factory) -> Path:
    """A checkpoint of a flow network of three classes."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.save(build_network(shards.model, "flow", 3).state_dict(), folder / "model.pt")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fixed", "full"])
def test_a_network_goes_on_from_a_checkpoint_of_other_classes(mode, shards, start, tmp_path, capsys):
    fields = {
        "name": mode, "storage": str(tmp_path), "model.streams": "flow", "model.fine_tune": mode,
        "model.weights.flow": str(start), "training.val_split": "test", "training.keep": "last", "training.steps": "2",
        "resources.workers": "1", "tracking.uri": f"sqlite:///{tmp_path}/mlflow.db",
        "tracking.registered_model": "video-fine" if mode == "full" else "",
    }  # fmt: skip
    save(override(shards, fields), tmp_path / "config.yaml")
    job("finetune").main(["--config", str(tmp_path / "config.yaml")])
    assert "i3d on test" in capsys.readouterr().out

    before = torch.load(start / "model.pt", weights_only=True)
    after = torch.load(trained_run(str(tmp_path), mode).weights["flow"], weights_only=True)
    assert before.pop("logits.conv3d.weight").shape[0] == 3
    assert after["logits.conv3d.weight"].shape[0] == 8
    kept = {name: torch.equal(value, after[name]) for name, value in before.items() if "logits" not in name}
    trained = {name for name, same in kept.items() if not same and not name.endswith("num_batches_tracked")}
    if mode == "fixed":
        assert not trained  # nor a statistic of batch norm
        return
    assert {"Conv3d_1a_7x7.conv3d.weight", "Mixed_5c.b0.bn.running_mean"} <= trained
    version = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_model_version_by_alias("video-fine", "candidate")
    assert f"from `{start}`, all of it trained on; 1 epoch;" in version.description
    assert "| test | validation (steers the learning rate) and test | 8 | 8 | 0 |" in version.description
    assert "The test split also trained the network or decided over its training" in version.description
