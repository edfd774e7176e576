"""A plan adds up the catalog and does nothing."""

import pyarrow as pa
import pytest

from jobs.ingest import main
from pipeline.catalog import CATALOG_SCHEMA
from pipeline.command_line import override
from pipeline.config import Config
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.estimate import estimate
from pipeline.ingest.summary import planned

LINES = [
    "label,youtube_id,time_start,time_end,split,is_cc",
    "jump,abcdefghijk,3,13,train,0",
    "run,abcdefghijk,20,30,train,0",
]


@pytest.fixture
def listed(tmp_path):
    (tmp_path / "train.csv").write_text("\n".join([*LINES, "run,lmnopqrstuv,5,2,train,0"]) + "\n")
    return override(
        Config(), {"storage": str(tmp_path / "out"), "catalog.annotations.train": str(tmp_path / "train.csv")}
    ).resolved()


def test_a_list_alone_means_youtube_each_video_once(listed):
    plan = estimate(listed.ingest, configured_catalog(listed))
    assert (plan.clips, plan.bad, plan.sources) == ({"train": 3}, {"train": 1}, {"YouTube": 2})
    assert (plan.videos, plan.seconds, plan.youtube_hours) == (1, 20.0, 1 / 240)
    alone = override(listed, {"ingest.streams": "rgb", "model.streams": "rgb"})
    rgb = estimate(alone.ingest, configured_catalog(listed))
    assert rgb.flow_core_hours == 0
    assert rgb.stored_bytes < plan.stored_bytes


def test_flow_costs_what_the_backend_costs(listed):
    catalog = configured_catalog(listed)
    hours = {
        backend: estimate(override(listed, {"ingest.flow.backend": backend}).ingest, catalog).flow_core_hours
        for backend in ("cpu", "opencv", "cuda")
    }
    assert hours["opencv"] > 10 * hours["cpu"] > 0
    assert hours["cuda"] is None


def test_archives_and_addresses_are_told_apart(listed, tmp_path):
    archived = override(listed, {"catalog.archives.train": str(tmp_path / "list.txt")})
    assert estimate(archived.ingest, configured_catalog(archived)).sources == {"archive": 2}
    addressed = override(listed, {"catalog.videos": "https://example.org/k400"})
    catalog = configured_catalog(addressed)
    assert estimate(addressed.ingest, catalog).sources == {"address": 2}
    assert catalog["source"][0].as_py() == "https://example.org/k400/abcdefghijk_000003_000013.mp4"


def test_the_report_names_clips_bytes_hours_and_what_youtube_takes(listed):
    text = planned(listed.catalog, listed.ingest, estimate(listed.ingest, configured_catalog(listed)), cores=2)
    for words in (
        "nothing has been done",
        "this is an estimate, right to a factor of two",
        "2 YouTube",
        "1 videos, 240 an hour",
        "hours on 2 cores",
    ):
        assert words in text


def test_the_report_gives_the_reason_of_each_clip_that_cannot_be_used(listed, tmp_path):
    bad = [f"run,lmnopqrstu{number},5,2,train,0" for number in range(5)]
    (tmp_path / "train.csv").write_text("\n".join([*LINES, *bad, "run,abcdefghijk,3,13,train,0"]) + "\n")
    lines = planned(
        listed.catalog, listed.ingest, estimate(listed.ingest, configured_catalog(listed)), cores=2
    ).splitlines()
    said = [line for line in lines if line.startswith(("  unusable: ", "  ... and"))]
    assert said[0] == (
        f"  unusable: BadTimes: {tmp_path}/train.csv:4: time_end 2 is not after time_start 5 for 'lmnopqrstu0'; "
        "correct the times or remove the line"
    )
    assert [line.partition(": ")[2].partition(": ")[0] for line in said] == [*["BadTimes"] * 3, "", "DuplicateClip"]
    assert said[3] == "  ... and 2 more BadTimes"


def test_a_clip_without_times_is_as_long_as_its_id_says_or_as_long_as_usual(listed):
    names = ["k.a.3-13", "k.b.2.5-4.0", "k.c", "k.d.7-5", "folder.2019-2020"]
    rows = [
        dict.fromkeys(CATALOG_SCHEMA.names) | {"clip_id": n, "dataset": "k", "split": "train", "source": n}
        for n in names
    ]
    for seconds, row in zip([10.0, 1.5, 10.0, 0.0, 10.0], rows, strict=True):
        assert estimate(listed.ingest, pa.Table.from_pylist([row], CATALOG_SCHEMA)).seconds == seconds
    timed = {**rows[0], "start_s": 1.0, "end_s": 4.5}
    assert estimate(listed.ingest, pa.Table.from_pylist([timed, *rows], CATALOG_SCHEMA)).seconds == 35.0


def test_of_many_files_some_are_asked_for_their_size_and_the_plan_says_so(listed, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.ingest.estimate.SAMPLED", 3)
    paths = [tmp_path / f"{number}.mp4" for number in range(9)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes(100 * number))
    rows = [
        dict.fromkeys(CATALOG_SCHEMA.names)
        | {"clip_id": f"k.{p.stem}", "dataset": "k", "split": "train", "source": str(p)}
        for p in [*paths, paths[0]]
    ]
    plan = estimate(listed.ingest, pa.Table.from_pylist(rows, CATALOG_SCHEMA))
    assert (plan.files, plan.measured, plan.fetched_bytes) == (9, 3, 9 * 400.0)
    assert "the sizes of 3 of 9 files" in planned(listed.catalog, listed.ingest, plan, cores=2)
    plan = estimate(listed.ingest, pa.Table.from_pylist(rows[:3], CATALOG_SCHEMA))
    assert (plan.files, plan.measured, plan.fetched_bytes) == (3, 3, 300.0)
    assert "the sizes of all of 3 files" in planned(listed.catalog, listed.ingest, plan, cores=2)


def test_the_job_says_what_the_lists_spell_differently(tmp_path, capsys):
    head = "label,youtube_id,time_start,time_end,split"
    (tmp_path / "train.csv").write_text(f"{head}\narm wrestling,abcdefghijk,3,13,train\n,abcdefghijm,3,13,train\n")
    (tmp_path / "val.csv").write_text(f"{head}\nArm_Wrestling,abcdefghijl,3,13,val\n")
    lists = [f"--catalog.annotations.{split}={tmp_path}/{split}.csv" for split in ("train", "val")]
    main(["--plan", "--storage", str(tmp_path / "out"), *lists])
    said = capsys.readouterr().out
    assert "1 of 2 clips of 'train' have no label, such as kinetics400.abcdefghijm.3-13; a training needs" in said
    assert (
        "1 of the 1 classes of 'val' are not in 'train' (1 clip): 'Arm_Wrestling' (near 'arm wrestling')\n"
        "1 of the 1 classes of 'train' are not in 'val' (1 clip): 'arm wrestling' (near 'Arm_Wrestling')\n"
        "classes that differ in spelling alone count as different: 'Arm_Wrestling' and 'arm wrestling'\n"
    ) in said


def test_a_plan_of_motion_shapes_renders_none(tmp_path, capsys):
    main(["--plan", "--recipe", "demo", "--storage", str(tmp_path / "out")])
    assert "train" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_the_job_plans_and_does_nothing(listed, tmp_path, capsys):
    command = ["--plan", "--storage", str(tmp_path / "out")]
    main([*command, "--catalog.annotations.train", str(tmp_path / "train.csv")])
    assert "nothing has been done" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
