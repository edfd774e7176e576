"""From archives, addresses and a second try elsewhere to the same shards as from local files, through Ray."""

import csv
import io
import re
import tarfile
import threading
from pathlib import Path

import pytest

from pipeline.command_line import override
from pipeline.config import Config
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.run import ingest
from pipeline.shards import Verification, read_clips, verify
from tests.ingest.fetch.server import FileServer, status
from tests.ingest.videos import make_video

pytestmark = pytest.mark.ray

CLIPS = {
    "armwrestle_": "arm_wrestling.mp4", "activitynet": "v_ZNVhz7ctTq0.mp4", "tenbit_hevc": "h265_10bit.mp4",
    "cricket_gif": "cricket_rgb.gif", "av1_no_head": "av1.mkv",
}  # fmt: skip
FAST = {
    "ingest.short_side": "48", "ingest.flow.nscales": "1", "ingest.flow.warps": "1", "ingest.flow.epsilon": "0.5",
    "clips.crop": "48", "ingest.flow.backend": "cpu", "ingest.max_failed": "0.4",
}  # fmt: skip


def silent(line: str) -> None:
    """Progress of a test goes nowhere."""


@pytest.fixture(scope="module")
def listed(cluster, clips_dir, tmp_path_factory) -> tuple[Path, Config]:
    """Five real clips under Kinetics names, their list, and one more line whose video is nowhere."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "videos").mkdir()
    for youtube_id, name in CLIPS.items():
        target = folder / "videos" / f"{youtube_id}_000010_000020.mp4"  # whatever it holds: content decides
        target.write_bytes((clips_dir / name).read_bytes())
    with (folder / "val.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["label", "youtube_id", "time_start", "time_end", "split", "is_cc"])
        lines.writerows([f"class {n % 2}", youtube_id, 10, 20, "validate", 0] for n, youtube_id in enumerate(CLIPS))
        lines.writerow(["class 0", "nowhere____", 10, 20, "validate", 0])
    config = override(
        Config(), {"storage": str(folder), "catalog.annotations.val": str(folder / "val.csv"), **FAST}
    ).resolved()
    return folder, config


@pytest.fixture(scope="module")
def from_files(listed) -> dict[str, dict]:
    """What local files give: youtube id to row."""
    folder, config = listed
    config = override(config, {"catalog.videos": str(folder / "videos"), "ingest.shards": str(folder / "local")})
    ingest(config, configured_catalog(config), silent)
    return rows_of(config)


def rows_of(config: Config) -> dict[str, dict]:
    rows = [
        *read_clips(config.ingest.shards).to_pylist(),
        *read_clips(config.ingest.shards, status="failed").to_pylist(),
    ]
    return {row["clip_id"].split(".")[1]: row for row in rows}


def same(one: dict[str, dict], other: dict[str, dict], failed: str) -> None:
    """The same clips with the same bytes, but for the one that is nowhere, which failed for a reason of its own."""
    columns = ["clip_id", "video_sha256", "flow_sha256", "packets_sha256", "source_sha256", "num_frames"]
    assert {name: [row[c] for c in columns] for name, row in one.items()} == {
        name: [row[c] for c in columns] for name, row in other.items()
    }
    assert other["nowhere____"]["error_class"] == failed


def archive(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_archives_with_a_replacement_give_the_shards_of_local_files(listed, from_files):
    folder, config = listed
    tars = folder / "tars"
    tars.mkdir()
    contents = {f"val/{path.name}": path.read_bytes() for path in sorted((folder / "videos").iterdir())}
    names = list(contents)
    damaged = {**contents, names[0]: contents[names[0]][:1000], "val/stranger123_000001_000011.mp4": b"x" * 5000}
    archive(tars / "part_0.tar.gz", {name: damaged[name] for name in [*names[:3], "val/stranger123_000001_000011.mp4"]})
    archive(tars / "part_1.tar.gz", {name: damaged[name] for name in names[3:]})
    archive(folder / "replacement.tgz", {f"fixed/{Path(names[0]).name}": contents[names[0]]})
    archives = {"catalog.archives.val": str(tars), "catalog.archives.replacements": str(folder / "replacement.tgz")}
    config = override(config, {**archives, "ingest.shards": str(folder / "archived")})
    ingest(config, configured_catalog(config), silent)
    rows = rows_of(config)
    same(from_files, rows, "TarMemberMissing")
    sources = {name: row["source"] for name, row in rows.items()}
    first = Path(names[0]).name.split("_0000")[0]
    assert sources[first] == f"{folder}/replacement.tgz#fixed/{Path(names[0]).name}"
    assert verify(config.ingest.shards) == Verification(5, [])


def test_an_address_of_files_gives_the_same_and_what_is_not_there_is_said(listed, from_files):
    folder, config = listed
    with FileServer() as server:
        for path in (folder / "videos").iterdir():
            server.put(f"/k400/{path.name}", path.read_bytes())
        server.put("/k400/nowhere_____000010_000020.mp4", b"", status(404))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        changes = {"catalog.videos": f"{server.base}/k400", "ingest.shards": str(folder / "addressed")}
        config = override(config, changes)
        ingest(config, configured_catalog(config), silent)
        server.shutdown()
    same(from_files, rows_of(config), "FileNotFound")


def test_what_no_archive_holds_may_be_had_from_elsewhere(listed, from_files):
    """The archives' one clip first; then, by --retry, the rest from files: in the end the same shards."""
    folder, config = listed
    first = next(iter(sorted((folder / "videos").iterdir())))
    archive(folder / "one.tar.gz", {first.name: first.read_bytes()})
    config = override(config, {"ingest.shards": str(folder / "mixed"), "ingest.max_failed": "1.0"})
    archived = override(config, {"catalog.archives.val": str(folder / "one.tar.gz")})
    counts = ingest(archived, configured_catalog(archived), silent)["splits"]["val"]
    assert (counts["present"], counts["failed"]) == (1, {"TarMemberMissing": 5})
    retried = override(config, {"catalog.videos": str(folder / "videos"), "retry": "TarMemberMissing"})
    ingest(retried, configured_catalog(retried), silent)
    same(from_files, rows_of(config), "FileNotFound")


