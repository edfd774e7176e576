"""Ingest on a Ray cluster: every fault its own row, killed and resumed, nothing lost or counted twice."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import ray

from pipeline.command_line import override
from pipeline.config import Config, IngestConfig, save
from pipeline.ingest import product
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.folder_lock import only_ingest
from pipeline.ingest.run import IngestError, LostClipsError, ingest
from pipeline.shards import ShardError, Verification, read_clips, read_manifest, verify
from tests.forked_workers import JOB

pytestmark = pytest.mark.ray


def silent(line: str) -> None:
    """Progress of a test goes nowhere."""


def make_kinetics(folder: Path, clips_dir: Path) -> Config:
    """A Kinetics list over real and broken files: one CSV, seven good and five bad rows."""
    videos = folder / "videos"
    videos.mkdir(parents=True)
    good = {
        "armwrestle_": "arm_wrestling.mp4", "pancakeflip": "flipping_a_pancake.mkv", "activitynet": "v_ZNVhz7ctTq0.mp4",
        "static_avi_": "mpeg4_320x240.avi", "tenbit_hevc": "h265_10bit.mp4", "cricket_gif": "cricket_rgb.gif",
        "av1_no_head": "av1.mkv",
    }  # fmt: skip
    for youtube_id, name in good.items():
        (videos / f"{youtube_id}_000010_000020{Path(name).suffix}").write_bytes((clips_dir / name).read_bytes())
    (videos / "corrupted__000010_000020.mp4").write_bytes((clips_dir / "corrupted.mp4").read_bytes())
    (videos / "emptyempty_000010_000020.mp4").touch()
    (videos / "texttextte_000010_000020.mp4").write_text("not a video\n" * 100)
    rows = [f"class {index % 2},{youtube_id},10,20,train,0" for index, youtube_id in enumerate(good)]
    rows += [
        "class 0,corrupted_,10,20,train,0",
        "class 0,emptyempty,10,20,train,0",
        "class 1,texttextte,10,20,train,0",
        "class 1,missingmis,10,20,train,0",
        "class 1,armwrestle_,20,10,train,0",
    ]
    (folder / "train.csv").write_text("label,youtube_id,time_start,time_end,split,is_cc\n" + "\n".join(rows) + "\n")
    return override(
        Config(),
        {
            "storage": str(folder / "storage"),
            "catalog.annotations.train": str(folder / "train.csv"),
            "catalog.videos": str(videos),
            "ingest.short_side": "64",
            "ingest.flow.nscales": "2",
            "ingest.flow.warps": "1",
            "ingest.flow.epsilon": "0.5",
            "ingest.flow.innerIterations": "5",
            "ingest.flow.outerIterations": "2",
            "ingest.max_failed": "0.5",
            "clips.crop": "56",
        },
    ).resolved()


@pytest.fixture(scope="module")
def kinetics(cluster, clips_dir, tmp_path_factory) -> Config:
    """Real clips in shards."""
    config = make_kinetics(tmp_path_factory.mktemp("kinetics"), clips_dir)
    ingest(config, configured_catalog(config), silent)
    return config


def test_every_bad_clip_has_its_own_error_and_costs_no_other(kinetics):
    failed = {
        row["clip_id"].split(".")[1]: row for row in read_clips(kinetics.ingest.shards, status="failed").to_pylist()
    }
    classes = {youtube_id: row["error_class"] for youtube_id, row in failed.items()}
    assert classes.pop("corrupted_") == "DecodeError"
    assert classes.pop("emptyempty") == "ZeroByte"
    assert classes.pop("texttextte") == "NotAVideo"
    assert classes.pop("missingmis") == "FileNotFound"
    assert list(classes.values()) == ["BadTimes"]
    assert all(row["error_message"] for row in failed.values())
    counts = read_manifest(kinetics.ingest.shards)["splits"]["train"]
    assert (counts["expected"], counts["present"]) == (12, 7)
    assert counts["failed"] == {"BadTimes": 1, "DecodeError": 1, "FileNotFound": 1, "NotAVideo": 1, "ZeroByte": 1}


def test_the_good_clips_have_their_frames_and_flow(kinetics):
    rows = {row["clip_id"].split(".")[1]: row for row in read_clips(kinetics.ingest.shards).to_pylist()}
    frames = {youtube_id: row["num_frames"] for youtube_id, row in rows.items()}
    assert frames == {
        "armwrestle_": 250, "pancakeflip": 258, "activitynet": 350, "static_avi_": 164, "tenbit_hevc": 25,
        "cricket_gif": 79, "av1_no_head": 125,
    }  # fmt: skip
    assert all(row["num_flow"] == row["num_frames"] - 1 for row in rows.values())
    assert all(
        row["video_psnr"] >= 36 and row["fps"] == 25 and min(row["height"], row["width"]) == 64 for row in rows.values()
    )
    assert verify(kinetics.ingest.shards, write=silent) == Verification(7, [])


def test_the_folder_reads_as_one_table_of_clips(kinetics):
    assert pq.read_table(kinetics.ingest.shards, columns=["clip_id"]).num_rows == 7
    assert not list(Path(kinetics.ingest.shards).glob("_staging*"))
    assert not list(Path(kinetics.ingest.shards).glob("*.tmp"))


def test_a_second_ingest_has_nothing_to_do(kinetics):
    before = {path: path.stat().st_mtime_ns for path in Path(kinetics.ingest.shards).iterdir()}
    manifest = ingest(kinetics, configured_catalog(kinetics), silent)
    assert manifest == read_manifest(kinetics.ingest.shards)
    assert {path: path.stat().st_mtime_ns for path in Path(kinetics.ingest.shards).iterdir()} == before


def test_another_setting_into_the_same_folder_is_refused(kinetics):
    with pytest.raises(IngestError, match=r"made with settings\.crf = 20, now asked for 23; give another"):
        ingest(override(kinetics, {"ingest.crf": "23"}), configured_catalog(kinetics), silent)


def test_a_run_that_lost_a_tenth_of_its_clips_ends_with_an_error(kinetics):
    """The set stays usable; the error counts the classes and says how to accept and how to try again."""
    assert IngestConfig().max_failed < 0.1
    careful = override(kinetics, {"ingest.max_failed": str(IngestConfig().max_failed)})
    says = (
        r"5 of 12 clips failed, more than ingest\.max_failed = 0\.05 allows: BadTimes 1, DecodeError 1, "
        r"FileNotFound 1, NotAVideo 1, ZeroByte 1; the set is complete with the other 7; "
        r"--ingest\.max_failed 0\.42 accepts it, --retry retryable tries again"
    )
    with pytest.raises(LostClipsError, match=says):
        ingest(careful, configured_catalog(careful), silent)
    assert read_clips(kinetics.ingest.shards).num_rows == 7
    accepted = override(kinetics, {"ingest.max_failed": "0.42"})
    assert ingest(accepted, configured_catalog(accepted), silent) == read_manifest(kinetics.ingest.shards)


@pytest.mark.slow
def test_the_exit_status_and_the_last_lines_say_that_clips_are_lost(kinetics, tmp_path):
    save(override(kinetics, {"ingest.max_failed": "0.05"}), tmp_path / "config.yaml")
    arguments = [*JOB, "jobs/ingest.py", "--config", str(tmp_path / "config.yaml")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {kinetics.ingest.shards}: 5 of 12 clips failed")
    assert "  1 ZeroByte (retryable)" in done.stdout.splitlines()  # the table of the finished set is printed first


def test_a_clip_is_one_call_so_that_what_is_made_of_it_never_becomes_a_block(shards, monkeypatch):
    plans = []
    iterate = ray.data.Dataset.iter_rows
    monkeypatch.setattr(ray.data.Dataset, "iter_rows", lambda self: (plans.append(self), iterate(self))[1])
    again = override(shards, {"storage": shards.storage + "/fused", "ingest.shards": shards.storage + "/fused/shards"})
    ingest(override(again, {"catalog.limit": "2"}), configured_catalog(override(again, {"catalog.limit": "2"})), silent)
    stats = plans[0].stats()
    assert "FlatMap(ingest_clips)" in stats, stats
    assert "Map(" not in stats.replace("FlatMap(", ""), stats


@pytest.mark.slow
def test_killed_at_any_time_it_ends_as_if_it_had_not_been(few, tmp_path):
    """A driver with a cluster of its own is killed with all its workers; the same command then ends its work."""
    arguments = _arguments(few, tmp_path)
    staging = tmp_path / "shards" / "_staging"
    job = subprocess.Popen(
        [*JOB, "jobs/ingest.py", *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    _wait(lambda: len(list(staging.rglob("*.parquet"))) >= 12, job)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    with pytest.raises(ShardError, match="ingest has not finished there"):
        read_clips(str(tmp_path / "shards"))
    (tmp_path / "shards" / f"_manifest.json.{'0' * 32}.tmp").touch()  # as a kill in the manifest's write leaves it
    done = subprocess.run([*JOB, "jobs/ingest.py", *arguments], capture_output=True, text=True, check=True)
    assert "done before" in done.stderr
    one, other = read_manifest(few.ingest.shards), read_manifest(str(tmp_path / "shards"))
    assert other["splits"] == one["splits"]  # every clip once
    columns = ["clip_id", "status", "error_message", "video_sha256", "flow_sha256"]
    clips = [read_clips(str(folder)).select(columns) for folder in (few.ingest.shards, tmp_path / "shards")]
    assert clips[1].to_pylist() == clips[0].to_pylist()  # the same bytes
    assert other["digest"] == one["digest"]
    names = {path.name for path in (tmp_path / "shards").iterdir()}
    assert names == {path.name for path in Path(few.ingest.shards).iterdir()}
    for name in names:
        if name.endswith(".parquet") and not name.startswith("_"):
            assert (tmp_path / "shards" / name).read_bytes() == (Path(few.ingest.shards) / name).read_bytes()


def test_a_second_ingest_into_the_same_folder_names_the_first(shards, tmp_path):
    config = override(shards, {"ingest.shards": str(tmp_path)})
    says = rf"works there: process {os.getpid()} on \S+, since"
    with only_ingest(str(tmp_path)), pytest.raises(IngestError, match=says):
        ingest(config, configured_catalog(config), silent)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_worker_killed_at_work_costs_nothing(shards, tmp_path):
    """Of the session's cluster, the first process that is seen at ingest is killed; Ray does its clips again."""
    config = override(shards, {"ingest.shards": str(tmp_path / "shards")})
    killed = []

    def kill() -> None:
        """Poll the processes, which is all that is seen of a worker from here."""
        while not killed:
            for process in psutil.Process().children(recursive=True):  # not of another cluster on this machine
                with contextlib.suppress(psutil.Error):
                    if not killed and _at_work(process.cmdline()):
                        process.kill()
                        killed.append(process.pid)
            time.sleep(0.02)

    monitored = threading.Thread(target=kill, daemon=True)
    monitored.start()
    manifest = ingest(config, configured_catalog(config), silent)
    killed.append(0)  # ends the thread
    monitored.join()
    assert killed[0], "the run ended before a worker was seen"
    assert manifest["digest"] == read_manifest(shards.ingest.shards)["digest"]
    assert verify(config.ingest.shards) == Verification(read_clips(shards.ingest.shards).num_rows, [])


