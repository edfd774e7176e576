"""Cross-validation of a plain PyTorch loop with torchvision's r3d_18, beside which a sweep over folds is measured.

The loop has the clips, windows, crops, batches, steps, learning rate and test views of a training with a given config.
The network, the optimiser, the schedule and the loop are those of torchvision and PyTorch.
"""

import copy
import json
import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.clips.decoding import Sampler
from pipeline.clips.index import ClipIndex
from pipeline.clips.loader import windows_of
from pipeline.clips.normalise import normalise
from pipeline.clips.order import training_batches
from pipeline.clips.sampling import CentreSampler, TrainingSampler
from pipeline.config import Config, ConfigError, load
from pipeline.evaluation.protocols import protocol_of
from pipeline.evaluation.scoring import score_views
from pipeline.evaluation.views import ViewSampler
from pipeline.networks import LEVELS
from pipeline.progress import Progress


@dataclass(frozen=True)
class Fold:
    """The result of the plain loop on one fold with one seed."""

    fold: str
    seed: str
    val_percent: float
    """Validation accuracy of the epoch with the lowest validation loss, which is kept."""
    test_percent: float
    clips: int
    steps: int
    core_hours: float
    digest: str


class KineticsLevels(nn.Module):
    """Map RGB from -1 to 1 to the levels that torchvision's video networks take."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.offset = (torch.tensor(values).view(3, 1, 1, 1) for values in LEVELS["kinetics"])

    def forward(self, x: Tensor) -> Tensor:
        """Map clips (N, 3, T, H, W)."""
        return x * self.scale + self.offset


def cross_validate(path: Path, folds: Sequence[str], seeds: Sequence[int], file: Path | None) -> Iterator[Fold]:
    """Train and test on each fold with each seed; what the file of results has already is not trained again.

    Args:
        path: config of a training on one fold, such as the `winner.yaml` of a sweep.
        folds: numbers of the folds.
        seeds: the seeds.
        file: file of the results, which is written after each fold; None for none.

    Raises:
        ConfigError: the config has no fold, or an optimiser or schedule that the plain loop does not have.
        ShardError: the shard set is not complete, or has no such fold.
    """
    config = load(Config, path)
    known = [Fold(**one) for one in json.loads(file.read_text())] if file and file.exists() else []
    if config.optimiser.name != "adamw" or config.schedule.name != "cosine":
        raise ConfigError(f"{path}: the plain loop has AdamW and a cosine schedule alone")
    for seed in seeds:
        for fold in folds:
            done = [one for one in known if (one.fold, one.seed) == (fold, str(seed))]
            if not done:
                done = [train_fold(config, fold, seed)]
                known += done
                if file:
                    file.write_text(json.dumps([asdict(one) for one in known], indent=2) + "\n")
            yield done[0]


def train_fold(config: Config, fold: str, seed: int) -> Fold:
    """Train r3d_18 from random weights on the CPU, keep the epoch of the lowest validation loss, and test it."""
    from torchvision.models.video import r3d_18  # slow to import, and needed here only

    begun, training, epochs = time.process_time(), config.training, config.training.epochs
    train, val, test = (
        ClipIndex.load(config.ingest.shards, _side(split, fold))
        for split in (training.train_split, training.val_split, config.evaluation.split)
    )
    torch.manual_seed(seed)
    network = nn.Sequential(KineticsLevels(), r3d_18(weights=None, num_classes=len(train.labels)))
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.optimiser.lr, weight_decay=config.optimiser.weight_decay
    )
    size = training.clips_per_step or training.batch_size * training.accumulate
    per_epoch = len(training_batches(len(train), size, 0, 1, seed, 0))
    steps = min(training.steps or epochs * per_epoch, epochs * per_epoch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    best, kept, accuracy = math.inf, network.state_dict(), 0.0
    progress = Progress(f"r3d_18 fold {fold} seed {seed}", steps, every_s=30)
    for epoch in range(-(-steps // per_epoch)):
        network.train()
        sample = TrainingSampler(config.clips, seed, epoch)
        for rows in training_batches(len(train), size, 0, 1, seed, epoch)[: steps - epoch * per_epoch]:
            clips, labels = floats(train, rows, sample), torch.from_numpy(train.label[rows])
            optimiser.zero_grad()
            cross_entropy(network(clips), labels, label_smoothing=training.label_smoothing).backward()
            optimiser.step()
            schedule.step()
            progress.advance()
        loss, right = validated(network, val, CentreSampler(config.clips, config.evaluation.val_frames))
        if loss < best:
            best, kept, accuracy = loss, copy.deepcopy(network.state_dict()), right
    network.load_state_dict(kept)
    return Fold(
        fold,
        str(seed),
        100 * accuracy,
        100 * tested(network, test, config),
        len(test),
        steps,
        (time.process_time() - begun) / 3600,
        train.digest,
    )


@torch.inference_mode()
def validated(network: nn.Module, index: ClipIndex, sample: CentreSampler) -> tuple[float, float]:
    """Return loss and accuracy on the middle window of each clip of a split."""
    network.eval()
    batches = np.array_split(np.arange(len(index)), -(-len(index) // 8))
    scores = torch.cat([network(floats(index, rows, sample)) for rows in batches])
    labels = torch.from_numpy(index.label)
    return float(cross_entropy(scores, labels)), float((scores.argmax(1) == labels).float().mean())


def tested(network: nn.Module, index: ClipIndex, config: Config) -> float:
    """Return the share of a split's clips that are right under the test protocol of the config."""
    network.eval()
    protocol = protocol_of(config.evaluation, replace(config.model, streams=("rgb",)))
    sample, right = ViewSampler(config.clips, protocol), 0
    for row, label in enumerate(index.label):
        shown = sample(index, row, "rgb")[None]
        _, places = sample.views(int(index.length("rgb")[row]), "rgb")
        right += int(score_views(network, {"rgb": shown}, {"rgb": places}, protocol.average, 8).argmax() == label)
    return right / len(index)


def floats(index: ClipIndex, rows: np.ndarray, sample: Sampler) -> Tensor:
    """Decode windows of RGB, (N, 3, T, H, W) from -1 to 1."""
    return normalise(windows_of(index, rows, "rgb", sample)).contiguous()


def _side(split: str, fold: str) -> str:
    """Return the split of another fold.

    Raises:
        ConfigError: the split is not one of a fold.
    """
    if not re.fullmatch(r"\w+\d", split):
        raise ConfigError(f"{split}: not the split of a fold; give the config of a training on one, as of a sweep's")
    return f"{split[:-1]}{fold}"
