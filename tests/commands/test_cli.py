"""`video-actions`: its commands, and a wheel of it that works from any folder."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

import pytest

from pipeline.commands.cli import VERBS, main
from pipeline.next_command import JOBS
from tests.shards.sets import make_set

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_every_command_with_one_line(words, capsys):
    main(words)
    listed = {line.split()[0]: line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()[2:-2]}
    assert list(listed) == [*JOBS, "completion"]
    assert all(line.endswith(".") and len(line) < 120 for line in listed.values())


@pytest.mark.parametrize("words", [["inspect", "--help"], ["help", "inspect"]])
def test_a_command_has_its_own_help(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 0
    assert "Verify a shard set and write its data card." in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys):
    main(["--version"])
    assert capsys.readouterr().out == f"video-actions {version('video-action-pipeline')}\n"


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("pretrian", "did you mean pretrain?"),
        ("train", "did you mean pretrain?"),
        ("fine-tune", "did you mean finetune?"),
        ("inspect_shards", "did you mean inspect?"),
        ("transfer-youtube8m", "did you mean transfer?"),
        ("zzz", "one of: ingest, inspect, "),
        ("--recipe", "one of: ingest, inspect, "),
    ],
)
def test_a_wrong_command_is_answered_by_the_nearest(wrong, hint, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([wrong])
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {wrong}: no such command; {hint}")
    assert err.count("\n") == 1


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a fresh environment with a wheel of this package, and the libraries of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    source, venv = folder / "source", folder / "venv"
    shutil.copytree(CHECKOUT / "pipeline", source / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run([*pip, *build], check=True, cwd=folder)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    wheel = next(folder.glob("*.whl"))
    subprocess.run([*pip, "--python", str(venv / "bin" / "python"), "install", "--no-deps", str(wheel)], check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return venv / "bin"


def say(line: str, folder: Path, path: Path | None = None) -> str:
    """What a line says to a shell in a folder, with the programs of another one on its PATH."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PATH"] = f"{path}:/usr/bin:/bin" if path else "/usr/bin:/bin"
    done = subprocess.run(["/bin/sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_wheel_has_the_program_and_all_it_reads(installed, tmp_path):
    out = say("video-actions --help", tmp_path, installed)
    assert all(f"  {verb} " in out for verb in VERBS)
    where = say("python -c 'import pipeline; print(pipeline.__file__)'", tmp_path, installed).strip()
    packed = {path.relative_to(Path(where).parent) for path in Path(where).parent.rglob("*") if path.suffix != ".pyc"}
    there = {path.relative_to(CHECKOUT / "pipeline") for path in (CHECKOUT / "pipeline").rglob("*.*")}
    assert {path for path in there if path.suffix not in (".pyc", ".nbi", ".nbc")} <= packed


def test_the_program_names_itself_as_it_was_started(installed, tmp_path):
    made = make_set(tmp_path / "user's set")
    line = f"inspect {shlex.quote(made.path)}"
    train = f"pretrain --recipe resnet3d18_folder --ingest.shards {shlex.quote(made.path)}"
    assert say(f"video-actions {line} --card card.html", tmp_path, installed).endswith(f"\n  video-actions {train}\n")
    assert (tmp_path / "card.html").read_text().startswith("<!doctype html>")
    started = os.path.relpath(installed / "video-actions", tmp_path)
    assert say(f"{started} {line}", tmp_path).endswith(f"\n  {started} {train}\n")
