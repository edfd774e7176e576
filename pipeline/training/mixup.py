"""Mixup (Zhang et al., arXiv 1710.09412): clips and labels of a batch mixed in pairs."""

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Mixing:
    """Each clip of a batch with a share of the one before it; a pure function of seed, step and rank.

    Attributes:
        share: of the clip itself, from 0.5 to 1, so that its own label stays the likeliest.
    """

    share: float = 1.0

    @classmethod
    def drawn(cls, alpha: float, *seed: int) -> "Mixing":
        """A share from Beta(alpha, alpha); 1 for alpha 0."""
        if alpha == 0:
            return cls()
        share = float(np.random.default_rng(seed).beta(alpha, alpha))
        return cls(max(share, 1 - share))

    def clips(self, x: Tensor) -> Tensor:
        """(N, ...) of floats -> the same shape."""
        return x if self.share == 1 else x.lerp(x.roll(1, dims=0), 1 - self.share)

    def loss(self, logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
        """Cross-entropy against both labels.

        Args:
            logits: (N, classes), or (N, classes, T) of every step, each of which then counts alike.
            labels: (N,) int64.
            label_smoothing: share of the target that is spread over all classes.
        """
        own = _cross_entropy(logits, labels, label_smoothing)
        if self.share == 1:
            return own
        return self.share * own + (1 - self.share) * _cross_entropy(logits, labels.roll(1), label_smoothing)


def _cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    targets = labels if logits.ndim == 2 else labels[:, None].expand(-1, logits.shape[2])
    return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)
