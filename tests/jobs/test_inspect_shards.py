"""The inspection job: a table, problems one a line, the card, and an exit status that a script can trust."""

import shutil
from pathlib import Path

import pytest

from pipeline.config import Config
from pipeline.next_command import command
from tests.jobs.test_jobs import job
from tests.shards.sets import make_set

inspect = job("inspect_shards").main


def test_help_shows_commands(capsys):
    with pytest.raises(SystemExit) as stopped:
        inspect(["--help"])
    assert stopped.value.code == 0
    assert "python jobs/inspect_shards.py" in capsys.readouterr().out


@pytest.mark.ray
def test_what_ingest_made_is_sound_and_has_its_card(shards: Config, tmp_path, capsys):
    card = tmp_path / "card.html"
    inspect([shards.ingest.shards, "--card", str(card), "--against", shards.ingest.shards])
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert "  125 clips verified, no problems" in lines
    assert any(line.split() == ["val", "101", "101", "0", "1212", "8"] for line in lines)
    assert f"videos shared with {shards.ingest.shards}: 125 pairs of clips" in lines
    assert f"  data card: {card}" in lines
    words = ("--recipe", "i3d_folder", "--ingest.shards", shards.ingest.shards, "--clips.crop", "32")
    assert lines[-1] == f"  {command('pretrain', *words)}"
    assert "verify 125/125 (100 %)" in err
    html = card.read_text()
    assert html.startswith("<!doctype html>")
    assert html.rstrip().endswith("</html>")
    assert "rotating anticlockwise" in html
    assert len(html) < 2e6


def test_problems_end_with_status_1_and_still_give_a_card(tmp_path, capsys):
    made = make_set(tmp_path / "set")
    for name in ("train-00000.parquet", "val-00000.parquet"):
        (Path(made.path) / name).unlink()
    for number in range(12):
        (Path(made.path) / f"stranger {number:02d}").touch()
    with pytest.raises(SystemExit) as stopped:
        inspect([made.path, "--card", str(tmp_path / "card.html"), "--no-decode"])
    assert stopped.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    problems = [line for line in lines if line.startswith("  problem: ")]
    assert problems[0] == "  problem: stranger 00: no file of this set"
    assert len(problems) == 10
    assert "  ... and 4 more; --card lists them" in lines
    assert "train-00000.parquet" in (tmp_path / "card.html").read_text()


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["nowhere"], "error: nowhere: no shard set there"),
        (["SET", "--against", "nowhere"], "error: nowhere: no shard set there"),
        (["SET", "--card", "/no/such/folder/card.html"], "error: --card /no/such/folder/card.html: no folder"),
    ],
)
def test_a_mistake_is_one_line(argv, line, tmp_path, capsys):
    made = make_set(tmp_path / "set")
    with pytest.raises(SystemExit) as stopped:
        inspect([made.path if word == "SET" else word for word in argv])
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(line)
    assert len(err.splitlines()) == 1


def test_a_set_is_read_where_it_was_copied(tmp_path, capsys):
    made = make_set(tmp_path / "set")
    shutil.copytree(made.path, tmp_path / "copy")
    inspect([f"file://{tmp_path}/copy"])
    assert "4 clips verified, no problems" in capsys.readouterr().out


def test_a_card_that_is_a_folder_is_found_before_the_set_is_read(tmp_path, capsys):
    with pytest.raises(SystemExit):
        inspect([str(tmp_path / "nowhere"), "--card", str(tmp_path)])
    assert f"--card {tmp_path}: a folder; give a file in it, such as {tmp_path}/card.html" in capsys.readouterr().err
