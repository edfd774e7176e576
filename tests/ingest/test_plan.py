"""The plan names the clips of a set by a digest, which must never change for the same clips."""

import hashlib

import pyarrow as pa

from pipeline.catalog import CATALOG_SCHEMA
from pipeline.config import Config
from pipeline.ingest.plan import plan_of


def test_the_digest_of_a_catalog_is_that_of_its_sorted_lines():
    rows = [
        {"clip_id": f"k.{name}", "dataset": "k", "split": split, "label": label}
        for name, split, label in [
            ("b", "train", "Zoë"), ("a", "val", None),
            ("\U0001f3ac", "val", "x"), ("\uffee", "val", "x"), ("a-", "a", ""),
            *((f"{number % 7}.{number}-{number + 1}", "train", f"class {number % 3}") for number in range(40_000)),
        ]
    ]  # fmt: skip
    lines = sorted(f"{row['clip_id']}\t{row['split']}\t{row['label']}" for row in rows)
    table = pa.Table.from_pylist(rows, CATALOG_SCHEMA)
    expected = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    assert plan_of(Config().resolved().ingest, table)["catalog_digest"] == expected
    assert (
        plan_of(Config().resolved().ingest, pa.concat_tables([table.slice(9), table.slice(0, 9)]))["catalog_digest"]
        == expected
    )
