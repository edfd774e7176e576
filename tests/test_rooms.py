"""The house: arrows between rooms point one way, rooms stay free of what they do not need, no name on its way out."""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# The rooms, each a stage of a model's life, from the lowest up; and which of the others each may import.
ROOMS = {
    "catalog": set(),
    "flow": set(),
    "models": set(),
    "figures": {"flow"},
    "shards": set(),
    "recipes": set(),
    "cards": {"flow", "shards"},
    "ingest": {"catalog", "flow", "shards"},
    "clips": {"shards"},
    "tracking": {"shards"},
    "training": {"clips", "models", "shards", "tracking"},
    "evaluation": {"clips", "figures", "models", "shards", "tracking", "training"},
    "registry": {"cards", "clips", "evaluation", "flow", "ingest", "models", "shards", "tracking", "training"},
    "export": {"clips", "evaluation", "ingest", "models", "registry", "tracking"},
    "runs": {"catalog", "clips", "evaluation", "figures", "ingest", "models", "registry", "shards", "tracking"}
    | {"training"},
    "features": {"catalog", "clips", "evaluation", "figures", "flow", "ingest", "models", "runs", "shards", "training"},
    "experiments": {"clips", "evaluation", "figures", "ingest", "models", "runs", "shards", "tracking", "training"},
    "benchmarks": {"catalog", "clips", "evaluation", "features", "flow", "ingest", "models", "shards", "training"},
    "commands": {
        "benchmarks",
        "cards",
        "catalog",
        "experiments",
        "export",
        "features",
        "ingest",
        "registry",
        "runs",
        "shards",
    }
    | {"tracking"},
}
# Modules at the top of pipeline/: what each may import, and which rooms import it.
TOP = {
    "escaping": set(),
    "masking": set(),
    "plain_yaml": set(),
    "sqlite": set(),
    "object_store": set(),
    "storage": {"object_store"},
    "config": {"masking", "plain_yaml", "sqlite"},
    "console": {"escaping", "masking"},
    "interruptions": {"console"},
    "lasting_gauge": set(),
    "progress": {"console"},
    "table": {"escaping"},
    "command_line": {"config", "console", "interruptions", "plain_yaml"},
    "submission": {"command_line", "config"},
    "next_command": {"masking", "submission"},
    "workers": {"config"},
    "cluster": {"config", "console", "interruptions", "sqlite", "workers"},
    "spread": {"cluster"},
    "networks": {"clips", "config", "models"},
}
USES = {
    "benchmarks": {"config", "masking", "networks", "progress", "table", "workers"},
    "cards": {"escaping", "storage"},
    "catalog": {"progress"},
    "figures": {"escaping"},
    "shards": {"escaping", "progress", "storage", "table"},
    "ingest": {"config", "console", "escaping", "interruptions", "lasting_gauge", "masking", "progress", "storage"}
    | {"table"},
    "clips": {"config", "storage"},
    "tracking": {"config", "console", "escaping", "interruptions", "masking", "sqlite"},
    "training": {"cluster", "config", "console", "lasting_gauge", "networks", "progress", "storage"},
    "evaluation": {"cluster", "config", "console", "networks", "progress", "storage", "table"},
    "registry": {"config", "console", "escaping", "masking", "networks", "plain_yaml", "table"},
    "export": {"config", "console", "progress", "table"},
    "runs": {"cluster", "config", "interruptions", "masking", "networks", "sqlite", "storage", "table", "workers"},
    "experiments": {"cluster", "command_line", "config", "escaping", "interruptions", "masking", "networks", "progress"}
    | {"recipes", "sqlite", "storage", "table", "workers"},
    "features": {"command_line", "config", "escaping", "masking", "networks", "storage", "table"},
    "recipes": {"config"},
    "commands": {"cluster", "command_line", "config", "escaping", "masking", "next_command", "recipes", "sqlite"}
    | {"spread", "submission"}
    | {"table"},
}
ARROWS = {room: allowed | USES.get(room, set()) for room, allowed in ROOMS.items()} | TOP

