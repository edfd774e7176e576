"""No password that an address holds is written down."""

import pytest

from pipeline.masking import is_masked, masked, masked_fields, without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql+psycopg://mlflow:s3cret@db:5432/mlflow", "postgresql+psycopg://***@db:5432/mlflow"),
        ("a.py --tracking.uri http://me:p@ss@host:5000 -x", "a.py --tracking.uri http://***@host:5000 -x"),
        ("https://store/a.csv?X-Amz-Signature=abc&part=2", "https://store/a.csv?X-Amz-Signature=***&part=***"),
        ("s3://bucket?access=1&secret=k", "s3://bucket?access=***&secret=***"),
        ("s3://KEY:SEC/R+T=@b/a?region=us&endpoint_override=h:80&token=9",
         "s3://***@b/a?region=us&endpoint_override=h:80&token=***"),
        ("archives:s3://KEY:SECRET@b/a.tar?region=us#a/b.mp4", "archives:s3://***@b/a.tar?region=us#a/b.mp4"),
        ("https://TOKEN@host/x", "https://***@host/x"),
        ("https://host/x?c2lnbmVkIGJsb2I", "https://host/x?***"),
        ("--proxies=me:word@proxy:3128,http://a:b@h:1", "--proxies=***@proxy:3128,http://***@h:1"),
        ("postgresql://me@db/a?sslmode=require&password=x", "postgresql://me@db/a?sslmode=require&password=***"),
        ("http://127.0.0.1:5000/a@b", "http://127.0.0.1:5000/a@b"),
        ("http://[::1]:5000/a@b:c", "http://[::1]:5000/a@b:c"),
        ("https://www.youtube.com/watch?v=abcdefghijk", "https://www.youtube.com/watch?v=abcdefghijk"),
        ("s3://bucket/a?region=eu&endpoint_override=host:9000", "s3://bucket/a?region=eu&endpoint_override=host:9000"),
        ("http://h/#/models/a/versions/1?workflowType=machine_learning",
         "http://h/#/models/a/versions/1?workflowType=machine_learning"),
        ("python:3.11-slim@sha256:ab12, https://host/@name/x", "python:3.11-slim@sha256:ab12, https://host/@name/x"),
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
    tree = {"tracking": {"uri": "http://a:b@c"}, "proxies": ["a:b@c:80"], "lists": ["http://a:b@c", 1], "seed": 0}
    stored = masked(tree)
    assert stored == {
        "tracking": {"uri": "http://***@c"},
        "proxies": ["***@c:80"],
        "lists": ["http://***@c", 1],
        "seed": 0,
    }
    assert tree["tracking"]["uri"] == "http://a:b@c"
    assert list(masked_fields(stored)) == ["tracking.uri", "proxies", "lists"]


@pytest.mark.parametrize(
    "address",
    ["s3://{}:{}@bucket/a?region=eu", "https://host/a?region=eu&sig={}&x={}", "archives:http://{}:{}@host/a.tar#{}b",
     "{}:{}@proxy:80", "https://host/a?token={}{}"],
)  # fmt: skip
def test_another_secret_makes_no_other_address(address):
    assert without_secrets(address.format("A", "b", "")) == without_secrets(address.format("C", "d", ""))
    assert without_secrets(masked(address.format("A", "b", ""))) == without_secrets(address.format("C", "d", ""))


def test_an_address_whose_secret_the_environment_holds_is_the_same():
    assert without_secrets("s3://KEY:SECRET@bucket/a?region=eu") == "s3://bucket/a?region=eu"
    assert without_secrets("https://host/a?sig=x") == "https://host/a"
