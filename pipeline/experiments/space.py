"""The search space of a sweep: any fields of a config, with the fields that follow from them.

A resolution, `clips.crop`, takes `clips.short_side` along, so that the field of view stays: T3D resizes frames, and
does not cut smaller pieces out of large ones. Crops at several scales span shares of the side, whatever their size, so
there `clips.short_side` stays. A temporal depth, `clips.frames`, takes the windows of validation and
test along. A clip that is larger than that of the base config is trained in smaller batches, so that one forward pass
holds no more pixels; the clips of an optimiser step stay the same. A field that is an axis itself follows nothing.
A fold, `catalog.fold`, or a published split, `catalog.split_number`, chooses the sides of training, validation and test
in a shard set that was made for all of them. A shard set, `ingest.shards`, takes the settings along that it was made
with.
"""

import itertools
import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any, get_args, get_origin

import numpy as np

from pipeline.command_line import kind_of, override, value_of
from pipeline.config import Config, ConfigError, SweepConfig, absolute, nearest, weights_path
from pipeline.experiments.trial import ELSEWHERE, Training, Trial
from pipeline.ingest.stored import take_over
from pipeline.models import list_models
from pipeline.runs.splits_in_turn import on_split
from pipeline.runs.training_estimate import plan_training
from pipeline.shards import read_manifest

Point = dict[str, str]  # the value of each axis, as it would be typed
Check = Callable[[Sequence[Trial]], object]  # raises a ConfigError if a trial could not succeed
_RANGE = re.compile(r"(\w+)\(\s*([^,()]*?)\s*,\s*([^,()]*?)\s*\)")
OF_THE_DATA = "ingest.shards"
FOLDS = ("catalog.fold", "catalog.split_number")
CLIPS = {OF_THE_DATA, *FOLDS}
"""Axes that change the clips of a training."""
OF_AN_EPOCH = {f"training.{name}" for name in ("clips_per_step", "train_fraction", "train_split")}
"""Axes that change how many steps an epoch has."""
OF_THE_STEPS = {"training.epochs", "training.steps"}  # as axes they are the budget
SAME = {"training.accumulate", "training.checkpoint_steps"}
"""Fields that do not change what a training learns, beside those of the sections `ELSEWHERE`, and of the test."""
TRIES = 50  # draws for each new point that a sampler may need


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
            return self.text(math.exp(math.log(self.low) + share * math.log(self.high / self.low)))
        return self.text(self.low + share * (self.high - self.low))

    def text(self, value: float) -> str:
        """Format a drawn number; the trial gets the number as it is shown, which is no further than the ends."""
        if self.kind == "randint":
            return str(int(value))
        near = min(max(value, self.low), self.high)
        return f"{near:.4g}" if self.holds(f"{near:.4g}") else repr(near)

    def holds(self, value: str) -> bool:
        """Return whether a value, as text, lies between the ends."""
        try:
            number = int(value) if self.kind == "randint" else float(value)
        except ValueError:
            return False
        return self.low <= number <= self.high


Axis = tuple[str, ...] | Range