CLUSTER = {"ray", "mlflow"}
PLAIN = CLUSTER | {"torch", "pyarrow", "cv2", "av"}
FORBIDDEN = {
    "catalog": CLUSTER | {"torch"},
    "flow": CLUSTER | {"pyarrow", "torch", "av"},
    "models": CLUSTER | {"pyarrow", "cv2", "av"},
    "figures": CLUSTER | {"pyarrow", "torch", "av"},
    "shards": CLUSTER | {"torch", "cv2"},
    "cards": CLUSTER | {"torch", "matplotlib"},
    "recipes": PLAIN | {"os", "sys"},
    "ingest": {"mlflow", "torch"},
    "tracking": {"pyarrow", "cv2", "av", "ray"},
    "clips": {"mlflow"},
    "evaluation": {"mlflow"},
    "export": {"ray", "pyarrow", "cv2", "av"},
    "training": {"mlflow"},
    "networks": CLUSTER | {"cv2", "av"},
    "storage": CLUSTER | {"torch", "cv2", "av"},
    **dict.fromkeys(("command_line", "commands", "config", "console", "escaping", "interruptions", "masking"), PLAIN),
    **dict.fromkeys(("next_command", "plain_yaml", "progress", "sqlite", "submission", "table", "workers"), PLAIN),
}
# A part of a room that is imported only when it is asked for, and what it alone may import.
APART = {"pipeline/flow/cuda": {"torch"}}

# What Ray and MLflow have deprecated, as it would be written; see each library's release notes.
DEPRECATED = {
    "ray.air": r"\bray\.air\b|\bfrom ray import .*\bair\b",
    "dict checkpoints": r"\bCheckpoint\.from_dict\(|\bcheckpoint\.to_dict\(",
    "restoring a trainer": r"\bTorchTrainer\.(restore|can_restore)\(|\bresume_from_checkpoint\s*=",
    "options of Train's RunConfig": r"\b(local_dir|sync_config|progress_reporter|log_to_file)\s*=",
    "checkpoints by frequency": r"\bcheckpoint_(frequency|at_end)\s*=",
    "fail_fast": r"\bfail_fast\s*=",
    "trainer_resources": r"\btrainer_resources\s*=",
    "trial names from Train": r"\btrain\.get_context\(\)\.get_(trial_\w+|metadata)\(",
    "helpers of Train V1": r"\btrain\.torch\.(accelerate|backward|prepare_optimizer)\b|\bprepare_optimizer\(",
    "tune.run": r"\btune\.run\(|\bTuner\(\s*trainer\b",
    "MLflow helpers of Ray": r"\bMLflowLoggerCallback\b|\bmlflow_mixin\b|\bsetup_mlflow\b",
    "TensorFlow and plain torch readers": r"\.iter_tf_batches\(|\.to_torch\(",
    "concurrency of a map": r"\bconcurrency\s*=",
    "ray_remote_args_fn": r"\bray_remote_args_fn\s*=",
    "parallelism of a reader": r"\bparallelism\s*=",
    "num_rows_per_file": r"\bnum_rows_per_file\s*=",
    "add_column": r"\.add_column\(",
    "pushing down by arguments of the reader": r"\bread_parquet\([^)]*\b(filter|columns)\s*=",
    "old data configuration": r"\bDatasetConfig\b|\bBatchPredictor\b|\bpreprocessor\s*=",
    "RAY_STORAGE": r"\bRAY_STORAGE\b",
    "old job ids": r"\bray job submit\b.*--job-id\b",
    "v1alpha1": r"\bray\.io/v1alpha1\b",
    "artifact_path": r"\bartifact_path\s*=",
    "stages of the registry": r"\btransition_model_version_stage\b|\bget_latest_versions\(",
}


def modules(room: str) -> list[Path]:
    folder = ROOT / "pipeline" / room
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports."""
    yield from named(path.read_text(), path.relative_to(ROOT).parent.parts)


def named(source: str, package: tuple[str, ...]) -> Iterator[str]:
    """Every module that source imports, at its head or inside its functions, relative ones made whole."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names if module == "pipeline")


def neighbours(path: Path) -> set[str]:
    """The rooms and top-level modules of pipeline/ that a file imports."""
    own = path.relative_to(ROOT / "pipeline").parts[0].removesuffix(".py")
    return {name.split(".")[1] for name in imports(path) if name.startswith("pipeline.")} - {own}


def test_every_room_has_its_place_in_the_table():
    there = {
        path.name.removesuffix(".py")
        for path in (ROOT / "pipeline").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    } - {"__init__"}
    assert there <= ARROWS.keys(), "a new room needs a line in this file and in the map of the README"


def test_the_map_in_the_readme_is_the_house():
    """In the order of the table, in which each room imports only those above it."""
    readme = (ROOT / "README.md").read_text()
    assert re.findall(r"^\| `(\w+)/` \|", readme, re.MULTILINE) == list(ROOMS)
    assert all(ROOMS[room] <= set(list(ROOMS)[:place]) for place, room in enumerate(ROOMS))
    assert len(readme.split()) <= 1500
    assert len(readme.splitlines()) <= 200
    files = re.findall(r"^\d\. `([\w./]+)`", readme, re.MULTILINE)
    assert len(files) == 6
    links = re.findall(r"\]\(([\w./]+)\)", readme)
    assert [path for path in (*files, *links) if not (ROOT / path).is_file()] == []


