"""Files of weights: what they are of goes with them, and what is no file of weights is said in one line."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.models import create_model
from pipeline.models.weights import Provenance, WeightsError, in_rows, read_tensors, read_weights, save_weights

OF = Provenance(("b", "a"), "mine", "0123", "i3d", "rgb", {"frames": 16, "fps": 25, "levels": "signed"})


def test_a_file_says_what_it_is_of_and_stays_a_state_dict_for_everybody(tmp_path):
    network = nn.Linear(2, 3)
    save_weights(network.state_dict(), OF, tmp_path / "model.pt")
    assert read_weights(tmp_path / "model.pt").provenance == OF
    plain = torch.load(tmp_path / "model.pt", weights_only=True)
    assert list(plain) == ["weight", "bias"]
    nn.Linear(2, 3).load_state_dict(plain)
    assert Provenance.from_dict({**OF.to_dict(), "of a later version": 1}) == OF


def test_of_a_plain_file_nothing_is_known(tmp_path):
    torch.save({"epoch": 3, "state_dict": nn.Linear(2, 3).state_dict()}, tmp_path / "model.pt")
    read = read_weights(tmp_path / "model.pt")
    assert (list(read.state), read.provenance) == (["weight", "bias"], Provenance())


@pytest.mark.parametrize("read", [read_weights, read_tensors])
def test_objects_in_a_file_are_said_without_advice_to_run_them(read, tmp_path):
    torch.save({"best": np.float64(0.5), "state_dict": {"w": torch.ones(1)}}, tmp_path / "model.pt")
    with pytest.raises(WeightsError) as raised:
        read(tmp_path / "model.pt")
    said = str(raised.value)
    assert said.startswith(f"{tmp_path}/model.pt: cannot be read as weights: it holds Python objects (numpy.")
    assert said.endswith("store model.state_dict() alone with torch.save")
    assert "weights_only" not in said
    assert "\n" not in said


@pytest.mark.filterwarnings("ignore")
def test_an_archive_of_torchscript_is_called_so(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(2, 3)), tmp_path / "model.pt")
    with pytest.raises(WeightsError, match=r"model\.pt: .*a TorchScript archive; store model\.state_dict\(\)"):
        read_weights(tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["i3d", "convnet_lstm", "two_stream", "fused_two_stream"])
def test_rows_of_a_classifier_in_another_order_give_the_logits_in_that_order(name):
    clips = [(3, 1), (2, 10)] if "two_stream" in name else [(3, 8)]
    inputs = [torch.rand(1, channels, frames, 32, 32) for channels, frames in clips]
    torch.manual_seed(0)
    network = create_model(name, num_classes=4).eval()
    other = create_model(name, num_classes=4).eval()
    other.load_state_dict(in_rows(network, network.state_dict(), [2, 0, 3, 1]))
    with torch.inference_mode():
        expected = network(*inputs)[:, [2, 0, 3, 1]]
        torch.testing.assert_close(other(*inputs), expected)
    assert not torch.equal(expected, network(*inputs))