@pytest.mark.slow
def test_a_clip_that_kills_its_worker_is_a_failed_row_and_costs_no_other(shards, tmp_path, monkeypatch):
    """The stage kills its process at one clip of a block of six; Ray repeats the block for as long as it is asked."""
    changes = {"ingest.shards": str(tmp_path / "shards"), "ingest.max_failed": "0.5", "catalog.limit": "8"}
    config = override(shards, changes)
    catalog, found = configured_catalog(config), ray.cluster_resources()
    monkeypatch.setattr(ray, "cluster_resources", lambda: {**found, "CPU": 1.0})
    bad, made = catalog["clip_id"][2].as_py(), product.make_convert

    def make_deadly(settings, compute):
        convert = made(settings, compute)

        def deadly(row):
            if row["clip_id"] == bad:
                with (tmp_path / "attempts").open("a") as file:
                    file.write("x")
                os.kill(os.getpid(), signal.SIGKILL)
            return convert(row)

        return deadly

    monkeypatch.setattr(product, "make_convert", make_deadly)
    manifest = ingest(config, catalog, silent)
    assert (tmp_path / "attempts").read_text() == "xx"
    (failed,) = read_clips(config.ingest.shards, status="failed").to_pylist()
    assert (failed["clip_id"], failed["error_class"]) == (bad, "WorkerKilled")
    assert "2 workers were killed at this clip" in failed["error_message"]
    assert sum(split["present"] for split in manifest["splits"].values()) == len(catalog) - 1
    columns, ids = ["clip_id", "video_sha256", "flow_sha256"], set(catalog["clip_id"].to_pylist())
    expected = [row for row in read_clips(shards.ingest.shards).select(columns).to_pylist() if row["clip_id"] in ids]
    stored = read_clips(config.ingest.shards).select(columns).to_pylist()
    assert stored == [row for row in expected if row["clip_id"] != bad]
    assert not (tmp_path / "shards" / "_staging").exists()
    monkeypatch.setattr(product, "make_convert", made)
    ingest(replace(config, retry=("WorkerKilled",)), catalog, silent)
    assert read_clips(config.ingest.shards).select(columns).to_pylist() == expected


