"""Printed commands run as they are printed, from where the user is and as this program was started."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.next_command import JOBS, PROGRAM, command, mlflow_ui, next_steps, spoken

CHECKOUT = Path(__file__).parents[1]
HELD = "/data/user's runs/shards"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another working directory, and a PATH on which no interpreter is."""
    folder = tmp_path / "else where"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", "/nowhere")
    return folder


@pytest.fixture
def program(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `video-actions` that this process claims to be."""
    file = elsewhere.parent / "bin" / PROGRAM
    file.parent.mkdir()
    file.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(file)])
    return file


def test_every_command_has_its_job():
    assert {f"{job}.py" for job in JOBS.values()} == {path.name for path in (CHECKOUT / "jobs").glob("*.py")}


def test_a_job_is_started_by_an_interpreter_and_a_script_that_are_there(elsewhere):
    line = command("inspect", HELD, "--card", "card.html")
    python, script, *rest = shlex.split(line)
    assert Path(python).samefile(sys.executable)
    assert Path(script).samefile(CHECKOUT / "jobs" / "inspect_shards.py")
    assert rest == [HELD, "--card", "card.html"]
    helped = subprocess.run(["/bin/sh", "-c", f"{command('inspect')} --help"], capture_output=True, text=True)
    assert helped.returncode == 0, helped.stderr


def test_names_are_short_where_the_shell_finds_the_same_program_by_them(elsewhere, monkeypatch):
    monkeypatch.chdir(CHECKOUT)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert command("predict", "VIDEO") == "python jobs/predict.py VIDEO"
    assert mlflow_ui("sqlite:////data/mlflow.db") == "mlflow ui --backend-store-uri sqlite:////data/mlflow.db"


def test_another_interpreter_on_the_path_is_not_taken_for_this_one(elsewhere, monkeypatch):
    other = elsewhere / "bin"
    other.mkdir()
    shutil.copy(Path(sys.executable).resolve(), other / "python")
    monkeypatch.setenv("PATH", str(other))
    assert Path(shlex.split(command("predict"))[0]).parent.samefile(Path(sys.executable).parent)


def test_a_program_that_the_shell_finds_is_named_and_another_one_is_said_by_its_path(program, monkeypatch):
    assert command("inspect", HELD) == f"../bin/{PROGRAM} inspect {shlex.quote(HELD)}"
    monkeypatch.setenv("PATH", str(program.parent))
    assert command("inspect") == f"{PROGRAM} inspect"


def test_a_program_in_the_working_directory_is_not_looked_for_on_the_path(program, monkeypatch):
    monkeypatch.chdir(program.parent)
    assert command("inspect") == f"./{PROGRAM} inspect"


def test_the_user_of_a_submitted_job_is_elsewhere(program, monkeypatch):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert command("predict", "VIDEO") == "python jobs/predict.py VIDEO"
    assert mlflow_ui("sqlite:////a b/c.db") == "mlflow ui --backend-store-uri 'sqlite:////a b/c.db'"
    monkeypatch.setenv("VIDEO_ACTIONS_BIN", ".venv/bin")
    assert command("predict", "VIDEO") == ".venv/bin/python jobs/predict.py VIDEO"
    assert mlflow_ui("sqlite:////c.db") == ".venv/bin/mlflow ui --backend-store-uri sqlite:////c.db"


def test_a_server_shows_its_runs_itself():
    assert mlflow_ui("http://mlflow:5000") == "http://mlflow:5000"


def test_documentation_speaks_of_the_program_as_it_was_started(program):
    doc = f"Inspects.\n\n    {PROGRAM} inspect SHARDS\n\nNot in the text: {PROGRAM} inspect."
    assert spoken(doc) == f"Inspects.\n\n    ../bin/{PROGRAM} inspect SHARDS\n\nNot in the text: {PROGRAM} inspect."
    assert spoken(None) == ""


def test_steps_stand_on_lines_of_their_own():
    assert next_steps("one", "two") == "\nnext:\n  one\n  two"
