"""The steps of the Dockerfiles without a Docker engine: all are known; run in folders of debootstrap on request."""

import os
import runpy
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .manifests import INFRA, ROOT

STEPS: dict[str, Any] = runpy.run_path(str(INFRA / "dockerfile_steps.py"), run_name="steps")
DOCKERFILES = [INFRA / "Dockerfile", INFRA / "mlflow" / "Dockerfile"]


@pytest.fixture
def done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What the steps would have had run, as programs with their words; nothing is run."""
    ran: list[tuple[str, ...]] = []

    def note(words: list[Any], **_: Any) -> None:
        ran.append(tuple(map(str, words)))
        if words[0] == "debootstrap":
            (Path(words[-1]) / "etc").mkdir(parents=True)
            (Path(words[-1]) / "etc" / "passwd").write_text("root:x:0:0\nray:x:1000:1000\n")

    monkeypatch.setattr(subprocess, "run", note)
    monkeypatch.chdir(ROOT)
    return ran


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=["pipeline", "mlflow"])
def test_every_step_of_the_dockerfiles_is_known_and_run(dockerfile, done, tmp_path):
    STEPS["build"](tmp_path / "root", dockerfile, {"COMMIT": "abc"})
    runs = [rest for word, rest in STEPS["instructions"](dockerfile.read_text()) if word == "RUN"]
    ran = [words[-1] for words in done if words[0] == "chroot"]
    for command in runs:
        (found,) = [one for one in ran if one.endswith(command.partition("target=/wheels ")[2].strip() or command)]
        assert found.startswith("cd /")
    bases = [words for words in done if words[0] == "debootstrap"]
    assert {words[-2] for words in bases} == {"bookworm"}
    assert list(tmp_path.iterdir()) == [tmp_path / "root"]  # other stages are removed


def test_what_is_mounted_in_a_stage_is_unmounted_before_the_stage_is_removed(done, tmp_path, monkeypatch):
    STEPS["build"](tmp_path / "root", INFRA / "Dockerfile", {})
    stages = {words[-1] for words in done if words[0] == "debootstrap"}
    unmounted = {words[-1] for words in done if words[:2] == ("umount", "--recursive")}
    assert unmounted == {f"{stage}/{place}" for stage in stages for place in ("dev", "proc", "sys")}

    monkeypatch.setattr(shutil, "rmtree", lambda path: pytest.fail(f"{path} would be deleted"))
    with pytest.raises(SystemExit, match=r"^error: /dev is still mounted; unmount it before you delete /dev"):
        STEPS["remove"](Path("/dev"))


def test_kernels_are_compiled_by_the_user_who_runs_and_found_where_he_looks(done, tmp_path):
    STEPS["build"](tmp_path / "root", INFRA / "Dockerfile", {})
    (compiling,) = [words for words in done if "python -m pipeline.flow.cpu" in words[-1]]
    assert "--reuid=1000" in compiling
    assert "NUMBA_CACHE_DIR=/app/kernels" in compiling
    assert (tmp_path / "root" / "app" / "jobs" / "ingest.py").is_file()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("FROM ubuntu", "only python:3"),
        ("RUN true", "RUN before FROM"),
        ("FROM {base}\nADD x y", "ADD: not known"),
        ("FROM {base}\nRUN --mount=type=cache,target=/x true", "not known here"),
        ("FROM {base}\nCOPY --chown=1 x y", "not known here"),
    ],
)
def test_an_unknown_step_ends_it(text, line, done, tmp_path):
    base = f"python:3.11-slim-bookworm@sha256:{'0' * 64}"
    (tmp_path / "Dockerfile").write_text(text.format(base=base))
    with pytest.raises(SystemExit, match=line):
        STEPS["build"](tmp_path / "root", tmp_path / "Dockerfile", {})


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for an image, which is deleted at the end: pytest would keep gigabytes."""
    if not os.environ.get("BUILD_PROOF"):
        pytest.skip("on request: BUILD_PROOF=1, which takes 9 GB and twenty minutes")
    if os.getuid() or not shutil.which("debootstrap"):
        pytest.skip("needs root and Debian's package debootstrap")
    yield tmp_path / "root"
    STEPS["remove"](tmp_path / "root")


def run_in(root: Path, *words: str) -> str:
    """Run a program of an image as its user, and return what it prints."""
    variables = ["PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp", "NUMBA_CACHE_DIR=/app/kernels"]
    command = ["chroot", "--userspec=1000:1000", str(root), "env", "-i", *variables, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_image_is_built_and_works(folder):
    subprocess.run([INFRA / "build_proof.sh", folder], check=True, env={**os.environ, "BUILD_ARGS": "COMMIT=abc"})
    kernels = list((folder / "app" / "kernels").iterdir())
    assert kernels
    assert {file.stat().st_uid for file in kernels} == {1000}
    where = "import ray, pipeline; print(ray.__version__, pipeline.__file__)"
    version, package = run_in(folder, "python", "-c", where).split()
    assert version == "2.60.0"
    assert (folder / package.lstrip("/")).with_name("commit.txt").read_text() == "abc\n"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_image_of_mlflow_is_built_and_works(folder):
    subprocess.run([INFRA / "build_proof.sh", folder, INFRA / "mlflow" / "Dockerfile"], check=True)
    assert run_in(folder, "mlflow", "--version") == "mlflow, version 3.17.2\n"
    run_in(folder, "python", "-c", "import psycopg, boto3, mlflow.server.auth")
