"""A node that does not see the videos costs no clip: it is named, and its clips are done elsewhere."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.command_line import override
from pipeline.config import Config, save
from pipeline.ingest.nodes import another, blind_nodes, named, node_id, sees
from tests.ingest.videos import make_video

SPLITS = {"train": 8, "val": 4}
KINDS = ("videos", "tars", "frames")
SMALL = {
    "ingest.short_side": "48", "ingest.streams": "rgb", "model.streams": "rgb", "clips.crop": "48",
    "ingest.max_failed": "0",
}  # fmt: skip


@pytest.mark.ray
def test_a_node_that_sees_a_file_is_not_blind(cluster, tmp_path):
    (tmp_path / "a.mp4").touch()
    assert blind_nodes(str(tmp_path / "a.mp4"), 1) == []
    assert blind_nodes(str(tmp_path / "nowhere.mp4"), 1) == []  # it is nowhere, so no node is to blame
    assert sees(f"frames:25:1:3:{tmp_path}")
    assert not sees(f"frames:25:1:3:{tmp_path}/nowhere")
    here = node_id()
    assert here is not None
    assert here[:12] in named(here)
    assert another([], 1) == here
    assert another([here], 1) is None


@pytest.mark.ray
@pytest.mark.slow
def test_the_run_stops_with_the_name_of_a_node_that_does_not_see_the_videos(tmp_path):
    """Two real nodes; in the second one's mount namespace, the folders of videos, archives and frames are empty."""
    can = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", tmp_path], capture_output=True, check=False)
    if can.returncode:
        pytest.skip(f"needs the right to a mount namespace: {can.stderr.decode().strip()}")
    command = [sys.executable, "-m", "tests.ingest.blind_node", tmp_path]
    for kind in KINDS:
        named = {"ingest.shards": str(tmp_path / f"{kind}-shards"), **SMALL, **catalog(tmp_path, kind)}
        save(override(Config(), {"storage": str(tmp_path / "storage"), **named}).resolved(), tmp_path / f"{kind}.yaml")
        command.append(f"{kind}={tmp_path / kind}.yaml")
    several = {**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}  # `pipeline.cluster` says no for its own
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, env=several)
    assert done.returncode == 0, done.stderr[-4000:]
    result = json.loads((tmp_path / "result.json").read_text())
    for kind in KINDS:
        message = result[kind]["message"]
        assert f"{tmp_path}/{kind}/" in message
        assert f"node id {result['blind'][:12]}); mount its folder there" in message
        assert result["seeing"][:12] not in message
        assert set(result[kind]["staged"]) <= {"ok"}  # no failure is booked
        assert {split: (facts["present"], facts["failed"]) for split, facts in result[kind]["splits"].items()} == {
            "train": (8, {}), "val": (4, {}),
        }  # fmt: skip
    assert result["videos"]["staged"]  # what the blind node did not find was done by the other


def catalog(folder: Path, kind: str) -> dict[str, str]:
    """Twelve clips, as files, in an archive each, or as folders of JPEGs, and the flags that name them."""
    names = {split: [f"{split:_<9}{n:02d}" for n in range(count)] for split, count in SPLITS.items()}
    (folder / kind).mkdir()
    flags = {"catalog.dataset": "rawframes"} if kind == "frames" else {}
    for split, ids in names.items():
        head = "" if kind == "frames" else "label,youtube_id,time_start,time_end,split\n"
        line = "{name} 4 {label}\n" if kind == "frames" else "class {label},{name},0,1,{split}\n"
        rows = [line.format(name=name, label=n % 2, split=split) for n, name in enumerate(ids)]
        (folder / f"{kind}-{split}.csv").write_text(head + "".join(rows))
        flags[f"catalog.annotations.{split}"] = str(folder / f"{kind}-{split}.csv")
        for n, name in enumerate(ids):
            if kind == "frames":
                (folder / kind / name).mkdir()
                for number in range(1, 5):
                    picture = np.full((48, 64, 3), 9 * n + 90 * (split == "val") + number, np.uint8)
                    cv2.imwrite(str(folder / kind / name / f"img_{number:05d}.jpg"), picture)
                continue
            path = make_video(folder / f"{name}_000000_000001.mp4", frames=4 + n + 20 * (split == "val"))
            if kind == "videos":
                path.rename(folder / kind / path.name)
            else:
                with tarfile.open(folder / kind / f"{split}{n}.tar", "w") as tar:
                    tar.add(path, path.name)
        if kind == "tars":
            flags[f"catalog.archives.{split}"] = str(folder / kind)
    return flags if kind == "tars" else {**flags, "catalog.videos": str(folder / kind)}
