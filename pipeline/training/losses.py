"""The loss: cross-entropy of one or all time steps, against one label per clip or two mixed ones."""

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0, share: float = 1.0) -> Tensor:
    """Compute the mean cross-entropy of a batch; with mixup, also against the label of the clip before each clip.

    Args:
        logits: (N, classes), or (N, classes, T) for T time steps, which then have equal weight.
        labels: (N,) int64.
        label_smoothing: share of the target that is spread over all classes.
        share: the share of a clip's own label, 0.5 to 1; the rest is the share of the label of the clip before it in
            the batch.

    Returns:
        A scalar.
    """
    own = _plain(logits, labels, label_smoothing)
    if share == 1:
        return own
    return share * own + (1 - share) * _plain(logits, labels.roll(1), label_smoothing)


def _plain(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    targets = labels if logits.ndim == 2 else labels[:, None].expand(-1, logits.shape[2])
    return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)
