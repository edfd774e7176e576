"""Random train, val and test splits for a data set without published ones: the same on every machine.

The groups are sorted by a hash of the seed and their names. A side takes groups in this order, as long as each brings
the classes of the side nearer to their shares. So every class that has enough groups is on every side, each group is on
one side only, and a new clip moves few other clips to another side. The manifest of the shard set records the split.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.catalog.groups import Groups, read_groups, with_copies
from pipeline.catalog.rows import CatalogError, catalog_notes, shown, with_split
from pipeline.catalog.rows import drawn_split as catalog_drawn

Units = Mapping[str, Counter[str]]  # group -> clips of each class in it
ALL = "all"
MOST_FOLDS = 9  # so that the name of a part, which lists the side of each fold, stays a name


@dataclass(frozen=True)
class Draw:
    """The settings of a random split.

    Attributes:
        seed: seed of the order of the groups.
        val: share of the clips for validation.
        test: share of the clips for the test; not used if a fold is named.
        groups: file of groups; empty if each clip is its own group.
        fold: the fold to test on: its value in the only fold column of that file, or COLUMN=VALUE; all to test on each
            in turn; empty for none.
    """

    seed: int = 0
    val: float = 0.2
    test: float = 0.2
    groups: str = ""
    fold: str = ""


def draw_split(catalog: pa.Table, root: str | os.PathLike[str], draw: Draw) -> pa.Table:
    """Draw the missing `val` and `test` splits of a class-per-folder data set from its training clips.

    Args:
        catalog: the catalog from `pipeline.catalog.folder`; clips without a split are in `train`.
        root: the folder of that data set.
        draw: the settings of the split.

    Returns:
        The catalog, with `val` and `test` drawn if all clips are in `train`, with `val` drawn if only that is missing,
        and otherwise unchanged. With all folds, the split of a clip names its side for each fold, as in
        `test0_train1_val2`, where `test0`, `val0` and `train0` are the splits that fold 0 alone would give.

    Raises:
        CatalogError: a class has too few clips or groups, or the file of groups does not fit the folder.
    """
    rows = catalog.to_pylist()
    top = os.path.abspath(root)  # noqa: PTH100 -- the reader of the folder makes paths absolute in this way
    good = {Path(row["source"]).relative_to(top).as_posix(): row for row in rows if row["error_class"] is None}
    groups = read_groups(draw.groups, list(good)) if draw.groups else None
    there = {row["split"] for row in good.values()}
    if draw.fold and not groups:
        raise CatalogError("catalog.fold: needs --catalog.groups FILE, a table with a column of folds")
    if draw.fold and there != {"train"}:
        raise CatalogError(f"catalog.fold: {top} has folders of splits, {', '.join(sorted(there))}; leave fold out")
    if groups and draw.fold.rpartition("=")[2] == ALL:
        return _each_fold(catalog, root, draw, groups)
    if groups:
        _check_sides(groups, {video: row["split"] for video, row in good.items()})
    if "train" not in there or "val" in there or not (draw.val or draw.test or draw.fold):
        return catalog
    of = with_copies(groups.of if groups else {v: v for v in good}, {v: row["source"] for v, row in good.items()})
    units: dict[str, Counter[str]] = {}
    for video, row in good.items():
        if row["split"] == "train":
            units.setdefault(of[video], Counter())[row["label"]] += 1
    shares = {"val": draw.val, "test": draw.test if there == {"train"} and not draw.fold else 0.0}
    tested = _tested(groups, draw.fold, of) if groups and draw.fold else set[str]()
    sides = dict.fromkeys(tested, "test") | assign(
        {group: clips for group, clips in units.items() if group not in tested}, shares, draw.seed, groups is not None
    )
    if gone := {label for clips in units.values() for label in clips} - {
        label for group, clips in units.items() if sides[group] == "train" for label in clips
    }:
        raise CatalogError(f"catalog.fold: all clips of class {shown(min(gone))} are in fold {draw.fold}")
    places = {
        row["clip_id"]: sides[of[video]] if row["split"] == "train" else row["split"] for video, row in good.items()
    }
    made = [places.get(row["clip_id"], row["split"]) for row in rows]
    record: dict[str, Any] = {"seed": draw.seed, "val_fraction": draw.val, "test_fraction": shares["test"]}
    record |= {"groups": groups.digest, "fold": draw.fold} if groups else {}
    return with_split(catalog, made, record, [*catalog_notes(catalog), _said(places, units, draw)])


def _each_fold(catalog: pa.Table, root: str | os.PathLike[str], draw: Draw, groups: Groups) -> pa.Table:
    """Divide the clips once for each fold.

    Raises:
        CatalogError: the folds are not numbers of one digit, or more than nine.
    """
    column, folds = _folds(groups, draw.fold)
    names = sorted(set(folds.values()))
    if not all(re.fullmatch("[0-9]", name) for name in names) or not 2 <= len(names) <= MOST_FOLDS:
        raise CatalogError(
            f"catalog.fold: all needs two to {MOST_FOLDS} folds named 0 to 9; {column} has "
            f"{shown(', '.join(names), most=200)}; name one instead"
        )
    divided = [draw_split(catalog, root, replace(draw, fold=f"{column}={name}")) for name in names]
    sides = zip(*(one["split"].to_pylist() for one in divided), strict=True)
    made = ["_".join(map("".join, zip(clip, names, strict=True))) for clip in sides]
    record = {**(catalog_drawn(divided[0]) or {}), "fold": ALL}
    said = [catalog_notes(one)[-1] for one in divided]
    return with_split(catalog, made, record, [*catalog_notes(catalog), *said])


def draw_clips(catalog: pa.Table, draw: Draw) -> pa.Table:
    """Draw `val` and `test` from a catalog that has `train` alone, each clip for itself; leave other catalogs alone.

    Args:
        catalog: a catalog of any data set.
        draw: the settings of the split; groups and folds are not used.

    Raises:
        CatalogError: a class has one clip only.
    """
    good = [row for row in catalog.select(["clip_id", "split", "label", "error_class"]).to_pylist()
            if row["error_class"] is None and row["label"] is not None]  # fmt: skip
    if {row["split"] for row in good} != {"train"} or not (draw.val or draw.test):
        return catalog
    units = {row["clip_id"]: Counter([row["label"]]) for row in good}
    places = assign(units, {"val": draw.val, "test": draw.test}, draw.seed, grouped=False)
    record = {"seed": draw.seed, "val_fraction": draw.val, "test_fraction": draw.test}
    made = [places.get(name, "train") for name in catalog["clip_id"].to_pylist()]
    return with_split(catalog, made, record, [*catalog_notes(catalog), _said(places, units, draw)])


def assign(units: Units, shares: Mapping[str, float], seed: int, grouped: bool = True) -> dict[str, str]:
    """Choose the side of each group; the result depends only on the seed, the names and the numbers of clips.

    Args:
        units: number of clips of each class in each group.
        shares: share of the clips for each side except `train`, the most important side first.
        seed: seed of the order of the groups.
        grouped: whether the user gave groups, for messages.

    Raises:
        CatalogError: a class has only one group.
    """
    order = sorted(units, key=lambda group: hashlib.sha256(f"{seed}\t{group}".encode()).digest())
    clips, groups = Counter[str](), Counter[str]()
    for counts in units.values():
        clips += counts
        groups += Counter(dict.fromkeys(counts, 1))
    wanted = [side for side, share in shares.items() if share]
    if short := [label for label in sorted(clips) if wanted and groups[label] == 1]:
        raise CatalogError(_too_few(short, units, clips[short[0]], grouped))
    sides = dict.fromkeys(units, "train")
    for place, side in enumerate(wanted):
        left = {c: max(1, round(shares[side] * n)) if groups[c] > place + 1 else 0 for c, n in clips.items()}
        for group in order:
            counts = units[group]
            gain = sum(abs(left[c]) - abs(left[c] - n) for c, n in counts.items())
            if sides[group] == "train" and gain > 0 and _stays(sides, units, group):
                sides[group] = side
                left = {c: n - counts[c] for c, n in left.items()}
        for label in sorted(clips):  # if groups are large, the side may still lack a class
            if groups[label] > place + 1 and not any(sides[g] == side and label in units[g] for g in units):
                able = [g for g in order if sides[g] == "train" and label in units[g] and _stays(sides, units, g)]
                sides |= {min(able, key=lambda g: units[g].total()): side} if able else {}
    return sides


def _too_few(short: list[str], units: Units, clips: int, grouped: bool) -> str:
    """Say which classes have one group only, and what to do."""
    (only,) = (group for group, counts in units.items() if short[0] in counts)
    what = f"group ({shown(only)})" if grouped else f"clip ({shown(only, most=200)})"
    copies = f", {clips} times" if clips > 1 and not grouped else ""
    others = f" (nor have {len(short) - 1} more classes, such as {shown(short[1])})" if len(short) > 1 else ""
    each = "groups" if grouped else "clips"
    return (
        f"class {shown(short[0])} has one {what} only{copies}, and training and validation need one each{others}; "
        f"give each class two {each} or more, three with a test; leave the class out, make folders train and val "
        "yourself, or draw none with --catalog.val_fraction 0 --catalog.test_fraction 0"
    )


def _stays(sides: Mapping[str, str], units: Units, group: str) -> bool:
    """Return whether every class of a group stays in training if the group is taken away."""
    others = {label for other, side in sides.items() if side == "train" and other != group for label in units[other]}
    return others >= units[group].keys()


def _tested(groups: Groups, fold: str, of: Mapping[str, str]) -> set[str]:
    """Return the groups of a fold.

    Raises:
        CatalogError: there is no such fold, or a group is in two folds.
    """
    column, folds = _folds(groups, fold)
    value = fold.rpartition("=")[2]
    if value not in folds.values():
        raise CatalogError(f"catalog.fold: no fold {value}; {column} has {', '.join(sorted(set(folds.values())))}")
    inside = {of[video] for video, name in folds.items() if name == value}
    for video, name in folds.items():
        if name != value and of[video] in inside:
            raise CatalogError(
                f"catalog.fold: group {of[video]} is in folds {value} and {name} of {column}; it shows one source, "
                "so keep it in one"
            )
    return inside


def _folds(groups: Groups, fold: str) -> tuple[str, Mapping[str, str]]:
    """Return the name of the column that a fold is of, and the value of each video in it.

    Raises:
        CatalogError: there is no such column, or there are several.
    """
    column, equals, _ = fold.rpartition("=")
    columns = [column.lower()] if equals else list(groups.folds)
    if len(columns) != 1 or columns[0] not in groups.folds:
        known = ", ".join(groups.folds) or "no column whose name begins with fold"
        raise CatalogError(f"catalog.fold: {fold}: the file of groups has {known}; name one as COLUMN=VALUE")
    return columns[0], groups.folds[columns[0]]


def _check_sides(groups: Groups, splits: Mapping[str, str]) -> None:
    """Raise CatalogError if the folders of splits divide a group."""
    side: dict[str, str] = {}
    for video, group in groups.of.items():
        if side.setdefault(group, splits[video]) != splits[video]:
            raise CatalogError(
                f"catalog.groups: group {group} is in {side[group]} and in {splits[video]} ({shown(video)}); it shows "
                "one source, so keep it on one side"
            )


def _said(places: Mapping[str, str], units: Units, draw: Draw) -> str:
    counts = Counter(places.values())
    sides = ", ".join(f"{counts[side]:,} {side}" for side in ("train", "val", "test") if counts[side])
    how = f"{len(units):,} groups of {Path(draw.groups).name}" if draw.groups else "clips"
    test = f", test is fold {draw.fold}" if draw.fold else ""
    return f"the split is drawn: {sides} clips, from {how} with catalog.split_seed {draw.seed}{test}"
