"""What the tests share: the folders of real input, one Ray cluster, one small shard set of motion shapes."""

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from pipeline import console
from pipeline.cluster import set_variables
from pipeline.command_line import override
from pipeline.config import Config
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.run import ingest
from pipeline.recipes.demo import demo
from tests.forked_workers import forked_workers
from tests.object_store import Store, object_store

CHECKOUT = Path(__file__).parents[1]
OF_THE_SESSION = {"mlflow", "ray", "storage"}  # folders that all modules use


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `-n 2`, one process has all tests on Ray, which share a cluster, and the other one the rest by module."""
    for item in items:
        on_ray = "cluster" in item.fixturenames or item.get_closest_marker("ray")
        item.add_marker(pytest.mark.xdist_group("ray" if on_ray else item.nodeid.partition("::")[0]))


gc.disable()  # while modules are imported and tests are collected, there is no garbage


def pytest_collection_finish() -> None:
    """From now on the search for garbage passes over what the tests' modules hold."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Otherwise extension modules would report at the end what the search passed over as leaks."""
    gc.unfreeze()


def real_input(variable: str, name: str) -> Path:
    """A folder of real input; where there is none the test is skipped."""
    folder = Path(os.environ.get(variable, CHECKOUT.parent / "shared" / name))
    if not folder.is_dir():
        pytest.skip(f"no {folder}: set {variable} to the folder of real input")
    return folder


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """A folder whose contents end with the test, so that the whole suite fits on a small disk.

    The folder itself stays, and so its name is not used again: MLflow remembers a database by its path.
    """
    yield tmp_path
    empty(tmp_path)


@pytest.fixture(autouse=True, scope="module")
def files_of_the_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the fixtures of a module wrote ends with the module, for the same reason."""
    base = tmp_path_factory.getbasetemp()
    before = set(base.iterdir())
    yield
    for folder in set(base.iterdir()) - before:
        if folder.is_dir() and not folder.is_symlink() and folder.name.rstrip("0123456789") not in OF_THE_SESSION:
            empty(folder)


def empty(folder: Path) -> None:
    """Remove what is in a folder, and keep the folder; a test may have moved it."""
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def own_screen() -> None:
    """No test finds its words turned elsewhere by what an earlier one ran in this process, nor ends what that began."""
    console._screen = console._logged = None
    console._endings.clear()


@pytest.fixture(scope="session")
def clips_dir() -> Path:
    """Real video files."""
    return real_input("CLIPS_DIR", "clips")


@pytest.fixture(scope="session")
def _store() -> Iterator[Store]:
    with object_store() as proxy:
        yield proxy


@pytest.fixture
def store(_store: Store) -> Iterator[Store]:
    """An object store that counts its requests from zero."""
    _store.asked.clear()
    yield _store
    _store.delay_s = 0.0
    _store.failures.clear()
    _store.silent.clear()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The session's one Ray cluster: four logical CPUs, so that two trials fit on two cores.

    It has a dashboard as a user's has: without it, Ray Train does not free the place of a trial that Tune stops.
    """
    set_variables(local=True)
    with forked_workers(tmp_path_factory.mktemp("ray")):
        ray.init("local", num_cpus=4, logging_level="ERROR", log_to_driver=False)
        yield
        ray.shutdown()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The demo made small: clips of 12 frames of 32 x 32, one epoch. Of the validation split, 101 clips are taken."""
    small = {
        "name": "tiny",
        "storage": str(tmp_path_factory.mktemp("storage")),
        "catalog.motion_shapes.train": "2",
        "catalog.motion_shapes.val": "13",
        "catalog.motion_shapes.test": "1",
        "catalog.motion_shapes.frames": "12",
        "catalog.motion_shapes.size": "32",
        "catalog.limit": "101",
        "ingest.short_side": "32",
        "ingest.clips_per_shard": "40",
        "ingest.flow.nscales": "1",
        "ingest.flow.warps": "1",
        "ingest.flow.epsilon": "0.1",
        "clips.frames": "4",
        "clips.crop": "32",
        "training.epochs": "1",
        "training.batch_size": "4",
        "evaluation.batch_size": "16",
        "schedule.warmup_steps": "0",
        "resources.worker_cpus": "0.5",
        "resources.loader_cpus": "0.5",
    }
    return override(demo(), small).resolved()


@pytest.fixture(scope="session")
def shards(cluster: None, tiny: Config) -> Config:
    """The tiny config with its shard set made: 16 training, 101 validation and 8 test clips."""
    ingest(tiny, configured_catalog(tiny), write=lambda line: None)
    return tiny


@pytest.fixture(scope="session")
def few(cluster: None, tiny: Config, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The first 40 of these clips in a shard set of their own."""
    folder = str(tmp_path_factory.mktemp("storage"))
    config = override(tiny, {"catalog.limit": "16", "storage": folder, "ingest.shards": f"{folder}/shards"})
    ingest(config, configured_catalog(config), write=lambda line: None)
    return config
