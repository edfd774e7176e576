"""Who ran what: from a checkout, from Ray's copy of it, and below another run."""

import json
import subprocess
from pathlib import Path

from pipeline.tracking.runs import tracked_run
from pipeline.tracking.source import code_digest, command_words, commit, source_tags


def test_the_commit_is_that_of_the_code_and_not_of_a_repository_around_it(tmp_path):
    file = tmp_path / "file.py"
    file.write_text("a")
    assert commit(file) == ""

    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", "-C", tmp_path, *who, *words], check=True, capture_output=True, text=True).stdout

    git("init")
    git("commit", "--allow-empty", "-m", "of somebody else")
    assert commit(file) == ""
    git("add", "file.py")
    git("commit", "-m", "first")
    head = git("rev-parse", "HEAD").strip()
    assert commit(file) == head
    file.write_text("b")
    assert commit(file) == f"{head}-dirty"


def test_without_a_repository_the_commit_is_what_was_told_or_what_the_image_says(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_RUN_CONTEXT", raising=False)
    (tmp_path / "commit.txt").write_text("of the image\n")
    assert commit(tmp_path / "__init__.py") == "of the image"
    monkeypatch.setenv("MLFLOW_RUN_CONTEXT", json.dumps({"mlflow.source.git.commit": "of the submitter"}))
    assert commit(tmp_path / "__init__.py") == "of the submitter"


def test_the_digest_follows_the_code_wherever_it_lies(tmp_path):
    for name, text in (("a/x.py", "1"), ("b/x.py", "1"), ("c/x.py", "2"), ("d/y.py", "1")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    a, b, c, d = (code_digest(tmp_path / folder) for folder in "abcd")
    assert a == b
    assert len({a, c, d}) == 3


def test_a_command_is_shown_as_it_would_be_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command_words([str(tmp_path / "jobs" / "a.py"), "--x"]) == ["python", "jobs/a.py", "--x"]
    assert command_words(["jobs/a.py"]) == ["python", "jobs/a.py"]
    assert command_words(["/venv/bin/video-train", "--x"]) == ["video-train", "--x"]


def test_a_submitted_job_says_so_and_what_its_submitter_knew_is_believed(monkeypatch):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"metadata": {"job_submission_id": "raysubmit_1"}}))
    monkeypatch.setenv("MLFLOW_RUN_CONTEXT", json.dumps({"mlflow.user": "ada"}))
    tags = source_tags(["jobs/pretrain_kinetics.py", "--recipe", "demo", "--name", "a b"])
    assert tags["mlflow.source.type"] == "JOB"
    assert tags["mlflow.source.name"] == "jobs/pretrain_kinetics.py"
    assert tags["command"] == "python jobs/pretrain_kinetics.py --recipe demo --name 'a b'"
    assert (tags["mlflow.user"], tags["ray_job"]) == ("ada", "raysubmit_1")
    monkeypatch.setenv("MLFLOW_RUN_CONTEXT", "not JSON")
    assert source_tags(["a.py"])["mlflow.user"]


def test_a_run_says_who_ran_what_and_hands_it_down_without_a_password(uri, monkeypatch, tmp_path):
    words = ["jobs/sweep.py", "--base.tracking.uri", "http://me:s3cret@host"]
    monkeypatch.setattr("sys.argv", words)
    with tracked_run(uri, "source", "parent", artifacts=str(tmp_path)) as parent:
        monkeypatch.setattr("sys.argv", ["default_worker.py"])
        with tracked_run(uri, "source", "child", parent=parent) as child:
            child.log_config({"tracking": {"uri": words[2]}})
            child.log_text("note.txt", f"see {words[2]}")
    for run in (parent, child):
        tags = run.client.get_run(run.run_id).data.tags
        assert tags["command"] == "python jobs/sweep.py --base.tracking.uri http://***@host"
        assert tags["mlflow.source.name"] == "jobs/sweep.py"
        assert tags["code_digest"] == code_digest()
        assert tags["mlflow.user"]
    assert child.client.get_run(child.run_id).data.params["tracking.uri"] == "http://***@host"
    for name in ("config.yaml", "note.txt"):
        assert "http://***@host" in Path(child.client.download_artifacts(child.run_id, name)).read_text()
