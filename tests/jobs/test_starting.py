"""A job answers before it imports what it needs for its work: `--help` and mistakes cost no second."""

import subprocess
import sys
from pathlib import Path

import pytest
import ray

CHECKOUT = Path(__file__).parents[2]
JOBS = sorted(path.stem for path in (CHECKOUT / "jobs").glob("*.py"))
HEAVY = {"cv2", "matplotlib", "mlflow", "numba", "pandas", "pyarrow", "ray", "torch", "torchvision"}
RUN = """
import atexit, runpy, sys
job, seen, *arguments = sys.argv[1:]
sys.argv = [job, *arguments]
atexit.register(lambda: open(seen, "w").write("\\n".join(sys.modules)))
runpy.run_path(job, run_name="__main__")
"""


def imported(job: str, tmp_path: Path, *argv: str, status: int = 0) -> set[str]:
    """The libraries that a job has imported when it ends, by walking its `sys.modules`."""
    command = [sys.executable, "-c", RUN, str(CHECKOUT / "jobs" / f"{job}.py"), str(tmp_path / "seen"), *argv]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == status, ended.stderr
    return {name.partition(".")[0] for name in (tmp_path / "seen").read_text().splitlines()}


@pytest.mark.parametrize("job", JOBS)
def test_help_imports_no_library_of_the_work(job, tmp_path):
    assert not imported(job, tmp_path, "--help") & HEAVY


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(
    "wrong", [["--recpe", "demo"], ["--recipe", "dmo"], ["--training.epochs", "many"]], ids=" ".join
)
def test_a_mistake_is_answered_before_they_are_imported(job, wrong, tmp_path):
    needs = {"evaluate": ["--run", "x"], "inspect_shards": ["x"], "predict": ["x"], "benchmark": ["flow", "x"]}
    assert not imported(job, tmp_path, *needs.get(job, []), *wrong, status=2) & HEAVY


@pytest.mark.ray
def test_ingest_and_inspection_import_neither_torch_nor_mlflow_in_a_whole_run(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    split = [f"--catalog.motion_shapes.{name}=1" for name in ("train", "val", "test", "frames")]
    split[-1] = "--catalog.motion_shapes.frames=2"
    assert not imported("ingest", tmp_path, "--recipe", "demo", *split) & {"mlflow", "torch", "torchvision"}
    shards = str(tmp_path / "outputs" / "shards" / "motion_shapes")
    inspected = imported("inspect_shards", tmp_path, shards, "--against", shards, "--card", "card.html")
    assert not inspected & {"mlflow", "ray", "torch", "torchvision"}
