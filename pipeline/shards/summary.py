"""The texts of an inspection: contents and problems of a shard set, and the videos it shares with another set."""

import pyarrow as pa

from pipeline.escaping import MESSAGE, one_line
from pipeline.shards.classes import comparison
from pipeline.shards.manifest import MANIFEST, labels_of, read_catalog, read_manifest, summarise
from pipeline.shards.overlaps import by_split
from pipeline.shards.verify import Verification
from pipeline.table import table

CROP = 112  # side of the crop in the folder recipes, in pixels


def inspected(shards: str, verification: Verification, shown: int = 10) -> str:
    """Format the counts of each split as a table, then the notes on the set and its first problems, a line each."""
    clips, manifest = read_catalog(shards), read_manifest(shards)
    if any(where == MANIFEST for where, _ in verification.problems):  # the table shows what is there
        manifest = summarise(clips, {}, classes=labels_of(clips, manifest["labels"]))
    rows: list[list[object]] = [["split", "expected", "present", "failed", "frames", "classes"]]
    for split, counts in manifest["splits"].items():
        failed = counts["expected"] - counts["present"]
        rows.append([split, counts["expected"], counts["present"], failed, counts["frames"], len(counts["labels"])])
    problems = verification.problems
    lines = [
        "",
        f"{manifest['dataset']}, digest {manifest['digest']}: {shards}",
        table(rows),
        f"  {verification.clips} clips verified, {len(problems) or 'no'} problem{'' if len(problems) == 1 else 's'}",
    ]
    lines += [f"  note: {one_line(note, MESSAGE)}" for note in notes(shards, clips)]
    lines += [f"  problem: {one_line(f'{where}: {what}', MESSAGE)}" for where, what in problems[:shown]]
    if len(problems) > shown:
        lines.append(f"  ... and {len(problems) - shown} more; --card lists them")
    return "\n".join(lines)


def notes(shards: str, clips: pa.Table) -> list[str]:
    """Return the notes of a set's catalog, such as how its split was drawn, and those on the classes of its splits."""
    return [*map(str, read_manifest(shards).get("notes") or ()), *comparison(clips)]


def shared(other: str, pairs: pa.Table, shown: int = 5) -> str:
    """Format the number of clips that two sets share, for each pair of splits, and the first of these clips."""
    rows: list[list[object]] = [["split here", "split there", "clips here", "clips there"]]
    rows += [[row["split_a"], row["split_b"], row["clips_a"], row["clips_b"]] for row in by_split(pairs)]
    lines = ["", f"videos shared with {other}: {len(pairs) or 'no'} pair{'' if len(pairs) == 1 else 's'} of clips"]
    lines += [table(rows)] if len(pairs) else []
    lines += [
        f"  {one_line(row['clip_a'])} ({row['split_a']}), {one_line(row['clip_b'])} ({row['split_b']})"
        for row in pairs.slice(0, shown).to_pylist()
    ]
    return "\n".join(lines)


def training_words(shards: str) -> list[str]:
    """Return the words of a command that trains on a shard set: supervision transfer if its clips have no labels."""
    manifest = read_manifest(shards)
    if not manifest["labels"]:
        return ["transfer", "--ingest.shards", shards]
    settings = manifest["plan"].get("settings", {})
    streams, side = settings.get("streams", ["rgb"]), settings.get("short_side") or CROP
    recipe = "resnet3d18_folder" if streams == ["rgb"] else "i3d_folder"
    words = ["pretrain", "--recipe", recipe, "--ingest.shards", shards]
    words += ["--model.streams", "flow"] if streams == ["flow"] else []
    words += ["--clips.crop", str(side)] if side < CROP else []
    words += (
        ["--training.val_split", "test"] if "val" not in manifest["splits"] and "test" in manifest["splits"] else []
    )
    return words
