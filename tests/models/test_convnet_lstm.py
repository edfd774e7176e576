import pytest
import torch

from pipeline.models import create_model
from pipeline.models.convnet_lstm import BatchNormLSTM


def test_paper_count_of_nine_million():
    with torch.device("meta"):
        model = create_model("convnet_lstm", num_classes=400)
    count = {name: sum(p.numel() for p in module.parameters()) for name, module in model.named_children()}
    assert count["inception"] == 5_592_624 + 7_280  # 57 convolutions, offsets; and the scales of batch norm
    assert count["lstm"] == 4 * 512 * (1024 + 512 + 1) + 2 * 4 * 512 + 2 * 512
    assert count["fc"] == 512 * 400 + 400


def test_equals_torch_lstm_where_the_norm_does_nothing():
    torch.manual_seed(0)
    ours, theirs = BatchNormLSTM(6, 5, steps=3, momentum=0.1).eval(), torch.nn.LSTM(6, 5, batch_first=True)
    for norm in (ours.norm_input, ours.norm_hidden, ours.norm_cell):
        torch.nn.init.constant_(norm.weight, (1 + norm.eps) ** 0.5)  # running variance is 1 at first
    torch.nn.init.normal_(ours.bias)
    # torch orders the gates input, forget, candidate, output
    forget, update, output, candidate = range(4)
    order = torch.cat([torch.arange(5) + 5 * gate for gate in (update, forget, candidate, output)])
    theirs.weight_ih_l0.data = ours.weight_input.data[order]
    theirs.weight_hh_l0.data = ours.weight_hidden.data[order]
    theirs.bias_ih_l0.data = ours.bias.data[order]
    torch.nn.init.zeros_(theirs.bias_hh_l0)
    x = torch.randn(2, 7, 6)
    torch.testing.assert_close(ours(x), theirs(x)[0])


def test_statistics_are_kept_for_each_step_and_the_last_serves_for_longer_clips():
    lstm = BatchNormLSTM(6, 5, steps=3, momentum=1.0)
    x = torch.randn(8, 4, 6)
    lstm(x)
    pre = x @ lstm.weight_input.T
    torch.testing.assert_close(lstm.norm_input.running_mean[0], pre[:, 0].mean(dim=0))
    torch.testing.assert_close(lstm.norm_input.running_mean[2], pre[:, 3].mean(dim=0))


def test_last_step_in_test_every_step_for_the_loss():
    model = create_model("convnet_lstm", num_classes=3).eval()
    clip = torch.randn(2, 3, 4, 32, 32)
    steps = model(clip, every_step=True)
    assert steps.shape == (2, 3, 4)
    torch.testing.assert_close(model(clip), steps[..., -1])
    torch.testing.assert_close(model.logits_over_time(clip), steps)
    assert model.loss_on_every_step


def test_one_clip_is_too_few_for_training():
    model = create_model("convnet_lstm", num_classes=3)
    with pytest.raises(ValueError, match="training needs 2 clips a batch or more"):
        model(torch.randn(1, 3, 4, 32, 32))