@dataclass(frozen=True)
class Space:
    """The space of a sweep.

    Attributes:
        sweep: the resolved sweep; its base has definite clips per step (`pinned`).
        clips: number of clips of each split of the base's shard set, for an equal budget.
        classes: number of classes.
        sets: the same numbers of each set on the axis `ingest.shards`, by its path.
    """

    sweep: SweepConfig
    clips: Mapping[str, int]
    classes: int
    sets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def over(self) -> set[str]:
        """The names of the axes over which the mean is taken: the seed, and what the sweep names."""
        return {"seed", *self.sweep.over}

    @cached_property
    def axes(self) -> dict[str, Axis]:
        """The axes that a point has a value of."""
        return {name: axis for name, axis in read_axes(self.sweep).items() if name not in self.over}

    @cached_property
    def repeats(self) -> list[Point]:
        """Every combination of the axes in `over`: each point is trained with each of them."""
        return list(_grid({name: axis for name, axis in read_axes(self.sweep).items() if name in self.over}))

    def points(self, check: Check | None = None, write: Callable[[str], object] | None = None) -> list[Point]:
        """Return the points that are known before the first trial: of a grid, or drawn at random.

        Args:
            check: a random point that it refuses is left out, and another is drawn.
            write: function that is called with a line about each such point.

        Raises:
            ConfigError: no random point can be trained.
        """
        return list(_grid(self.axes)) if self.sweep.sampler == "grid" else self._drawn(check, write)

    def corners(self) -> list[Point]:
        """Return points that hold both ends of each range, and each value of the other axes, at least once."""
        ends = {name: (axis.at(0), axis.at(1)) if isinstance(axis, Range) else axis for name, axis in self.axes.items()}
        most = max(map(len, ends.values()), default=1)
        return [{name: values[i % len(values)] for name, values in ends.items()} for i in range(most)]

    def fits(self, point: Point) -> bool:
        """Return whether a point, which may be one of another space, has a value of each axis and of no other."""
        return point.keys() == self.axes.keys() and all(
            axis.holds(point[name]) if isinstance(axis, Range) else point[name] in axis
            for name, axis in self.axes.items()
        )

    def trials(self, points: Collection[Point], repeats: Sequence[Point] | None = None) -> list[Trial]:
        """Return the trials of some points: all with the first repeat, then all with the next.

        Args:
            points: the points.
            repeats: some of the repeats; None for all.
        """
        return [
            self.trial({**point, **repeat})
            for repeat in (self.repeats if repeats is None else repeats)
            for point in points
        ]

    def trial(self, axes: Point) -> Trial:
        """Return the trial of a point and a repeat.

        Raises:
            ConfigError: the values do not make a config; the message names them.
        """
        said = described(axes, over=())
        try:
            config = self._budgeted(trial_config(self.sweep.base, axes), axes)
        except ConfigError as error:
            raise ConfigError(f"{said}: {as_flags(str(error), axes)}") from None
        shown = {name: value for name, value in axes.items() if name != "seed"}
        name = described(shown, over=()) or config.model.name
        config = replace(config, tracking=replace(config.tracking, registered_model=""))
        return Training(name, config.ingest.shards, config, axes=shown).trial(config.seed)

    def base(self, axes: Point) -> Config:
        """Return the base config on the clips of a point: of its fold and its shard set, if these are axes."""
        return trial_config(self.sweep.base, {name: axes[name] for name in axes if name in CLIPS})

    def clips_of(self, shards: str) -> Mapping[str, int]:
        """Return the number of clips of each split of a shard set."""
        return self.sets.get(shards, self.clips)

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
        plan = plan_training(_alone(config), self.clips_of(config.ingest.shards), self.classes, gpu=False)
        whole = config.training.epochs * plan.steps
        steps = min(config.training.steps or whole, whole)  # whichever ends first
        return plan.steps, steps, plan.gmacs * config.clips_of_a_step * config.clips.segments

    def _drawn(self, check: Check | None, write: Callable[[str], object] | None) -> list[Point]:
        random, seen, drawn = np.random.default_rng(self.sweep.base.seed), set[tuple[str, ...]](), list[Point]()
        refused = ""
        for _ in range(TRIES * self.sweep.points):
            point = {name: _draw(axis, random.random()) for name, axis in self.axes.items()}
            if tuple(point.values()) in seen:
                continue
            seen.add(tuple(point.values()))
            try:
                trials = self.trials([point])
                if check is not None:
                    check(trials)
            except ConfigError as error:
                refused = str(error)
                if write is not None:
                    write(f"{refused}; this point is left out")
                continue
            drawn.append(point)
            if len(drawn) == self.sweep.points:
                return drawn
        if not drawn:
            raise ConfigError(f"points: none of {len(seen)} drawn ones can be trained; the last: {refused}")
        return drawn


def read_axes(sweep: SweepConfig) -> dict[str, Axis]:
    """Read and check the axes of a sweep.

    Raises:
        ConfigError: an axis names no field, a field that does not change a training on these shards, or wrong values;
            or the mean, the sampler or the scheduler cannot do with these axes.
    """
    axes = {name: _axis(name, values, sweep) for name, values in sweep.axes.items()}
    for name in ("seed", *sweep.over):
        if name != "seed" and name not in axes:
            raise ConfigError(f"over: {name} is no axis; {nearest(name, list({'seed': 0, **axes}))}")
        if isinstance(axes.get(name), Range):
            raise ConfigError(f"axes.{name}: a mean is taken over values, not over a range; give them, as in 0,1,2")
    own = {name: axis for name, axis in axes.items() if name not in ("seed", *sweep.over)}
    if sweep.sampler != "grid" and (count := math.prod(map(_size, own.values()))) < sweep.points:
        raise ConfigError(
            f"points: {sweep.points} are more than the {count:g} combinations of the axes; --sampler grid trains all, "
            f"--points {count:g} draws so many"
        )
    if sweep.scheduler == "asha":
        _comparable(axes, own)
    return axes


