"""Loss and accuracy as sums over clips, so that adding them over batches and workers is exact."""

from dataclasses import dataclass, field

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


@dataclass
class Sums:
    """Sums in float64: the loss, the clips that are correct at top 1 and at top 5, and all clips.

    They stay on the device of the logits, so that counting does not wait for a GPU.
    """

    values: Tensor = field(default_factory=lambda: torch.zeros(4, dtype=torch.float64))

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            logits: (N, classes).
            labels: (N,) int64.
        """
        logits, labels = logits.detach().float(), labels.to(logits.device, non_blocking=True)
        loss = F.cross_entropy(logits, labels, reduction="sum")
        ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
        counts = [count.double() for count in (loss, ranked[:, 0].sum(), ranked.sum())]
        counts.append(torch.full_like(counts[0], len(labels)))
        self.values = self.values.to(logits.device) + torch.stack(counts)

    def all_reduce(self) -> "Sums":
        """Return the sums over all workers, the same on each of them."""
        values = self.values.clone()
        if dist.is_initialized():
            device = "cuda" if dist.get_backend() == "nccl" else "cpu"
            values = values.to(device)
            dist.all_reduce(values)
        return Sums(values.cpu())

    def means(self, prefix: str) -> dict[str, float]:
        """Return the means `PREFIX/loss`, `PREFIX/top1`, `PREFIX/top5` (from 0 to 1), and the count `PREFIX/clips`."""
        loss, top1, top5, clips = self.values.tolist()
        count = max(clips, 1.0)
        return {
            f"{prefix}/loss": loss / count,
            f"{prefix}/top1": top1 / count,
            f"{prefix}/top5": top5 / count,
            f"{prefix}/clips": clips,
        }
