"""The search space of a sweep: any fields of a config, with the fields that follow from them.

A resolution, `clips.crop`, takes `clips.short_side` along, so that the field of view stays: T3D resizes frames, and
does not cut smaller pieces out of large ones. Crops at several scales span shares of the side, whatever their size, so
there `clips.short_side` stays. A temporal depth, `clips.frames`, takes the windows of validation and
test along. A clip that is larger than that of the base config is trained in smaller batches, so that one forward pass
holds no more pixels; the clips of an optimiser step stay the same. A field that is an axis itself follows nothing.
A fold, `catalog.fold`, or a published split, `catalog.split_number`, chooses the sides of training, validation and test
in a shard set that was made for all of them.
"""

import itertools
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_origin

import numpy as np

from pipeline.command_line import check_fields, kind_of, override
from pipeline.config import Config, ConfigError, SweepConfig, absolute
from pipeline.experiments.trial import ELSEWHERE, Training, Trial
from pipeline.models import list_models
from pipeline.runs.splits_in_turn import on_split
from pipeline.runs.training_estimate import plan_training

Point = dict[str, str]  # the value of each axis, as it would be typed
_RANGE = re.compile(r"(uniform|loguniform|randint)\(\s*([^,]+?)\s*,\s*([^,]+?)\s*\)")
OF_THE_DATA = "ingest.shards"
FOLDS = ("catalog.fold", "catalog.split_number")
OF_AN_EPOCH = {f"training.{name}" for name in ("clips_per_step", "train_fraction", "train_split")}
"""Axes that change how many steps an epoch has."""
OF_THE_STEPS = {"training.epochs", "training.steps"}  # as axes they are the budget
TRIES = 50  # draws for each new point that a random sampler may need


@dataclass(frozen=True)
class Range:
    """The values between two ends, both included.

    Attributes:
        kind: uniform, loguniform or randint, which is uniform over whole numbers.
        low: the lower end.
        high: the upper end.
    """

    kind: str
    low: float
    high: float

    def at(self, share: float) -> str:
        """Return the value at a share of the way from the lower to the upper end, as text."""
        if self.kind == "randint":
            return str(min(int(self.low + share * (self.high - self.low + 1)), int(self.high)))
        if self.kind == "loguniform":
            return text(float(np.exp(np.log(self.low) + share * np.log(self.high / self.low))))
        return text(self.low + share * (self.high - self.low))


Axis = tuple[str, ...] | Range