def trial_config(base: Config, axes: Mapping[str, str]) -> Config:
    """Return the base config with the values of some axes, and the fields that follow from them.

    Raises:
        ConfigError: the values do not fit each other, or the stored clips.
        ShardError: a shard set is not complete.
    """
    config = override(base, axes, lambda values, _: _follow(base, values, axes))
    larger = (config.clips.short_side or 0) > config.ingest.short_side
    if larger and (OF_THE_DATA in axes or config.clips.short_side != base.clips.short_side):
        raise ConfigError(
            f"clips.short_side: {config.clips.short_side} pixels are more than the {config.ingest.short_side} of the "
            "stored clips, which would have to be enlarged"
        )
    for name in FOLDS:
        if name in axes:
            config = on_split(config, int(axes[name]))
    return config


def sets_of(sweep: SweepConfig) -> tuple[str, ...]:
    """Return the shard sets on the axis `ingest.shards`; none if it is no axis."""
    axis = read_axes(sweep).get(OF_THE_DATA, ())
    return () if isinstance(axis, Range) else axis


def on_first_set(sweep: SweepConfig) -> SweepConfig:
    """Return the sweep with a base on one of the shard sets of its axis, if they are an axis."""
    sets = sets_of(sweep)
    if not sets or sweep.base.ingest.shards in sets:
        return sweep
    return replace(sweep, base=replace(sweep.base, ingest=replace(sweep.base.ingest, shards=sets[0])))


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


def as_flags(message: str, axes: Collection[str] | None = None) -> str:
    """Return a message about a config with its flags as a sweep has them.

    Args:
        message: the message.
        axes: fields whose flags are --axes.FIELD, where others are --base.FIELD; None for all.
    """

    def flag(found: re.Match[str]) -> str:
        name = found[1]
        section = "axes" if axes is None or name in axes else "base"
        return f"--{section}.{name}" if name.partition(".")[0] in Config.__dataclass_fields__ else found[0]

    return re.sub(r"--(\w+(?:\.\w+)*)", flag, message)


def _axis(name: str, values: str, sweep: SweepConfig) -> Axis:
    try:
        kind = kind_of(Config(), name)
        changes = name.partition(".")[0] not in ELSEWHERE or name in CLIPS
        if not changes or name in SAME or (name.startswith("evaluation.") and name != "evaluation.val_frames"):
            raise ConfigError(f"{name}: it does not change a training on given shards, so it can only be set for all")
        if found := _RANGE.fullmatch(values.strip()):
            return _range(name, kind, found, sweep.sampler)
        separator = ";" if ";" in values or get_origin(kind) in (tuple, dict) else ","
        several = tuple(_full(name, part.strip()) for part in values.split(separator) if part.strip())
        typed = [value_of(Config(), name, one) for one in several]
        for one in several:
            if name in FOLDS and not one.isdecimal():
                raise ConfigError(f"{name}: {one}; give the numbers, such as 1,2,3, of a set made with {name} all")
        if name in FOLDS or name == "seed":
            typed = [int(one) for one in typed]
            several = tuple(map(str, typed))
        if not several or len({json.dumps(value, default=str) for value in typed}) != len(several):
            raise ConfigError(f"{name}: {values or 'empty'}; give different values, at least one")
    except ConfigError as error:
        raise ConfigError(f"axes.{as_flags(str(error).removeprefix('--'))}") from None
    return several


def _full(name: str, value: str) -> str:
    """Return a value of an axis with its path, if it is one, made absolute."""
    if name == OF_THE_DATA:
        return absolute(value, Path.cwd())
    return weights_path(value, Path.cwd()) if name.startswith(("model.weights.", "model.inflate")) else value


def _range(name: str, field_kind: Any, found: re.Match[str], sampler: str) -> Range:
    values, (kind, low, high) = found[0], found.groups()
    if kind not in ("uniform", "loguniform", "randint"):
        raise ConfigError(f"{name}: {values}: no such range; uniform(a,b), loguniform(a,b) and randint(a,b) are")
    if sampler == "grid":
        raise ConfigError(f"{name}: a grid needs values, not {values}; --sampler random or tpe draws them")
    numbers = _numbers(field_kind)
    if not numbers:
        raise ConfigError(f"{name}: {values}: its values are no numbers; give them one by one")
    if kind != "randint" and float not in numbers:
        raise ConfigError(f"{name}: {values}: its values are whole numbers; randint({low},{high}) draws them")
    try:
        ends = Range(kind, float(low), float(high))
    except ValueError:
        raise ConfigError(f"{name}: {values}: its ends are not numbers") from None
    if not ends.low < ends.high or not math.isfinite(ends.high - ends.low) or (kind == "loguniform" and ends.low <= 0):
        above = ", above 0" if kind == "loguniform" else ""
        raise ConfigError(f"{name}: {values}: give the smaller end first{above}")
    if kind == "randint" and not (ends.low.is_integer() and ends.high.is_integer()):
        raise ConfigError(f"{name}: {values}: give whole numbers")
    for end in (ends.at(0), ends.at(1)):
        value_of(Config(), name, end)
    return ends


