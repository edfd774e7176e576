"""ConvNet + LSTM of Quo Vadis (arXiv 1705.07750, section 2.1, Table 1 a).

Inception-v1 runs on each frame, followed by an LSTM of width 512 with batch norm and by a classifier. For the batch
norm the paper only names its source, Cooijmans et al., Recurrent Batch Normalization (arXiv 1603.09025). This module
implements equations 6 to 8 of that source: each step has its own statistics; all steps share the scale (0.1 at first)
and the offset.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.i3d import FEATURES, BatchNorm, Inception, StemPadding, Style, init_weights

HIDDEN = 512
FRAMES_AT_A_TIME = 128


class StepwiseBatchNorm(nn.Module):
    """Batch norm over the clips, with separate running statistics for each step.

    Args:
        channels: width of the input.
        steps: number of steps with their own statistics; later steps use those of the last one.
        offset: whether an offset is learned too.
        momentum: weight of the newest batch in the running statistics.
        eps: constant added to the variance.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, steps: int, offset: bool, momentum: float, eps: float = 1e-3) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.full((channels,), 0.1))
        self.bias = nn.Parameter(torch.zeros(channels)) if offset else None
        self.register_buffer("running_mean", torch.zeros(steps, channels))
        self.register_buffer("running_var", torch.ones(steps, channels))

    def forward(self, x: Tensor, step: int) -> Tensor:
        """Normalise the values (N, channels) of one step, counted from 0."""
        step = min(step, len(self.running_mean) - 1)
        mean, var = self.running_mean[step], self.running_var[step]
        return F.batch_norm(x, mean, var, self.weight, self.bias, self.training, self.momentum, self.eps)


class BatchNormLSTM(nn.Module):
    """LSTM with batch norm on the projected input, on the projected state and on the cell's output.

    Args:
        inputs: width of the input.
        hidden: width of the state and of the output.
        steps: number of steps with their own statistics; equals the number of steps of the training clips.
        momentum: see `StepwiseBatchNorm`.
    """

    def __init__(self, inputs: int, hidden: int, steps: int, momentum: float) -> None:
        super().__init__()
        self.hidden = hidden
        self.weight_input = nn.Parameter(torch.empty(4 * hidden, inputs))
        self.weight_hidden = nn.Parameter(torch.empty(4 * hidden, hidden))
        self.bias = nn.Parameter(torch.zeros(4 * hidden))
        self.norm_input = StepwiseBatchNorm(4 * hidden, steps, offset=False, momentum=momentum)
        self.norm_hidden = StepwiseBatchNorm(4 * hidden, steps, offset=False, momentum=momentum)
        self.norm_cell = StepwiseBatchNorm(hidden, steps, offset=True, momentum=momentum)
        nn.init.orthogonal_(self.weight_input)
        nn.init.orthogonal_(self.weight_hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the outputs (N, T, hidden) of all steps from inputs (N, T, inputs)."""
        state = x.new_zeros(x.shape[0], self.hidden)
        cell = x.new_zeros(x.shape[0], self.hidden)
        outputs = []
        for step, from_input in enumerate(F.linear(x, self.weight_input).unbind(dim=1)):
            gates = self.norm_hidden(F.linear(state, self.weight_hidden), step) + self.norm_input(from_input, step)
            forget, update, output, candidate = (gates + self.bias).chunk(4, dim=1)
            cell = forget.sigmoid() * cell + update.sigmoid() * candidate.tanh()
            state = output.sigmoid() * self.norm_cell(cell, step).tanh()
            outputs.append(state)
        return torch.stack(outputs, dim=1)


class ConvNetLSTM(nn.Module):
    """Inception-v1 and LSTM. Clips contain every fifth frame: 25 frames (5 s) in training, 50 (10 s) in test.

    The paper computes the training loss on all steps: `model(x, every_step=True)` gives their logits, and the attribute
    `loss_on_every_step` tells the training loop to use them. In test only the last step counts: `model(x)`.

    Args:
        num_classes: width of the classifier.
        in_channels: 3 for RGB, 2 for flow.
        dropout: probability of dropping a feature before the LSTM and before the classifier.
        batch_norm_momentum: see `pipeline.models.i3d.BatchNorm`; it applies to the LSTM too.
        steps: number of LSTM steps with their own statistics; equals the number of frames of the training clips.
        stem_padding: see `pipeline.models.i3d.I3D`.
    """

    loss_on_every_step: ClassVar[bool] = True
    trunks: ClassVar[tuple[str, ...]] = ("inception.",)
    head: ClassVar[str] = "fc"

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        dropout: float = 0.0,
        batch_norm_momentum: float = 0.001,
        steps: int = 25,
        stem_padding: StemPadding = "same",
    ) -> None:
        super().__init__()
        style = Style(BatchNorm(batch_norm_momentum), inflated=False, stem_padding=stem_padding)
        self.inception = Inception(in_channels, style)
        self.dropout = nn.Dropout(dropout)
        self.lstm = BatchNormLSTM(FEATURES, HIDDEN, steps, batch_norm_momentum)
        self.fc = nn.Linear(HIDDEN, num_classes)
        init_weights(self.fc)

    def forward(self, x: Tensor, every_step: bool = False) -> Tensor:
        """Compute logits of a clip (N, C, T, H, W): (N, num_classes) of the last step, or (N, num_classes, T) of all.

        Raises:
            ValueError: a training batch has only one clip, but the LSTM needs statistics over the clips of a batch.
        """
        x = self._lstm_outputs(x)
        x = self.fc(self.dropout(x if every_step else x[:, -1]))
        return x.transpose(1, 2) if every_step else x

    def pooled_features(self, x: Tensor) -> Tensor:
        """Compute the LSTM's last output (N, 512) for a clip (N, C, T, H, W)."""
        return self._lstm_outputs(x)[:, -1]

    def _lstm_outputs(self, x: Tensor) -> Tensor:
        """Compute the LSTM's outputs (N, T, 512) for a clip (N, C, T, H, W)."""
        if self.training and x.shape[0] < 2:
            raise ValueError("convnet_lstm: training needs 2 clips a batch or more, for the LSTM's batch norm")
        # Frames do not depend on each other here. Without gradients they run some at a time, to limit the memory.
        frames = x.split(FRAMES_AT_A_TIME, dim=2) if not torch.is_grad_enabled() else [x]
        features = torch.cat([self.inception(some).mean(dim=(3, 4)) for some in frames], dim=2)
        return self.lstm(self.dropout(features.transpose(1, 2)))  # input (N, T, 1024)

    def logits_over_time(self, x: Tensor) -> Tensor:
        """Compute the logits of every step (N, num_classes, T) for a clip (N, C, T, H, W)."""
        return self(x, every_step=True)
