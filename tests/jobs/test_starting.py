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
    """The libraries that a job has imported when it ends, by walking its `sys.modules`; it prints into `said.txt`."""
    command = [sys.executable, "-c", RUN, str(CHECKOUT / "jobs" / f"{job}.py"), str(tmp_path / "seen"), *argv]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == status, ended.stderr
    (tmp_path / "said.txt").write_text(ended.stdout)
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


def test_the_program_imports_none_of_them_to_say_what_it_can_do():
    ask = "import sys; from pipeline.commands.cli import main; main([{}]); print(*sys.modules, file=sys.stderr)"
    for words in ("'--help'", "'completion', 'bash'"):
        asked = subprocess.run([sys.executable, "-c", ask.format(words)], capture_output=True, text=True, check=True)
        assert not {name.partition(".")[0] for name in asked.stderr.split()} & HEAVY


@pytest.mark.ray
@pytest.mark.slow
def test_ingest_and_inspection_import_neither_torch_nor_mlflow_in_a_whole_run(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    split = [f"--catalog.motion_shapes.{name}=1" for name in ("train", "val", "test", "frames")]
    split[-1] = "--catalog.motion_shapes.frames=2"
    storage = tmp_path / "user's runs"
    words = ["--recipe", "demo", "--storage", str(storage), *split]
    assert not imported("ingest", tmp_path, *words) & {"mlflow", "torch", "torchvision"}
    shards = str(storage / "shards" / "motion_shapes")
    *_, inspect = (tmp_path / "said.txt").read_text().splitlines()
    subprocess.run(["/bin/sh", "-c", inspect], cwd=tmp_path, check=True)  # runs as it is printed
    assert (tmp_path / "card.html").is_file()
    inspected = imported("inspect_shards", tmp_path, shards, "--against", shards, "--card", "again.html")
    assert not inspected & {"mlflow", "ray", "torch", "torchvision"}
