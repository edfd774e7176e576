"""Mixup (Zhang et al., arXiv 1710.09412): clips and labels of a batch mixed in pairs."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Mixing:
    """Each clip of a batch with a share of the one before it; a function of seed, step and micro-batch.

    Attributes:
        share: the clip's own share, from 0.5 to 1, so that its own label stays the likeliest.
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