def test_sidecars_and_copies_within_and_between_archives_give_one_result_a_clip(cluster, clips_dir, tmp_path):
    """WebDataset archives, with clips twice in one and in two: good beats broken, and the first good one counts."""
    good = [make_video(tmp_path / f"{n}.mp4", frames=8 + n, size=(64, 48)).read_bytes() for n in range(3)]
    names = {youtube_id: f"{youtube_id}_000010_000020" for youtube_id in (f"clip_______{n}"[-11:] for n in range(6))}
    a, b, c, d, e, f = names.values()

    def beside(stem: str) -> list[tuple[str, bytes]]:
        return [(f"{stem}.json", b'{"caption": "a"}'), (f"{stem}.txt", b"a"), (f"{stem}.srt", b"1")]

    lists = {
        "first.tar": [
            *beside(a), (f"{a}.mp4", good[0]), *beside(a),  # sidecars before and behind
            (f"{b}.mp4", good[1][:300]), *beside(b), (f"{b}.mp4", good[1]), (f"{b}.mp4", good[2]),
            (f"{c}.mp4", good[0]), (f"{c}.mp4", b"no video"),  # broken behind good
            (f"{d}.mp4", b""), (f"{e}.mp4", b"no video"), *beside(f),
        ],
        "second.tar": [
            (f"{a}.mp4", good[2]), (f"{b}.avi", good[0]), (f"{c}.mp4", good[1]), (f"{d}.MP4", good[2]),
            (f"{e}.mp4", good[1][:300]),
        ],
        "replacement.tar": [(f"{c}.mp4", good[2]), (f"{a}.mp4", b"no video")],
    }  # fmt: skip
    for name, members in lists.items():
        with tarfile.open(tmp_path / name, "w") as tar:
            for member, content in members:
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    (tmp_path / "list.txt").write_text("first.tar\nsecond.tar\n")
    rows = "".join(f"class {number % 2},{name},10,20,validate,0\n" for number, name in enumerate(names))
    (tmp_path / "val.csv").write_text(f"label,youtube_id,time_start,time_end,split,is_cc\n{rows}")
    changes = {
        "storage": str(tmp_path), "catalog.annotations.val": str(tmp_path / "val.csv"), "ingest.streams": "rgb",
        "model.streams": "rgb", "catalog.archives.val": str(tmp_path / "list.txt"), "ingest.max_failed": "1.0",
        "catalog.archives.replacements": str(tmp_path / "replacement.tar"), "ingest.shards": str(tmp_path / "shards"),
    }  # fmt: skip
    config = override(Config(), {**FAST, **changes}).resolved()
    lines: list[str] = []
    ingest(config, configured_catalog(config), lines.append)
    found = rows_of(config)
    sources = {names[name]: row["source"].rpartition("/")[2] for name, row in found.items()}
    assert sources == {
        a: f"first.tar#{a}.mp4", b: f"first.tar#{b}.mp4", c: f"replacement.tar#{c}.mp4", d: f"second.tar#{d}.MP4",
        e: f"first.tar#{e}.mp4", f: f"list.txt#{f}",
    }  # fmt: skip
    frames = {names[name]: row["num_frames"] for name, row in found.items()}
    assert frames == {a: 8, b: 9, c: 10, d: 10, e: None, f: None}
    errors = {names[name]: row["error_class"] for name, row in found.items() if row["error_class"]}
    assert errors == {e: "NotAVideo", f: "TarMemberMissing"}
    shares = [int(share) for line in lines for share in re.findall(r"\((\d+) %\)", line)]
    assert max(shares) == 100
    assert any(line.startswith("ingest 6/6 (100 %)") for line in lines)
    assert verify(config.ingest.shards) == Verification(4, [])


