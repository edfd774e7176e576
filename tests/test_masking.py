"""No password that an address holds is written down."""

import pytest

from pipeline.masking import is_masked, masked, masked_fields


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql+psycopg://mlflow:s3cret@db:5432/mlflow", "postgresql+psycopg://mlflow:***@db:5432/mlflow"),
        ("a.py --tracking.uri http://me:p@ss@host:5000 -x", "a.py --tracking.uri http://me:***@host:5000 -x"),
        ("https://store/a.csv?X-Amz-Signature=abc&part=2", "https://store/a.csv?X-Amz-Signature=***&part=2"),
        ("s3://bucket?access=1&secret=k", "s3://bucket?access=1&secret=***"),
        ("http://127.0.0.1:5000/a@b", "http://127.0.0.1:5000/a@b"),
        ("postgresql://mlflow@db/mlflow", "postgresql://mlflow@db/mlflow"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("models:/name@candidate, at 12:30 a@b.c", "models:/name@candidate, at 12:30 a@b.c"),
    ],
)  # fmt: skip
def test_a_secret_in_an_address_is_masked_and_nothing_else(text, shown):
    assert masked(text) == shown
    assert masked(shown) == shown
    assert is_masked(shown) == (text != shown)


def test_a_tree_is_masked_and_says_where():
    tree = {"tracking": {"uri": "http://a:b@c"}, "lists": ["http://a:b@c", 1], "seed": 0}
    stored = masked(tree)
    assert stored == {"tracking": {"uri": "http://a:***@c"}, "lists": ["http://a:***@c", 1], "seed": 0}
    assert tree["tracking"]["uri"] == "http://a:b@c"
    assert list(masked_fields(stored)) == ["tracking.uri"]