def test_the_table_has_no_circle():
    assert set(TopologicalSorter(ARROWS).static_order()) == ARROWS.keys()


@pytest.mark.parametrize("room", ARROWS)
def test_arrows_between_rooms_point_one_way(room):
    wrong = {str(path.relative_to(ROOT)): neighbours(path) - ARROWS[room] for path in modules(room)}
    assert {name: rooms for name, rooms in wrong.items() if rooms} == {}


@pytest.mark.parametrize("room", ARROWS)
def test_no_arrow_is_allowed_that_nobody_goes(room):
    assert set().union(*map(neighbours, modules(room))) == ARROWS[room]


@pytest.mark.parametrize("room", ["catalog", "flow", "models", "shards"])
def test_the_rooms_below_know_no_config(room):
    assert ARROWS[room] <= {"escaping", "progress", "storage", "table"}


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_only_libraries_that_it_needs(room):
    for path in modules(room):
        allowed = APART.get(path.parent.relative_to(ROOT).as_posix(), set())
        found = {name.split(".")[0] for name in imports(path)}
        assert not found & FORBIDDEN[room] - allowed, path


def test_no_room_imports_a_job_or_a_test():
    found = {name.split(".")[0] for room in ARROWS for path in modules(room) for name in imports(path)}
    assert not found & {"jobs", "tests", "pytest"}


def test_a_command_only_parses_calls_and_prints():
    for path in [*(ROOT / "jobs").glob("*.py"), *modules("commands")]:
        if "def main(" not in path.read_text():
            continue
        classes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
        assert len(path.read_text().splitlines()) < 90, path.name
        assert not classes, path.name


def test_a_function_that_only_reads_two_sections_of_a_config_takes_these_sections():
    found = []
    for path in (ROOT / "pipeline").rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            for name in configs(function) if isinstance(function, ast.FunctionDef) else []:
                nodes = list(ast.walk(function))
                uses = [node for node in nodes if isinstance(node, ast.Name) and node.id == name]
                fields = [node for node in nodes if isinstance(node, ast.Attribute) and node.value in uses]
                if len(fields) == len(uses) and len({field.attr for field in fields}) <= 2:
                    found.append(f"{path.relative_to(ROOT)}: {function.name}")
    assert found == []


def configs(function: ast.FunctionDef) -> list[str]:
    """Return the names of the arguments that are whole configs."""
    arguments = [one for one in (*function.args.args, *function.args.kwonlyargs) if one.annotation]
    return [one.arg for one in arguments if ast.unparse(one.annotation) == "Config"]


def test_the_walk_sees_every_way_to_import():
    source = """
import ray.data as data
from pipeline import flow
from ..clips import order
from .. import models
from . import loop
def late():
    import mlflow
"""
    assert set(named(source, ("pipeline", "training"))) == {
        "ray.data",
        "mlflow",
        "pipeline",
        "pipeline.flow",
        "pipeline.clips",
        "pipeline.models",
        "pipeline.training",
    }


@pytest.mark.parametrize("name", DEPRECATED)
def test_no_deprecated_name_is_used(name):
    pattern = re.compile(DEPRECATED[name])
    files = [*(ROOT / "pipeline").rglob("*.py"), *(ROOT / "jobs").rglob("*.py"), *(ROOT / "infra").rglob("*.y*ml")]
    hits = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert hits == []


def test_a_tuner_function_reports_to_tune_and_a_worker_to_train():
    for path in modules("experiments"):
        assert "ray.train.report" not in path.read_text()


@pytest.mark.parametrize("room", ["ingest", "flow", "shards", "clips", "training", "evaluation"])
def test_workers_read_neither_environment_nor_working_directory(room):
    """All that a stage or a training loop needs comes in its config; what their child processes get is listed."""
    reads = re.compile(r"\bos\.environ\b|\bos\.getenv\(|\bos\.getcwd\(|\bPath\.cwd\(|\bsys\.argv\b")
    found = [path.name for path in modules(room) if reads.search(path.read_text())]
    listed = {"ingest": ["child_environment.py"], "training": ["node_address.py"]}  # Gloo and NCCL are told so alone
    assert found == listed.get(room, [])
