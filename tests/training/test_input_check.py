"""Windows that a network cannot take are found before anything is ingested."""

import pytest

from pipeline.command_line import override
from pipeline.config import ConfigError
from pipeline.networks import network_inputs
from pipeline.recipes import PRETRAIN
from pipeline.training.input_check import check_input


def checked(recipe: str, **fields: str) -> None:
    config = override(PRETRAIN[recipe](), {name.replace("__", "."): text for name, text in fields.items()})
    for name, streams in network_inputs(config.model).items():
        check_input(config, name, streams)


@pytest.mark.parametrize(
    "recipe", ["demo", "i3d_folder", "c3d_kinetics", "convnet_lstm_kinetics", "two_stream_kinetics"]
)
def test_what_recipes_ask_for_is_taken(recipe):
    checked(recipe)


@pytest.mark.parametrize(
    ("recipe", "fields", "message"),
    [
        ("t3d121_kinetics", {"clips__crop": "24"}, r"clips\.crop 24: too small for t3d121 .*at least 15 frames of 29"),
        ("i3d_folder", {"clips__crop": "8"}, r"clips\.crop 8: too small for i3d, .*give 16 or more"),
        ("t3d121_kinetics", {"clips__frames": "1"}, r"clips\.frames 1, clips\.crop 224: too small for t3d121"),
        ("two_stream_kinetics", {"evaluation__val_frames": "16"},
         r"evaluation\.val_frames 16, clips\.crop 224: two_stream does not take them: .* need 10 flow frames"),
        ("two_stream_kinetics", {"clips__frames": "1", "clips__rgb_every": "1"}, "need 10 flow frames"),
        ("resnet3d18_folder", {"clips__crop": "16", "clips__frames": "1", "training__batch_size": "1",
                               "training__clips_per_step": "1"}, "Expected more than 1 value per channel"),
    ],
)  # fmt: skip
def test_a_window_too_small_is_one_line(recipe, fields, message):
    with pytest.raises(ConfigError, match=message) as caught:
        checked(recipe, **fields)
    assert "\n" not in str(caught.value)
