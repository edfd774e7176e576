"""Pictures are drawn from any history, or matrix."""

import io

import numpy as np
import pytest

from pipeline.figures import charts as figures


def png(figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer)
    return buffer.getvalue()


def test_curves_show_both_parts_and_where_the_rate_fell():
    history = [
        {"train/loss": 2.0, "val/loss": 2.1, "train/top1": 0.1, "val/top1": 0.12, "lr": 0.1},
        {"train/loss": 1.0, "val/loss": 1.1, "train/top1": 0.5, "val/top1": 0.4, "lr": 0.1},
        {"train/loss": 0.9, "val/loss": 1.0, "train/top1": 0.6, "val/top1": 0.5, "lr": 0.01},
    ]
    figure = figures.curves(history, "i3d, flow")
    loss, top1 = figure.axes
    assert [line.get_label() for line in loss.lines[:2]] == ["train", "val"]
    assert list(top1.lines[1].get_ydata()) == [12, 40, 50]
    assert [line.get_xdata()[0] for line in loss.lines[2:]] == [2.5]
    assert png(figure).startswith(b"\x89PNG")


def test_a_rate_that_always_falls_has_no_lines():
    row = {"train/loss": 2.0, "val/loss": 2.1, "train/top1": 0.1, "val/top1": 0.12}
    figure = figures.curves([{**row, "lr": lr} for lr in (0.1, 0.09, 0.07, 0.04, 0.01)], "cosine")
    assert [len(axes.lines) for axes in figure.axes] == [2, 2]
    assert figure.axes[0].get_xlabel() == "epoch"


@pytest.mark.parametrize("classes", [2, 8, 400])
def test_a_confusion_matrix_is_drawn_for_few_and_many_classes(classes):
    figure = figures.confusion(np.eye(classes, dtype=np.int64) * 3, [f"class {i}" for i in range(classes)], "flow")
    assert figure.axes[0].get_ylabel() == "true"
    assert len(figure.axes[0].texts) == (classes if classes <= 30 else 0)
    assert png(figure).startswith(b"\x89PNG")