@dataclass(frozen=True)
class Space:
    """The space of a sweep.

    Attributes:
        sweep: the resolved sweep; its base has definite clips per step (`pinned`).
        clips: number of clips of each split of the base's shard set, for an equal budget.
        classes: number of classes.
    """

    sweep: SweepConfig
    clips: Mapping[str, int]
    classes: int

    @cached_property
    def axes(self) -> dict[str, Axis]:
        """The axes that a point has a value of."""
        return {name: axis for name, axis in read_axes(self.sweep).items() if name not in self.sweep.over}

    @cached_property
    def repeats(self) -> list[Point]:
        """Every combination of the axes in `over`: each point is trained with each of them."""
        over = {name: axis for name, axis in read_axes(self.sweep).items() if name in self.sweep.over}
        return list(_grid(over))

    def points(self) -> list[Point]:
        """Return the points that are known before the first trial: of a grid, or drawn at random."""
        return list(_grid(self.axes) if self.sweep.sampler == "grid" else self._drawn())

    def corners(self) -> list[Point]:
        """Return points that hold both ends of each range, and each value of the other axes, at least once."""
        ends = {name: (axis.at(0), axis.at(1)) if isinstance(axis, Range) else axis for name, axis in self.axes.items()}
        most = max(map(len, ends.values()), default=1)
        return [{name: values[i % len(values)] for name, values in ends.items()} for i in range(most)]

    def trials(self, points: Collection[Point]) -> list[Trial]:
        """Return the trials of some points: all with the first repeat, then all with the next."""
        return [self.trial({**point, **repeat}) for repeat in self.repeats for point in points]

    def trial(self, axes: Point) -> Trial:
        """Return the trial of a point and a repeat.

        Raises:
            ConfigError: the values do not make a config; the message names them.
        """
        said = described(axes, over=())
        try:
            config = self._budgeted(trial_config(self.sweep.base, axes), axes)
        except ConfigError as error:
            raise ConfigError(f"{said}: {error}") from None
        shown = {name: value for name, value in axes.items() if name != "seed"}
        name = described(shown, over=()) or config.model.name
        config = replace(config, tracking=replace(config.tracking, registered_model=""))
        return Training(name, config.ingest.shards, config, axes=shown).trial(config.seed)

    def base(self, axes: Point) -> Config:
        """Return the base config on the fold of a point, if folds are an axis."""
        return trial_config(self.sweep.base, {name: axes[name] for name in FOLDS if name in axes})

    def _budgeted(self, config: Config, axes: Point) -> Config:
        gmacs = self.sweep.budget == "gmacs"
        if not gmacs and (not axes.keys() & OF_AN_EPOCH or axes.keys() & OF_THE_STEPS):
            return config
        _, base_steps, base_work = self._cost(self.base(axes))
        here, own_steps, own_work = self._cost(config)
        steps = max(1, round(base_steps * base_work / own_work)) if gmacs else base_steps
        if not gmacs and steps == own_steps:
            return config
        return replace(config, training=replace(config.training, steps=steps, epochs=-(-steps // here)))

    def _cost(self, config: Config) -> tuple[int, int, float]:
        """Return the steps of an epoch and of the whole training, and the multiply-adds of a step in billions."""
        plan = plan_training(_alone(config), self.clips, self.classes, gpu=False)
        steps = plan.epochs * plan.steps if config.training.steps is None else config.training.steps
        return plan.steps, steps, plan.gmacs * config.clips_of_a_step * config.clips.segments

    def _drawn(self) -> Iterator[Point]:
        random, seen = np.random.default_rng(self.sweep.base.seed), set[tuple[str, ...]]()
        for _ in range(TRIES * self.sweep.points):
            point = {name: _draw(axis, random.random()) for name, axis in self.axes.items()}
            if tuple(point.values()) not in seen:
                seen.add(tuple(point.values()))
                yield point
            if len(seen) == self.sweep.points:
                return


def read_axes(sweep: SweepConfig) -> dict[str, Axis]:
    """Read and check the axes of a sweep.

    Raises:
        ConfigError: an axis names no field, a field that does not change a training on these shards, or wrong values.
    """
    axes = {name: _axis(name, values, sweep) for name, values in sweep.axes.items()}
    for name in sweep.over:
        if isinstance(axes.get(name), Range):
            raise ConfigError(f"axes.{name}: a mean is taken over values, not over a range; give them, as in 0,1,2")
    return axes


def trial_config(base: Config, axes: Mapping[str, str]) -> Config:
    """Return the base config with the values of some axes, and the fields that follow from them.

    Raises:
        ConfigError: the values do not fit each other, or the stored clips.
    """
    config = override(base, axes, lambda values, given: _follow(base, values, given))
    larger = (config.clips.short_side or 0) > config.ingest.short_side
    if larger and config.clips.short_side != base.clips.short_side:
        raise ConfigError(
            f"clips.short_side: {config.clips.short_side} pixels are more than the {config.ingest.short_side} of the "
            "stored clips, which would have to be enlarged"
        )
    for name in FOLDS:
        if name in axes:
            config = on_split(config, int(axes[name]))
    return config


def pinned(base: Config, clips_of_a_step: int) -> Config:
    """Return the base config with its clips per step as a number, so that every trial makes the same steps.

    Args:
        base: the base config.
        clips_of_a_step: clips per step of the base config on this cluster.
    """
    return replace(base, training=replace(base.training, clips_per_step=clips_of_a_step, accumulate=1))


def described(axes: Mapping[str, str], over: Collection[str]) -> str:
    """Name a point by the values of its axes, such as `frames 16 crop 112`; axes in `over` are left out."""
    leaves = [name.rpartition(".")[2] for name in axes]
    return " ".join(
        f"{leaf if leaves.count(leaf) == 1 else name} {value}"
        for leaf, (name, value) in zip(leaves, axes.items(), strict=True)
        if name not in over
    )


def text(value: float) -> str:
    """Format a drawn number; the trial gets the number as it is shown."""
    return f"{value:.4g}"


def _axis(name: str, values: str, sweep: SweepConfig) -> Axis:
    section = name.partition(".")[0]
    if section in ELSEWHERE and name not in (OF_THE_DATA, *FOLDS):
        raise ConfigError(f"axes.{name}: it does not change a training on given shards; set --base.{name} for all")
    if found := _RANGE.fullmatch(values.strip()):
        if sweep.sampler == "grid":
            raise ConfigError(f"axes.{name}: a grid needs values, not {values}; --sampler random or tpe draws them")
        return _range(name, *found.groups())
    several = tuple(part.strip() for part in values.split(";" if ";" in values else ",") if part.strip())
    if several:
        check_fields(Config, {name: several[0]})  # the name, first of all
        if ";" not in values and get_origin(kind_of(Config(), name)) is tuple:
            several = (values,)
    if not several or len(set(several)) != len(several):
        raise ConfigError(f"axes.{name}: {values or 'empty'}; give different values, at least one")
    if name == OF_THE_DATA:
        several = tuple(absolute(one, Path.cwd()) for one in several)
    for one in several:
        if name in FOLDS and not one.isdecimal():
            raise ConfigError(f"axes.{name}: {one}; give the numbers, such as 1,2,3, of a set made with {name} all")
        check_fields(Config, {name: one})
    return several


def _range(name: str, kind: str, low: str, high: str) -> Range:
    try:
        ends = Range(kind, float(low), float(high))
    except ValueError:
        raise ConfigError(f"axes.{name}: {kind}({low},{high}): its ends are not numbers") from None
    if not ends.low < ends.high or (kind == "loguniform" and ends.low <= 0):
        above = ", above 0" if kind == "loguniform" else ""
        raise ConfigError(f"axes.{name}: {kind}({low},{high}): give the smaller end first{above}")
    for end in (ends.at(0), ends.at(1)):
        check_fields(Config, {name: end})
    return ends


def _grid(axes: Mapping[str, Axis]) -> Iterator[Point]:
    for values in itertools.product(*axes.values()):  # type: ignore[arg-type]
        yield dict(zip(axes, values, strict=True))


def _draw(axis: Axis, share: float) -> str:
    return axis.at(share) if isinstance(axis, Range) else axis[int(share * len(axis))]


def _follow(base: Config, values: dict[str, Any], given: Collection[str]) -> None:
    """Change the fields that follow from the axes in the plain values of a config."""
    clips, evaluation, training, model = (values[name] for name in ("clips", "evaluation", "training", "model"))
    if "clips.frames" in given:
        for name in ("val_frames", "frames"):
            if evaluation[name] is not None and f"evaluation.{name}" not in given:
                evaluation[name] = clips["frames"]
    side = base.clips.short_side or base.ingest.short_side
    spans = clips["augment"] == "multi_scale_corner_crop" and base.clips.short_side is None
    if "clips.crop" in given and "clips.short_side" not in given and not spans:
        clips["short_side"] = round(side * int(clips["crop"]) / base.clips.crop)
    elif "clips.short_side" in given and "clips.crop" not in given:
        clips["crop"] = round(base.clips.crop * int(clips["short_side"]) / side)
    if "model.name" in given:
        known = {info.name: info.options for info in list_models()}.get(model["name"], ())
        model["options"] = {name: value for name, value in model["options"].items() if name in known}
    per_step = training["clips_per_step"]
    if per_step is not None and "training.batch_size" not in given:
        pixels = base.clips.frames * base.clips.crop**2 / (int(clips["frames"]) * int(clips["crop"]) ** 2)
        most = max(1, int(base.training.batch_size * min(1.0, pixels)))
        workers = values["resources"]["workers"]
        alike = workers if isinstance(workers, int) else 1
        training["batch_size"] = next((n for n in range(most, 0, -1) if int(per_step) % (n * alike) == 0), 1)


def _alone(config: Config) -> Config:
    """Return the config as one worker would train it, for an estimate of its steps."""
    return replace(config, resources=replace(config.resources, workers=1, min_workers=None))
