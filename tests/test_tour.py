"""The tour in pipeline/README.md is run, page by page, so that it stays true."""

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from pipeline.config import Config
from pipeline.models import create_model

TOUR = Path(__file__).parents[1] / "pipeline" / "README.md"


@pytest.mark.ray
def test_the_tour_can_be_walked(shards: Config, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(create_model("i3d", num_classes=400).state_dict(), "weights.pt")
    video = next(Path(shards.catalog.videos).rglob("*.mp4"))
    known = {"VIDEO": str(video), "WEIGHTS": "weights.pt", "SHARDS": shards.ingest.shards}
    blocks = re.findall(r"^```python\n(.*?)^```", TOUR.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        exec(block, known)  # noqa: S102  our own page
    assert Image.open("flow.png").size == (800, 320)
    assert known["logits"].shape == (1, 400)
    assert known["clip"].shape[:1] == known["motion"].shape[:1] == (4,)
    assert len(known["actions"].labels) == 3
    assert "16 clips of 8 classes, digest" in capsys.readouterr().out
