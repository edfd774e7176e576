"""Addresses of SQLite files mean the files whose names they were made of."""

import pytest
from sqlalchemy.engine import make_url

from pipeline.command_line import override
from pipeline.config import Config
from pipeline.sqlite import address_of, file_of, with_file

NAMES = ["/data/mlflow.db", "/a%20b/x.db", "/a?b/x.db", "/a%3Fb?/x.db", "/a b#c/ü'\"@:&;.db", "/100%/x.db"]


@pytest.mark.parametrize("name", NAMES)
def test_the_library_that_opens_the_file_finds_it(name):
    assert make_url(address_of(name)).database == name
    assert file_of(address_of(name)) == name


def test_plain_names_are_written_as_they_are():
    assert address_of("/data/a b/mlflow.db") == "sqlite:////data/a b/mlflow.db"


def test_options_stay_with_the_address():
    assert with_file("sqlite:///a.db?timeout=5", "/b?/c.db") == "sqlite+pysqlite:////b%3F/c.db?timeout=5"
    assert file_of("sqlite:////a.db?timeout=5") == "/a.db"
    assert file_of("http://host:5000") is None


@pytest.mark.parametrize("storage", ["a%20b", "a?b", "a#b", "a b"])
def test_a_config_gives_the_address_of_the_file_in_its_storage(tmp_path, storage):
    config = override(Config(), {"storage": storage}).resolved(tmp_path)
    assert file_of(config.tracking.uri) == f"{tmp_path}/{storage}/mlflow.db"
    assert config.resolved(tmp_path) == config
    given = override(Config(), {"tracking.uri": address_of(f"{storage}/x.db")}).resolved(tmp_path)
    assert file_of(given.tracking.uri) == f"{tmp_path}/{storage}/x.db"
