"""Train a 2D network on single labelled frames, in place of a network trained on ImageNet.

The weights are saved under torchvision's names, so that `model.inflate` accepts the file, both for inflation and for
the teacher of a supervision transfer.
"""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.clips.decoding import Sampler
from pipeline.clips.index import ClipIndex
from pipeline.clips.loader import windows_of
from pipeline.clips.normalise import normalise
from pipeline.clips.order import training_batches
from pipeline.clips.sampling import CentreSampler, TrainingSampler
from pipeline.config import ClipsConfig, Config
from pipeline.models.weights import save_weights
from pipeline.networks import LEVELS
from pipeline.shards import read_manifest
from pipeline.storage import write_atomically
from pipeline.training.learning_rate import planned_rate, set_rate
from pipeline.training.optimisers import build_optimiser
from pipeline.training.provenance import provenance_of


def train_frames(config: Config, path: str) -> list[dict[str, float]]:
    """Train torchvision's `model.name` on one random frame of each clip an epoch, and keep the last weights.

    Args:
        config: the resolved config; `model.levels` is the input range with which the weights will be used later.
        path: path of the file for the state dict.

    Returns:
        Metrics of every epoch, with the names that the training loop of the 3D networks uses; the last epoch also has
        `test/top1` and `test/clips`.
    """
    from torchvision import models  # slow to import, and needed here only

    torch.manual_seed(config.seed)
    train, val, test = (
        ClipIndex.load(config.ingest.shards, split)
        for split in (config.training.train_split, config.training.val_split, config.evaluation.split)
    )
    options = {"aux_logits": False, "init_weights": False} if config.model.name == "googlenet" else {}
    network = models.get_model(config.model.name, weights=None, num_classes=len(train.labels), **options)
    optimiser, history, step = build_optimiser(config.optimiser, network), [], 0
    clips, levels = config.clips, config.model.levels
    for epoch in range(config.training.epochs):
        sample = TrainingSampler(clips, config.seed, epoch)
        batches = training_batches(len(train), config.training.batch_size, 0, 1, config.seed, epoch)
        total, right = 0.0, 0
        network.train()
        for rows in batches:
            rate = planned_rate(
                config.schedule, config.optimiser.lr, step, epoch, config.training.epochs * len(batches)
            )
            set_rate(optimiser, rate)
            images, labels = frames(train, rows, sample, levels), torch.from_numpy(train.label[rows])
            logits = network(images)
            loss = cross_entropy(logits, labels)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            step += 1
            total, right = total + loss.item() * len(rows), right + int((logits.argmax(1) == labels).sum())
        seen = sum(len(rows) for rows in batches)
        row = {"train/loss": total / seen, "train/top1": right / seen, "train/clips": seen}
        history.append({**row, "val/top1": share_right(network, val, clips, levels), "val/clips": len(val)})
    history[-1] |= {"test/top1": share_right(network, test, clips, levels), "test/clips": len(test)}
    content = io.BytesIO()
    save_weights(network.state_dict(), provenance_of(config, "rgb", read_manifest(config.ingest.shards)), content)
    write_atomically(path, lambda file: file.write(content.getvalue()))
    return history


def frames(index: ClipIndex, rows: NDArray[np.int64], sample: Sampler, levels: str) -> Tensor:
    """Return one frame of each clip, the first of the window that is sampled: (N, 3, H, W) in `levels`.

    Args:
        index: clips of one split.
        rows: rows of the clips in `index`.
        sample: decodes the window of a clip.
        levels: range of the network's input, a value of `model.levels`.
    """
    images = normalise(windows_of(index, rows, "rgb", sample))[:, :, 0]
    if levels == "signed":
        return images
    scale, offset = (torch.tensor(values).view(3, 1, 1) for values in LEVELS[levels])
    return images * scale + offset


@torch.no_grad()
def share_right(network: nn.Module, index: ClipIndex, clips: ClipsConfig, levels: str) -> float:
    """Return the share of a split's clips whose middle frame is classified correctly.

    Args:
        network: the 2D network.
        index: clips of the split.
        clips: sizes of the window and the crop.
        levels: range of the network's input, a value of `model.levels`.
    """
    network.eval()
    right, middle = 0, CentreSampler(clips, 1)
    for rows in np.array_split(np.arange(len(index)), -(-len(index) // 64)):
        right += int((network(frames(index, rows, middle, levels)).argmax(1).numpy() == index.label[rows]).sum())
    return right / len(index)
