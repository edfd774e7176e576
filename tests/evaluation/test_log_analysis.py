"""What a test leaves in its run: numbers in any case, pictures where they can be drawn, and a description."""

import numpy as np
from PIL import Image

from pipeline.config import Config
from pipeline.evaluation.log_analysis import log_figures, log_scores
from pipeline.evaluation.scores import Scores
from pipeline.registry.descriptions import data_line, result_line, training_note
from pipeline.tracking.notes import set_note
from pipeline.tracking.runs import tracked_run
from pipeline.training.trainer import Trained

MANIFEST = {
    "dataset": "k", "digest": "0123", "splits": {split: {"present": 4} for split in ("train", "val", "test")},
}  # fmt: skip


def test_numbers_are_whole_and_a_picture_that_cannot_be_drawn_is_a_line(tmp_path, capfd):
    labels = ("$\\x$", "b" * 20_000, "=c")  # a formula that matplotlib cannot read; one for spreadsheets
    logits = {name: np.eye(4, 3, k, np.float32) for k, name in enumerate(("rgb", "flow"))}
    scores = Scores("test", "0123", 0, labels, np.array(list("pqrs")), np.array([0, 1, 2, 0]), logits, "i3d")
    config = Config(name="mine", storage="/data", recipe="demo")
    data = data_line(config, MANIFEST)
    with tracked_run(f"sqlite:///{tmp_path}/mlflow.db", "e", "a", artifacts=str(tmp_path / "artifacts")) as run:
        set_note(run, training_note(config, "k", data))
        worth = log_scores(run, scores, dataset="k")
        set_note(run, training_note(config, "k", data, worth, "3"))
        folder = tmp_path / "artifacts" / run.run_id / "artifacts" / "test" / "flow"
        (folder / "confusion.png").symlink_to(tmp_path / "gone" / "confusion.png")  # which cannot be written
        log_figures(run, scores, worth)
        best = {"val/top1": 0.5, "val/clips": 4.0, "val/loss": 1.0}
        with tracked_run(run.uri, "e", "b", parent=run) as child:
            set_note(child, [data, result_line(Trained("rgb", "/data/0", best, [best]), "val")])
    stored = run.client.get_run(run.run_id)
    assert stored.info.status == "FINISHED"
    assert (stored.data.metrics["test/rgb_top1"], stored.data.metrics["test/clips"]) == (1.0, 4)
    assert {metric.step for metric in run.client.get_metric_history(run.run_id, "test/rgb_top1")} == {0}
    pictures = {f"{kind}.png" for kind in ("classes", "confusion", "reliability")}
    for name in ("rgb", "flow", "two_stream"):
        files = {path.name for path in (folder.parent / name).iterdir()}
        assert files == {"classes.csv", "hardest_pairs.csv"} | pictures
        for picture in pictures if name != "flow" else pictures - {"confusion.png"}:
            assert max(Image.open(folder.parent / name / picture).size) < 3000
    table = (folder.parent / "rgb" / "classes.csv").read_text().splitlines()
    assert table[1].startswith("$\\x$,")
    assert table[3].startswith("'=c,")
    (warned,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert warned.startswith("warning: test/flow/confusion.png is left out, the run goes on without it: ")
    note = stored.data.tags["mlflow.note.content"]
    assert "recipe `demo`. Test, top-1: **rgb 100.0 %, flow " in note.splitlines()[0]
    assert "| rgb | 100.0 | 100.0 | 4 |" in note
    assert "python jobs/predict.py VIDEO --model models:/video-i3d-two-stream/3" in note
    assert (
        "After 1 epoch the checkpoint that is kept, `/data/0`, has 50.0 % of 4 clips"
        in (child.client.get_run(child.run_id).data.tags["mlflow.note.content"])
    )
