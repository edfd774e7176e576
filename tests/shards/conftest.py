"""What the tests of shards share: a small set made by hand, and a copy of it that a test may spoil."""

import shutil
from pathlib import Path

import pytest

from tests.shards.sets import Made, make_set


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A set that no test changes."""
    return make_set(tmp_path_factory.mktemp("original"))


@pytest.fixture
def made(original: Made, tmp_path: Path) -> Made:
    """A copy that a test may spoil."""
    shutil.copytree(original.path, tmp_path / "set")
    return Made(str(tmp_path / "set"), original.clips, original.rows, original.frames, original.levels)