def _at_work(command: list[str] | None) -> bool:
    return bool(command) and command[0].startswith("ray::") and "ingest_clips" in command[0]


def _arguments(config: Config, folder: Path) -> list[str]:
    again = override(config, {"storage": str(folder), "ingest.shards": str(folder / "shards")})
    save(again, folder / "config.yaml")
    return ["--config", str(folder / "config.yaml")]


def _wait(reached, job: subprocess.Popen, seconds: float = 120) -> None:
    """Poll the file system, which is what the killed process leaves behind."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert job.poll() is None, "the job ended before it could be killed"
        assert time.monotonic() < deadline, "the job made no progress"
        time.sleep(0.05)


def test_the_manifest_says_what_made_the_set(shards):
    manifest = json.loads((Path(shards.ingest.shards) / "_manifest.json").read_text())
    assert manifest["plan"]["settings"]["flow"]["nscales"] == 1
    assert manifest["splits"]["val"]["expected"] == 101
    assert len(manifest["labels"]) == 8
    rate = manifest["rate"]
    assert rate["clips"] == sum(split["expected"] for split in manifest["splits"].values())
    assert list(rate["stages"]) == ["decode", "flow", "encode"]
    assert rate["stages"]["decode"]["frames"] == sum(split["frames"] for split in manifest["splits"].values())
