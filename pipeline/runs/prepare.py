"""The first steps of every training job: name the run, print notes on the clips, ingest those that are missing.

Clips come from a catalog, or from a complete shard set alone.
"""

import os
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalog import catalog_classes, catalog_notes
from pipeline.cluster import connect, here
from pipeline.config import Config, ConfigError, EvaluationConfig
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.estimate import estimate
from pipeline.ingest.run import ingest
from pipeline.ingest.stored import is_alone, with_stored
from pipeline.ingest.summary import ingested, summarised
from pipeline.ingest.summary import planned as planned_ingest
from pipeline.runs.orphans import end_orphans
from pipeline.runs.pretrain import check_splits
from pipeline.runs.run_name import named
from pipeline.runs.splits_in_turn import trainings
from pipeline.runs.summary import planned as planned_training
from pipeline.runs.training_estimate import plan_training
from pipeline.shards import read_catalog, read_manifest
from pipeline.shards.splits import parts_of, splits_of
from pipeline.training.initial_weights import chosen_start, with_published
from pipeline.training.splits import class_notes
from pipeline.workers import fitted, uses_gpu

Check = Callable[[Config, set[str]], object]


@dataclass(frozen=True)
class Found:
    """The clips of a job.

    Attributes:
        config: config of the job; if there is no catalog, with the settings of its shard set.
        clips: number of usable clips of each split, as far as is known.
        classes: number of classes of the clips.
        catalog: catalog to ingest; None if the shard set is used alone.
    """

    config: Config
    clips: dict[str, int]
    classes: int
    catalog: pa.Table | None


def prepared(config: Config, given: Collection[str], check: Check, labelled: bool = True) -> Config:
    """Name the run, check the config, connect to the cluster and complete the shard set.

    Args:
        config: a resolved config.
        given: names of the fields that the command line sets.
        check: function of the config and the splits of the clips, which raises before anything runs if the training
            could not succeed.
        labelled: whether the training uses labels.

    Returns:
        The config with the name of the run, and with numbers in place of `auto`.

    Raises:
        ConfigError: the config is not consistent.
        CatalogError: the list of clips cannot be read.
        ShardError: the shard set is to be used alone, but is not complete.
        IngestError: the clips cannot be ingested, or too many failed.
    """
    found = find_clips(named(config, given), given, labelled)
    check(trainings(found.config, found.clips)[0], set(found.clips))
    end_orphans(found.config.storage, found.config.tracking.uri, mine=found.config.name)
    config = connect(found.config)
    if found.catalog is None:
        print(f"training on {config.ingest.shards} as it is", flush=True)
    else:
        with summarised(config.ingest.shards):
            manifest = ingest(config, found.catalog)
        print(ingested(config.ingest.shards, manifest), flush=True)
    return config


def planned(config: Config, given: Collection[str], labelled: bool = True) -> str:
    """Describe what a training job would ingest and train, without starting, loading or writing anything.

    Args:
        config: a resolved config.
        given: names of the fields that the command line sets.
        labelled: whether the training uses labels.
    """
    found = find_clips(named(config, given), given, labelled, plan=True)
    machines = here()
    config, *others = trainings(fitted(found.config, machines), found.clips)
    plan = plan_training(config, found.clips, found.classes, uses_gpu(config.resources, machines.gpus))
    training = planned_training(config, plan, sum(machines.cpus), trainings=1 + len(others))
    if found.catalog is None:
        return training
    cost = estimate(config.ingest, found.catalog)
    return f"{planned_ingest(found.config.catalog, config.ingest, cost, os.cpu_count() or 1)}\n{training}"


def find_clips(config: Config, given: Collection[str], labelled: bool = True, plan: bool = False) -> Found:
    """Find the clips of a job in its shard set or its catalog, and print notes on them.

    Args:
        config: a resolved config.
        given: names of the fields that the command line sets.
        labelled: whether the training uses labels.
        plan: whether the clips are for a plan alone, for which no service is asked and nothing is written.

    Raises:
        ConfigError: the clips have no use for a training: a split does not exist, clips have no labels although the
            training uses them, or there is one class only.
    """
    if config.catalog.in_turn and not labelled:
        field = "split_number" if config.catalog.split_number == "all" else "fold"
        raise ConfigError(f"catalog.{field}: all is for trainings on labels; give one")
    model, notes = chosen_start(config.model, config.storage)
    config, catalog = replace(config, model=with_published(model)), None
    if config.clips.frames == 1:
        notes = [*notes, "clips.frames 1: a window is one frame, which shows no motion over time"]
    if is_alone(config, given):
        config = with_stored(config, given)
        manifest = read_manifest(config.ingest.shards)
        rows, classes = read_catalog(config.ingest.shards), manifest["labels"]
    else:
        rows = catalog = configured_catalog(config, plan)
        classes = catalog_classes(catalog)
        notes = [*notes, *catalog_notes(catalog)]
    if labelled and len(classes) == 1:
        above = "; give the folder above those of the classes" if config.catalog.dataset == "folder" else ""
        raise ConfigError(f"catalog: one class only, {classes[0]!r}; a training needs two to tell apart{above}")
    good = rows.filter(pc.field("error_class").is_null())
    parts, usable = rows["split"].unique().to_pylist(), Counter(good["split"].to_pylist())
    clips = {split: sum(usable[part] for part in parts_of(split, parts)) for split in splits_of(parts)}
    if not config.catalog.in_turn:
        config = replace(config, evaluation=evaluated_on(config.evaluation, config.training.val_split, clips))
    for one in trainings(config, clips):
        check_splits(one.training, one.evaluation, set(clips))
        notes += class_notes(one.training, one.evaluation, rows) if labelled else []
    for note in dict.fromkeys(notes):
        print(note, flush=True)
    return Found(config, clips, len(classes), catalog)


def evaluated_on(evaluation: EvaluationConfig, val_split: str, splits: Collection[str]) -> EvaluationConfig:
    """Replace `auto` as the split to test by `test` if there is such a split, else by the validation split.

    Args:
        evaluation: the test.
        val_split: the validation split.
        splits: splits of the clips.
    """
    if evaluation.split != "auto":
        return evaluation
    split = "test" if "test" in splits else val_split
    if split != "test":
        print(f"there is no split test: the accuracy will be that on {split}, which also chooses the checkpoint")
    return replace(evaluation, split=split)
