"""The data card: one HTML page about a shard set, with embedded pictures, no scripts and no external files."""

from datetime import UTC, datetime

import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.cards import numbers, sections
from pipeline.cards.charts import Histogram, bars
from pipeline.cards.samples import samples
from pipeline.escaping import MESSAGE, cut, one_line, printable
from pipeline.shards import Verification, digest, read_catalog, read_manifest
from pipeline.shards.manifest import MANIFEST, labels_of
from pipeline.shards.overlaps import by_split
from pipeline.shards.summary import notes
from pipeline.storage import modified_s

LISTED = 24
"""Most classes that the page shows in one list. If there are more, it shows a third of this number of the largest and
of the smallest classes, and a folded list of all."""


def data_card(
    shards: str, verification: Verification | None = None, against: str | None = None, shared: pa.Table | None = None
) -> str:
    """Return the page as HTML.

    Args:
        shards: folder or URI of a complete set.
        verification: result of `pipeline.shards.verify`, to show on the page.
        against: another set, with which `shared` compares this one.
        shared: pairs of clips from `pipeline.shards.overlaps(shards, against)`.

    Raises:
        ShardError: the set is not complete, or its manifest or table of clips cannot be read.
    """
    clips = read_catalog(shards)
    good, labels = sections.readable(clips), sections.labels(clips)
    failures, twins = sections.failures(clips), sections.twins(good)
    environment = Environment(
        loader=PackageLoader("pipeline.cards", "."),
        autoescape=True,  # labels, ids and messages come from other people's files
        finalize=lambda value: cut(printable(value), MESSAGE) if type(value) is str else value,  # not what is markup
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "thousands": numbers.count,
        "number": numbers.number,
        "size": numbers.size,
        "span": numbers.span,
        "name": one_line,
    }
    environment.filters["zip"] = zip
    environment.globals["share"] = numbers.share
    environment.tests["histogram"] = lambda chart: isinstance(chart, Histogram)
    return environment.get_template("data_card.html").render(
        dataset=clips["dataset"][0].as_py() if len(clips) else "empty set",
        digest=digest(clips, labels_of(clips, read_manifest(shards)["labels"])),
        shards=shards,
        made=datetime.fromtimestamp(modified_s(f"{shards}/{MANIFEST}"), UTC),
        settings=sections.settings(good),
        verification=verification,
        splits=sections.splits(clips),
        notes=notes(shards, clips),
        failures=failures[:LISTED],
        failures_in_all=len(failures),
        failure_bars=bars([(kind.error_class, kind.count) for kind in failures]),
        labels=labels,
        class_bars=bars([(label.name, label.present) for label in labels]),
        listed=LISTED,
        distributions=sections.distributions(good),
        motion=sections.motion(good),
        moving=sections.moving(labels),
        twins=twins[: sections.SHOWN],
        twins_in_all=len(twins),
        twins_across=sum(len(group.splits) > 1 for group in twins),
        against=against,
        shared=None if shared is None else shared.slice(0, sections.SHOWN).to_pylist(),
        shared_in_all=0 if shared is None else len(shared),
        shared_splits=[] if shared is None else by_split(shared),
        samples=samples(shards, good),
    )
