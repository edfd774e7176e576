"""Mixup (Zhang et al., arXiv 1710.09412) of the clips of a batch, in pairs; `losses` mixes their labels."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Mixing:
    """A mix of each clip of a batch with the clip before it; a function of seed, step and micro-batch.

    Attributes:
        share: the clip's own share, from 0.5 to 1, so that no other label has a larger share than its own.
    """

    share: float = 1.0

    @classmethod
    def drawn(cls, alpha: float, *seed: int) -> "Mixing":
        """Draw the share from Beta(alpha, alpha); it is 1 if alpha is 0."""
        if alpha == 0:
            return cls()
        share = float(np.random.default_rng(seed).beta(alpha, alpha))
        return cls(max(share, 1 - share))

    def clips(self, x: Tensor) -> Tensor:
        """Mix clips, (N, ...) floats, and return them in the same shape."""
        return x if self.share == 1 else x.lerp(x.roll(1, dims=0), 1 - self.share)
