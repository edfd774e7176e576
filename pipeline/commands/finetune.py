r"""Fine-tune a network on another data set, from a run's checkpoint or a published file.

    video-actions finetune --recipe i3d_ucf101_full --model.weights.rgb rgb_imagenet.pt \
        --model.weights.flow flow_imagenet.pt --catalog.videos UCF-101 --catalog.annotations.splits ucfTrainTestlist
    video-actions finetune --recipe resnext3d101_hmdb51 --catalog.split_number 2 \
        --model.weights.rgb outputs/runs/NAME ...
    video-actions finetune --recipe resnext3d101_hmdb51 --catalog.split_number all ...      # the mean of three splits
    video-actions finetune --recipe i3d_hmdb51_original ...

The recipes *_original train on the target data set alone, *_fixed train a new classifier only, *_full train all layers.
The recipes of 3D ResNets train conv5_x and the classifier. Networks that take both streams at once need
--model.weights.two_stream.
"""

from collections.abc import Sequence

from pipeline.commands.training import train
from pipeline.recipes import FINE_TUNE


def main(argv: Sequence[str] | None = None) -> None:
    """Fine-tune a network with one of the fine-tuning recipes."""
    train("finetune", argv, FINE_TUNE, __doc__)