def test_a_broken_archive_costs_only_what_it_held(listed, from_files):
    folder, config = listed
    names = sorted(path.name for path in (folder / "videos").iterdir())
    contents = {name: (folder / "videos" / name).read_bytes() for name in names}
    archive(folder / "whole.tar.gz", {name: contents[name] for name in names[:4]})
    archive(folder / "cut.tar.gz", {name: contents[name] for name in names[4:]})
    cut = (folder / "cut.tar.gz").read_bytes()
    (folder / "cut.tar.gz").write_bytes(cut[: len(cut) // 2])
    (folder / "list.txt").write_text("whole.tar.gz\ncut.tar.gz\n")
    config = override(
        config, {"ingest.shards": str(folder / "broken"), "catalog.archives.val": str(folder / "list.txt")}
    )
    counts = ingest(config, configured_catalog(config), silent)["splits"]["val"]
    assert (counts["present"], counts["failed"]) == (4, {"ArchiveBroken": 2})
    message = rows_of(config)["nowhere____"]["error_message"]
    assert "cut.tar.gz" in message


def test_a_broken_archive_does_not_explain_what_another_splits_archive_lacks(listed):
    folder, config = listed
    contents = {path.name: path.read_bytes() for path in sorted((folder / "videos").iterdir())}
    archive(folder / "val.tar.gz", contents)
    (folder / "train.tar.gz").write_bytes((folder / "val.tar.gz").read_bytes()[:1000])
    (folder / "train.csv").write_text(
        "label,youtube_id,time_start,time_end,split,is_cc\nclass 0,elsewhere__,10,20,train,0\n"
    )
    config = override(
        config,
        {
            "ingest.shards": str(folder / "two"),
            "ingest.max_failed": "1.0",
            "catalog.annotations.train": str(folder / "train.csv"),
            "catalog.archives.train": str(folder / "train.tar.gz"),
            "catalog.archives.val": str(folder / "val.tar.gz"),
        },
    )
    splits = ingest(config, configured_catalog(config), silent)["splits"]
    assert splits["train"]["failed"] == {"ArchiveBroken": 1}
    assert splits["val"]["failed"] == {"TarMemberMissing": 1}
