r"""Fine-tune a network on another data set: from a run's checkpoint or a published file, exact test, registered model.

    python jobs/finetune.py --recipe i3d_ucf101_full --model.weights.rgb rgb_imagenet.pt \
        --model.weights.flow flow_imagenet.pt --catalog.videos UCF-101 --catalog.annotations.splits ucfTrainTestlist
    python jobs/finetune.py --recipe resnext3d101_hmdb51 --catalog.split_number 2 \
        --model.weights.rgb outputs/runs/NAME/rgb/CHECKPOINT ...
    python jobs/finetune.py --recipe i3d_hmdb51_original ...

original trains on the target alone, fixed a new classifier, full everything; the 3D ResNets' recipes conv5_x and the
classifier. Networks that take both streams at once have --model.weights.two_stream.
"""

from collections.abc import Sequence

from pipeline.command_line import given, one_line_errors, parse
from pipeline.config import Config
from pipeline.recipes import FINE_TUNE
from pipeline.submission import resolve


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, ingest what is missing, fine-tune, say what came of it."""
    with one_line_errors():
        config = resolve(parse(Config, FINE_TUNE, argv, __doc__))
        from pipeline.prepare import prepared
        from pipeline.training.pretrain import check, pretrain
        from pipeline.training.summary import pretrained

        config = prepared(config, given(argv), check)
        print(pretrained(config, pretrain(config)))
