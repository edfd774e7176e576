r"""Supervision transfer (Temporal 3D ConvNets, section 3.2): a 3D network learns from a 2D one without labels.

    python jobs/transfer_youtube8m.py --catalog.annotations.train 'train*.tfrecord' \
        --catalog.annotations.val 'validate*.tfrecord' --catalog.videos videos --storage /data/youtube8m
    python jobs/finetune.py --recipe t3d121_ucf101 --model.weights.rgb /data/youtube8m/runs/NAME/student.pt ...

Any data set and any 3D network on RGB will do: --catalog.dataset, --model.name. --model.inflate names the file of
DenseNet-121's ImageNet weights where they cannot be downloaded.
"""

from pipeline.catalog import catalog_notes
from pipeline.cluster import connect, resolve
from pipeline.command_line import given, one_line_errors, parse
from pipeline.config import Config
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.run import ingest
from pipeline.recipes import TRANSFER
from pipeline.reports import ingested, transferred
from pipeline.training.names import named
from pipeline.training.supervision import check_transfer, transfer


def main(argv: list[str] | None = None) -> None:
    """Parse, ingest what is missing, train on pairs, say what came of it."""
    with one_line_errors():
        config = named(resolve(parse(Config, TRANSFER, argv, __doc__)), given(argv))
        catalog = configured_catalog(config)
        for note in catalog_notes(catalog):
            print(note)
        check_transfer(config, set(catalog["split"].to_pylist()))
        connect(config)
        print(ingested(config, ingest(config, catalog)), flush=True)
        print(transferred(config, transfer(config)))


if __name__ == "__main__":
    main()
