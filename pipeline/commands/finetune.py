r"""Fine-tune a network on another data set, from a run's checkpoint or a published file.

    video-actions finetune --recipe i3d_ucf101_full --model.weights.rgb rgb_imagenet.pt \
        --model.weights.flow flow_imagenet.pt --catalog.videos UCF-101 --catalog.annotations.splits ucfTrainTestlist
    video-actions finetune --recipe resnext3d101_hmdb51 --catalog.split_number 2 \
        --model.weights.rgb outputs/runs/NAME ...
    video-actions finetune --recipe i3d_hmdb51_original ...

original trains on the target alone, fixed a new classifier, full everything; the 3D ResNets' recipes conv5_x and the
classifier. Networks that take both streams at once have --model.weights.two_stream.
"""

from collections.abc import Sequence

from pipeline.commands.training import train
from pipeline.recipes import FINE_TUNE


def main(argv: Sequence[str] | None = None) -> None:
    """Fine-tune, by one of the recipes for it."""
    train("finetune", argv, FINE_TUNE, __doc__)