def _numbers(kind: Any) -> set[type]:
    """Return which of int and float the values of a field may be."""
    if kind is Any:
        return {int, float}
    if kind in (int, float):
        return {kind}
    return set() if get_origin(kind) in (tuple, dict) else set().union(*map(_numbers, get_args(kind)))


def _size(axis: Axis) -> float:
    """Return how many values an axis has."""
    if not isinstance(axis, Range):
        return len(axis)
    return axis.high - axis.low + 1 if axis.kind == "randint" else math.inf


def _comparable(axes: Mapping[str, Axis], own: Collection[str]) -> None:
    """Check that ASHA can compare the trials of all points after each epoch.

    Args:
        axes: all axes.
        own: names of those that a point has a value of.

    Raises:
        ConfigError: it cannot.
    """
    for name in own:
        if name in CLIPS | OF_AN_EPOCH | OF_THE_STEPS:
            raise ConfigError(
                f"axes.{name}: it gives trials other clips or steps in an epoch, which ASHA cannot compare; "
                "--scheduler none"
            )
    streams = axes.get("model.streams", ())
    if not isinstance(streams, Range) and any(len(value_of(Config(), "model.streams", one)) > 1 for one in streams):
        raise ConfigError(
            "axes.model.streams: asha compares one network of each trial; give single streams, or --scheduler none"
        )


def _grid(axes: Mapping[str, Axis]) -> Iterator[Point]:
    for values in itertools.product(*axes.values()):  # type: ignore[arg-type]
        yield dict(zip(axes, values, strict=True))


def _draw(axis: Axis, share: float) -> str:
    return axis.at(share) if isinstance(axis, Range) else axis[int(share * len(axis))]


def _follow(base: Config, values: dict[str, Any], axes: Mapping[str, str]) -> None:
    """Change the fields that follow from the axes in the plain values of a config."""

    def now(name: str) -> Any:
        return value_of(base, name, axes[name]) if name in axes else attrgetter(name)(base)

    if OF_THE_DATA in axes:
        take_over(values, read_manifest(axes[OF_THE_DATA]))
    clips, training, model = (values[name] for name in ("clips", "training", "model"))
    for name in ("val_frames", "frames"):
        if "clips.frames" in axes and getattr(base.evaluation, name) and f"evaluation.{name}" not in axes:
            values["evaluation"][name] = now("clips.frames")
    stored = values["ingest"]["short_side"]
    side, crop = base.clips.short_side or stored, now("clips.crop")
    spans = now("clips.augment") == "multi_scale_corner_crop" and base.clips.short_side is None
    if "clips.crop" in axes and "clips.short_side" not in axes and not spans:
        clips["short_side"] = round(side * crop / base.clips.crop)
    elif "clips.short_side" in axes and "clips.crop" not in axes:
        clips["crop"] = crop = round(base.clips.crop * (now("clips.short_side") or stored) / side)
    if "model.name" in axes:
        known = {info.name: info.options for info in list_models()}.get(model["name"], ())
        options = model["options"].items()
        model["options"] = {name: value for name, value in options if name in known or f"model.options.{name}" in axes}
    per_step = now("training.clips_per_step")
    if per_step is not None and "training.batch_size" not in axes:
        pixels = base.clips.frames * base.clips.crop**2 / (now("clips.frames") * crop**2)
        most = max(1, int(base.training.batch_size * min(1.0, pixels)))
        workers = base.resources.workers
        alike = workers if isinstance(workers, int) else 1
        training["batch_size"] = next((n for n in range(most, 0, -1) if per_step % (n * alike) == 0), 1)


def _alone(config: Config) -> Config:
    """Return the config as one worker would train it, for an estimate of its steps."""
    return replace(config, resources=replace(config.resources, workers=1, min_workers=None))
