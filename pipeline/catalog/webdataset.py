"""Reader of WebDataset archives, such as video2dataset writes: a clip is several members of a tar with the same key.

    000000042.mp4     the clip; any extension of a video
    000000042.cls     its class: a number or a name
    000000042.json    facts about it, perhaps with its class
    000000042.txt     a text, which video2dataset calls the caption: a class name, if the set is one of actions

A key is the path of a member up to the first dot of its name. Which member holds the label is an option; by default it
is the first of `cls`, `label` in the JSON, and `txt` that every clip has.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from pipeline.catalog.rows import ARCHIVES, CatalogError, Clip, catalog_table, check_name, clip_id, line_id, shown

AUTO = "auto"
PLACES = ("cls", "json:label", "txt")
"""Where a label may be, in the order in which `auto` looks for it."""

LONGEST = 200
"""Largest number of characters of a label: a longer text is a caption."""


@dataclass(frozen=True)
class Sample:
    """The members of an archive with the same key.

    Attributes:
        archive: public name of the archive.
        name: path of the video in the archive; empty if there is none.
        stem: last part of that path, without extension.
        texts: content of the members `cls`, `json` and `txt`, by extension; None if it is too large or no UTF-8.
    """

    archive: str
    name: str
    stem: str
    texts: Mapping[str, str | None]


def webdataset(
    samples: Mapping[str, Iterable[Sample]], archives: Mapping[str, str], label: str = AUTO, dataset: str = "webdataset"
) -> pa.Table:
    """Make the catalog of WebDataset archives.

    Args:
        samples: the samples of each split, in the order of its archives.
        archives: where the archives of each split lie, as ingest takes it.
        label: `cls`, `txt`, `json:KEY`, or `auto`.
        dataset: name of the data set, the first part of every `clip_id`.

    Returns:
        One row for each sample with a video. A sample without a label, or with the name of an earlier one of its split,
        is a row with an error. `catalog_notes` says where the labels are from, and how many samples have no video.

    Raises:
        CatalogError: there is no video at all, no place has a label for every clip, or two splits have the same
            archives.
    """
    check_name("dataset", dataset)
    if len(set(archives.values())) < len(archives):
        raise CatalogError("catalog.archives: two splits have the same archives; give each split its own")
    there = {split: list(some) for split, some in samples.items()}
    clips = [sample for some in there.values() for sample in some if sample.name]
    if not clips:
        raise CatalogError(f"{', '.join(archives.values())}: no video in these archives")
    place = _place(clips) if label == AUTO else label
    rows = [row for split, some in there.items() for row in _rows(dataset, split, some, archives[split], place)]
    without = sum(not sample.name for some in there.values() for sample in some)
    notes = [f"labels are from {place} of each clip"]
    notes += [f"{without} samples have no video, and are left out"] if without else []
    names = {row.label for row in rows if row.label is not None}
    numbered = all(name.isdecimal() and name.isascii() for name in names)
    return catalog_table(dataset, rows, sorted(names, key=int) if numbered else None, notes)


def label_of(sample: Sample, place: str) -> tuple[str, str]:
    """Return the label of a sample at a place, and the problem with it; one of both is empty."""
    member, _, key = place.partition(":")
    text = sample.texts.get(member, "")
    if text is None:
        return "", f"its {member} is larger than a label, or no UTF-8"
    if member == "json":
        try:
            facts = json.loads(text or "{}")
            value = facts.get(key) if isinstance(facts, dict) else None
        except (ValueError, RecursionError):
            return "", "its json is no JSON"
        if isinstance(value, bool) or not isinstance(value, str | int):
            return "", f"no {shown(key)} in its json that is a name or a number"
        text = str(value)
    if not text.strip():
        return "", f"no label in {place}"
    if len(text.strip()) > LONGEST:
        return "", f"its {place} has more than {LONGEST} characters, which is no label"
    return text.strip(), ""


def _place(clips: list[Sample]) -> str:
    """Return the first place where every clip has a label.

    Raises:
        CatalogError: there is none.
    """
    counts = {place: sum(bool(label_of(sample, place)[0]) for sample in clips) for place in PLACES}
    for place, count in counts.items():
        if count == len(clips):
            return place
    found = ", ".join(f"{place} in {count}" for place, count in counts.items())
    raise CatalogError(
        f"no place has a label for all {len(clips)} clips ({found}); name one by --catalog.label, such as json:KEY"
    )


def _rows(dataset: str, split: str, samples: Iterable[Sample], where: str, place: str) -> Iterator[Clip]:
    seen = Counter[str]()
    for number, sample in enumerate(samples, start=1):
        if not sample.name:
            continue
        label, problem = label_of(sample, place)
        seen[sample.stem] += 1
        name = clip_id(dataset, f"{split}/{sample.stem}")
        kind = "BadRow"
        if "#" in sample.stem:
            problem = "a name with #; rename it"
        if seen[sample.stem] > 1:  # the archives are read again by these names, which must differ
            kind, problem = "DuplicateClip", "an earlier member of this split has the same name; rename one of them"
            name = line_id(dataset, split, number)
        if problem:
            message = f"{sample.archive}: {shown(sample.name, most=200)}: {problem}"
            yield Clip(name, split, label or None, error_class=kind, error_message=message)
        else:
            yield Clip(name, split, label, f"{ARCHIVES}{where}#{sample.stem}")
