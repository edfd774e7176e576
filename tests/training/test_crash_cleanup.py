"""What a crash leaves behind: a snapshot that was cut off, checkpoints that count for nothing."""

import json

from pipeline.training.crash_cleanup import COPY, SNAPSHOT, KeepCopy, tidy


def lay(folder, snapshot: str, *checkpoints: str) -> None:
    (folder / SNAPSHOT).write_text(snapshot)
    for name in checkpoints:
        (folder / name).mkdir()
        (folder / name / "model.pt").write_bytes(b"x")


def counted(*names: str) -> str:
    results = [{"checkpoint_dir_name": name, "metrics": {}} for name in names]
    return json.dumps({"checkpoint_results": results, "latest_checkpoint_result": results[-1]})


def test_a_snapshot_that_was_cut_off_is_restored_from_its_copy(tmp_path):
    whole = counted("checkpoint_1")
    lay(tmp_path, whole, "checkpoint_1", "checkpoint_2")
    KeepCopy(str(tmp_path)).after_report(None, [], None)
    (tmp_path / SNAPSHOT).write_text(whole[:20])
    tidy(str(tmp_path))
    assert json.loads((tmp_path / SNAPSHOT).read_text()) == json.loads(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["checkpoint_1", SNAPSHOT, COPY])


def test_a_snapshot_that_is_cut_off_leaves_the_older_copy(tmp_path):
    whole = counted("checkpoint_1")
    for text in (whole, whole[:20]):
        lay(tmp_path, text)
        KeepCopy(str(tmp_path)).after_report(None, [], None)
    assert json.loads((tmp_path / COPY).read_text()) == json.loads(whole)


def test_uploads_that_broke_off_are_deleted_and_the_others_stay(tmp_path):
    lay(tmp_path, counted("checkpoint_1", "checkpoint_3"), "checkpoint_1", "checkpoint_2", "checkpoint_3", "mine")
    tidy(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint_1", "checkpoint_3", SNAPSHOT, "mine"]


def test_without_any_readable_snapshot_nothing_is_deleted(tmp_path):
    lay(tmp_path, "{", "checkpoint_1")
    tidy(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_1"]
    tidy(str(tmp_path / "none"))
