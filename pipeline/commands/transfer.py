r"""Supervision transfer (Temporal 3D ConvNets, section 3.2): a 3D network learns from a 2D one without labels.

    video-actions transfer --catalog.annotations.train tfrecords/train \
        --catalog.annotations.val tfrecords/validate --catalog.videos videos --storage /data/youtube8m
    video-actions finetune --recipe t3d121_ucf101 --model.weights.rgb /data/youtube8m/runs/NAME/student.pt ...

It works with any data set (--catalog.dataset) and any 3D network on RGB (--model.name). If DenseNet-121's ImageNet
weights cannot be downloaded, give their file as --model.inflate.
"""

from collections.abc import Sequence

from pipeline.command_line import given, one_line_errors, parse, planning
from pipeline.config import Config
from pipeline.masking import masked
from pipeline.next_command import command, next_steps, spoken
from pipeline.recipes import TRANSFER
from pipeline.submission import resolve


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments, ingest missing clips, train on pairs, and print the result."""
    words, plan = planning(argv)
    with one_line_errors():
        config = resolve(parse(Config, TRANSFER, words, spoken(__doc__)))
        from pipeline.runs.prepare import planned, prepared
        from pipeline.runs.summary import transferred
        from pipeline.runs.supervision_transfer import check_transfer, transfer

        if plan:
            print(planned(config, given(words), labelled=False))
            print(next_steps(command("transfer", *words)))
            return
        config = prepared(config, given(words), check_transfer, labelled=False)
        result = transfer(config)
        print(masked(transferred(config.model.name, result)))
        network = ("--model.name", config.model.name, "--model.weights.rgb", result.student)
        data = ("--catalog.videos", "VIDEOS", "--catalog.annotations.splits", "SPLITS")
        print(next_steps(command("finetune", "--recipe", "t3d121_ucf101", *network, *data)))
