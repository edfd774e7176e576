"""The supervision transfer job: train the matching network, and keep its 3D network for a training on labels.

This module is the job only. The method, a network that matches frames and clips, is in `training/matching_network.py`;
the pairs of frames and clips are in `clips/pairs.py`.

STORAGE/runs/NAME/
run.json    as in any run
matching/   Ray Train's checkpoints of the whole network
student.pt  the 3D network alone, to be given as `--model.weights.rgb`
"""

import io
from collections.abc import Collection
from dataclasses import dataclass, replace

from pipeline.config import Config, ConfigError, to_dict
from pipeline.models.weights import read_weights, save_weights
from pipeline.registry.descriptions import data_line
from pipeline.runs.pretrain import begun, check_splits, run_of, train_tracked
from pipeline.shards import read_manifest
from pipeline.storage import write_atomically
from pipeline.tracking.notes import commands, set_note
from pipeline.tracking.outages import check_reachable
from pipeline.tracking.runs import Run
from pipeline.training.initial_weights import STUDENT_FILE
from pipeline.training.matching_network import MATCHING, build_matching, student_state
from pipeline.training.trainer import Trained


@dataclass(frozen=True)
class Transferred:
    """The result of a supervision transfer.

    Attributes:
        name: name of the run.
        run: its MLflow run.
        trained: the matching network; its metrics are measured on pairs.
        student: path of the 3D network's state dict.
    """

    name: str
    run: Run
    trained: Trained
    student: str


def check_transfer(config: Config, splits: Collection[str]) -> None:
    """Check for errors that would otherwise appear only after hours.

    Raises:
        ConfigError: a split, the 3D network or the 2D weights do not exist; the message names the field.
    """
    if config.clips.segments > 1:
        raise ConfigError(f"clips.segments: {config.clips.segments}; a supervision transfer has pairs of one window")
    check_splits(config.training, config.evaluation, splits)
    check_reachable(config.tracking.uri)
    build_matching(config.model)


def transfer(config: Config, tags: dict[str, object] | None = None, parent: Run | None = None) -> Transferred:
    """Train on pairs of clips from a complete shard set; labels are not used.

    Args:
        config: a resolved config with the name of the run.
        tags: further tags of the MLflow run.
        parent: the MLflow run of which this one is a part.
    """
    manifest = read_manifest(config.ingest.shards)
    about = f"**{config.model.name}** learns from a 2D network without labels, on `{manifest['dataset']}`"
    tags = {"dataset_digest": manifest["digest"], "model": config.model.name, **(tags or {})}
    with (
        begun(config, manifest, [MATCHING]) as (config, folder, state),
        run_of(config.storage, config.tracking, config.name, state, folder, "all", parent=parent, tags=tags) as run,
    ):
        data = data_line(config, manifest)
        set_note(run, [f"{about}.", data])
        run.log_config(to_dict(config))
        trained = train_tracked(config, MATCHING, run, state, folder, manifest, data)
        content = io.BytesIO()
        weights = read_weights(trained.weights)
        save_weights(student_state(weights.state), replace(weights.provenance, stream="rgb"), content)
        student = f"{folder}/{STUDENT_FILE}"
        write_atomically(student, lambda file: file.write(content.getvalue()))
        best = trained.best
        came_to = f"{100 * best['val/top1']:.1f} % of {best['val/clips']:.0f} pairs are told apart (chance: 50)"
        begin = ["python", "jobs/finetune.py", "--recipe", "RECIPE", "--model.name", config.model.name]
        steps = commands([*begin, "--model.weights.rgb", student])
        set_note(run, [f"{about}: {came_to}.", data, steps])
    return Transferred(config.name, run, trained, student)
