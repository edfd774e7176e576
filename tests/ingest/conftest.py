"""What the tests of ingest share: a folder for a shard set, on a disk and in an object store."""

import pytest

from pipeline.ingest.staging import STAGING
from pipeline.storage import make_folder
from tests.object_store import BUCKET


@pytest.fixture(params=["disk", "store"])
def folder(request, tmp_path, monkeypatch) -> str:
    """The folder of a set whose first shard may be staged."""
    if request.param == "disk":
        make_folder(f"{tmp_path}/set/{STAGING}/train-00000")
        return f"{tmp_path}/set"
    for name, value in request.getfixturevalue("store").environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{tmp_path.name}"
