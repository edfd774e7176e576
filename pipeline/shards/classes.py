"""Comparison of class names: of the splits of a list or a shard set, and of any two lists whose spelling may differ."""

import difflib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.escaping import NAME, cut
from pipeline.shards.splits import in_split, splits_of

SHOWN, LISTED = 3, 10


def some(names: Sequence[str], beside: Sequence[str] = (), most: int = SHOWN) -> str:
    """List the first few names and how many more there are, each with its nearly equal spelling in `beside`, if any."""
    shown = [f"{cut(name, NAME)!r}{_alike(name, beside)}" for name in names[:most]]
    more = [f"{len(names) - most} more"] if len(names) > most else []
    *first, last = [*shown, *more]
    return f"{', '.join(first)} and {last}" if first else last


def comparison(clips: pa.Table, train: str = "train") -> list[str]:
    """Compare the classes of the training split with those of each other split.

    Args:
        clips: a catalog or the table of a shard set: one row per clip, with `clip_id`, `split`, `label` and
            `error_class`.
        train: name of the training split.

    Returns:
        A sentence for each thing that is probably a mistake: clips without a label beside labelled ones, classes that
        only one of two splits has, and classes whose names differ in spelling alone. There are none if no clip has a
        label.
    """
    known = {split: classes_of(clips, split) for split in splits_of(clips["split"].unique().to_pylist())}
    every = sorted(set().union(*known.values()))
    if not every:
        return []
    notes = [
        f"{len(without)} of {len(without) + known[split].total()} clips of {split!r} have no label, such as "
        f"{without[0]}; a training needs one for each"
        for split in known
        if (without := unlabelled(clips, split)) and (known[split] or split == train)
    ]
    for split in known if known.get(train) else ():
        if split != train and known[split]:
            notes += only_in(split, known[split], train, known[train])
            notes += only_in(train, known[train], split, known[split])
    return [*notes, *alike(every)]


def only_in(
    here: str, classes: Counter[str], there: str, others: Iterable[str], meaning: str = "", most: int = LISTED
) -> list[str]:
    """Return a sentence on the classes of one split that another lacks, or an empty list if there are none.

    Args:
        here: name of the split.
        classes: its number of clips of each class.
        there: name of the other split.
        others: classes of the other split.
        meaning: what follows from it.
        most: largest number of classes to name, each with the class of the other split that is spelled nearly the same.
    """
    others = set(others)
    only = {name: count for name, count in classes.items() if name not in others}
    if not only:
        return []
    clips = sum(only.values())
    named = some(list(only), sorted(others), most)
    return [
        f"{len(only)} of the {len(classes)} classes of {here!r} are not in {there!r}{meaning and f', {meaning}'} "
        f"({clips} clip{'s' * (clips != 1)}): {named}"
    ]


def alike(names: Iterable[str]) -> list[str]:
    """Return a sentence on classes whose names differ in case, accents' encoding, underscores, dashes or spaces alone.

    The list is empty if there are none.
    """
    spellings: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        spellings[_plain(name)].append(name)
    groups = [sorted(group) for group in spellings.values() if len(group) > 1]
    if not groups:
        return []
    shown = "; ".join(some(group) for group in groups[:SHOWN])
    more = f"; and {len(groups) - SHOWN} more groups" if len(groups) > SHOWN else ""
    return [f"classes that differ in spelling alone count as different: {shown}{more}"]


def classes_of(clips: pa.Table, split: str) -> Counter[str]:
    """Count the clips of each class of a split, without those that are known to be unreadable."""
    return Counter(label for label in _usable(clips, split)["label"].to_pylist() if label is not None)


def unlabelled(clips: pa.Table, split: str) -> list[str]:
    """Return the ids of a split's clips without a label, without those that are known to be unreadable."""
    return list(_usable(clips, split).filter(pc.field("label").is_null())["clip_id"].to_pylist())


def _usable(clips: pa.Table, split: str) -> pa.Table:
    rows = clips.select(["clip_id", "split", "label", "error_class"])
    return rows.filter(in_split(rows["split"], split)).filter(pc.field("error_class").is_null())


def _alike(name: str, beside: Sequence[str]) -> str:
    plain = {_plain(each): each for each in beside}
    near = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=0.85)
    return f" (near {cut(plain[near[0]], NAME)!r})" if near else ""


def _plain(name: str) -> str:
    """Remove the differences between spellings: case, encoding of accents, underscores, dashes and spaces."""
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", name).casefold()).strip()
