import pytest

from pipeline.models import create_model, list_models


def test_unknown_model_names_the_nearest():
    with pytest.raises(ValueError, match='unknown model "two_stream_i3": did you mean "two_stream_i3d"'):
        create_model("two_stream_i3", num_classes=4)


def test_unknown_option_names_the_nearest():
    with pytest.raises(ValueError, match='model "i3d" has no option "drop_out": did you mean "dropout"'):
        create_model("i3d", num_classes=4, drop_out=0.5)


def test_wrong_values_are_refused():
    with pytest.raises(ValueError, match="num_classes is 0"):
        create_model("i3d", num_classes=0)
    with pytest.raises(ValueError, match=r"in_channels is 4, must be 3 \(RGB\) or 2 \(flow\)"):
        create_model("i3d", num_classes=4, in_channels=4)


def test_pattern_selects():
    assert [str(info) for info in list_models("*i3d")] == ["i3d", "two_stream_i3d"]
    assert list_models("nothing*") == []
