r"""Supervision transfer (Temporal 3D ConvNets, section 3.2): a 3D network learns from a 2D one without labels.

    python jobs/transfer_youtube8m.py --catalog.annotations.train 'train*.tfrecord' \
        --catalog.annotations.val 'validate*.tfrecord' --catalog.videos videos --storage /data/youtube8m
    python jobs/finetune.py --recipe t3d121_ucf101 --model.weights.rgb /data/youtube8m/runs/NAME/student.pt ...

Any data set and any 3D network on RGB will do: --catalog.dataset, --model.name. --model.inflate names the file of
DenseNet-121's ImageNet weights where they cannot be downloaded.
"""

from collections.abc import Sequence

from pipeline.command_line import given, one_line_errors, parse
from pipeline.config import Config
from pipeline.recipes import TRANSFER
from pipeline.submission import resolve


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, ingest what is missing, train on pairs, say what came of it."""
    with one_line_errors():
        config = resolve(parse(Config, TRANSFER, argv, __doc__))
        from pipeline.prepare import prepared
        from pipeline.training.summary import transferred
        from pipeline.training.supervision import check_transfer, transfer

        config = prepared(config, given(argv), check_transfer, labelled=False)
        print(transferred(config, transfer(config)))
