"""The commands of all pages are run as they are printed, with a user's files where they name made-up ones."""

import csv
import os
import re
import shlex
import subprocess
import tarfile
import time
import urllib.request
from pathlib import Path
from typing import get_args

import pytest

from pipeline.catalog import READERS
from pipeline.config import Dataset
from tests.catalog.test_tfrecord import example, write_records

from .test_jobs import job

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text()
PAGES = [*CHECKOUT.glob("*.md"), *(CHECKOUT / "infra").glob("*.md"), *sorted((CHECKOUT / "pipeline").rglob("*.md"))]
ALL = "\n".join(path.read_text() for path in [CHECKOUT / "README.md", *sorted((CHECKOUT / "pipeline").glob("*/*.md"))])
BLOCKS = dict.fromkeys(re.findall(r"^```\n(.*?)^```", ALL, re.MULTILINE | re.DOTALL))


def lines(block: str) -> list[str]:
    """The commands of a block, each in one line, without what is said of it."""
    whole = block.replace("\\\n", " ").splitlines()
    return [" ".join(line.split("   #")[0].split()) for line in whole if line.strip()]


def block_with(words: str) -> list[str]:
    """The commands of the one block that has these words."""
    (found,) = (block for block in BLOCKS if words in block)
    return lines(found)


TRAINED = list(dict.fromkeys(line for block in BLOCKS for line in lines(block) if line.startswith("python jobs/")))


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A user's folder with the files that README's commands name, and `/data` beside them."""
    monkeypatch.chdir(tmp_path)
    for label in ("a", "b"):
        for number in range(10):
            path = tmp_path / "data" / "mine" / label / f"{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes([number]) * (number + 1))
    with (tmp_path / "data" / "groups.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "source_group", "fold5"])
        rows.writerows([f"{label}/{number}.mp4", f"yt{number}", number % 5] for label in "ab" for number in range(10))
    (tmp_path / "data" / "tars" / "train").mkdir(parents=True)
    (tmp_path / "data" / "videos").mkdir()
    for number, split in enumerate(("train", "validate", "val")):
        with (tmp_path / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["label", "youtube_id", "time_start", "time_end", "split"])
            rows.writerows([label, f"abcdefghi{number}{label}", 1, 11, split] for label in "xyz")
        (tmp_path / "data" / "videos" / f"abcdefghi{number}x_000001_000011.mp4").write_bytes(b"video")
    for archive in ("data/tars/train/part_0.tar.gz", "val_0.tar.gz", "replacement_for_corrupted_k400.tgz"):
        with tarfile.open(tmp_path / archive, "w:gz") as file:
            file.add(tmp_path / "data" / "videos")
    (tmp_path / "k400_val_path.txt").write_text(f"{tmp_path}/val_0.tar.gz\n")
    lists, videos = tmp_path / "data" / "ucfTrainTestlist", tmp_path / "data" / "UCF-101"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 A\n2 B\n")
    for part, group in (("train", 8), ("test", 1)):
        names = [f"{label}/v_{label}_g{group:02}_c0{number}.avi" for label in "AB" for number in (1, 2)]
        (lists / f"{part}list01.txt").write_text("".join(f"{name} {1 + (name[0] == 'B')}\n" for name in names))
        for name in names:
            (videos / name).parent.mkdir(parents=True, exist_ok=True)
            (videos / name).write_bytes(name.encode())
    hmdb51 = tmp_path / "data" / "testTrainMulti_7030_splits"
    hmdb51.mkdir()
    for label in ("brush_hair", "wave"):
        (hmdb51 / f"{label}_test_split1.txt").write_text("a.avi 1 \nb.avi 2 \nc.avi 0 \n")
        (tmp_path / "data" / "hmdb51_org" / label).mkdir(parents=True)
        for name in "abc":
            (tmp_path / "data" / "hmdb51_org" / label / f"{name}.avi").write_bytes(name.encode())
    youtube8m = tmp_path / "data" / "yt8m"
    segment = {"segment_start_times": [10], "segment_end_times": [15]}
    for split, name, features in (("train", "ab01", {}), ("validate", "Zx9Q", {}), ("segments", "k3Lm", segment)):
        (youtube8m / split).mkdir(parents=True)
        record = example({"rgb": 120}, id=[name.encode()], labels=[1], **features)
        write_records(youtube8m / split / f"{split}0000.tfrecord", record)
    (youtube8m / "ids.tsv").write_text("".join(f"{name}\t{name}YouTube\n" for name in ("ab01", "Zx9Q", "k3Lm")))
    for stream in ("rgb", "flow"):
        (tmp_path / f"{stream}_imagenet.pt").touch()
    for number in range(1, 4):
        picture = tmp_path / "data" / "rawframes" / "a" / "one" / f"img_{number:05d}.jpg"
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(b"JPEG")
    for split in ("train", "val"):
        (tmp_path / f"{split}_list.txt").write_text("a/one 3 0\n")
    (tmp_path / "label_map.txt").write_text("a class\n")
    for number in range(9):
        for member, content in (("mp4", b"video"), ("json", b'{"verb": "wash"}')):
            (tmp_path / "data" / "samples" / f"{number}.{member}").parent.mkdir(exist_ok=True)
            (tmp_path / "data" / "samples" / f"{number}.{member}").write_bytes(content)
    with tarfile.open(tmp_path / "samples.tar", "w") as file:
        for path in sorted((tmp_path / "data" / "samples").iterdir()):
            file.add(path, path.name)
    (tmp_path / "list_of_tars.txt").write_text(f"{tmp_path}/samples.tar\n")
    (tmp_path / "data" / "cookies.txt").write_text("# Netscape HTTP Cookie File\n")
    return tmp_path


@pytest.mark.parametrize("line", TRAINED)
def test_a_job_understands_its_command_and_says_what_it_would_do(line, home, capsys):
    if "s3://" in line:
        pytest.skip("tests/ingest/fetch has a store for such addresses")
    script, *words = shlex.split(line.replace("/data/", f"{home}/data/"))[1:]
    job(Path(script).stem).main([*words, "--plan"])
    assert "nothing has been done" in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CHECKOUT).as_posix())
def test_every_link_of_a_page_leads_to_a_file(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).is_file()] == []


def test_every_data_set_has_a_page_and_the_catalog_links_it():
    room = CHECKOUT / "pipeline" / "catalog"
    assert {path.stem for path in room.glob("*.md")} - {"README"} == READERS.keys()
    table = (room / "README.md").read_text()
    assert [name for name in READERS if f"]({name}.md)" not in table] == []
    assert [name for name in get_args(Dataset) if f"`{name}`" not in table] == []


def test_every_job_is_in_the_table_with_the_command_that_it_is():
    from pipeline.next_command import JOBS

    named = dict(re.findall(r"^\| `([a-z]+)` \| `jobs/(\w+)\.py` \|", README, re.MULTILINE))
    assert named == JOBS


@pytest.fixture(scope="module")
def after_demo() -> Path:
    """A checkout in which `make demo` has been run."""
    if not os.environ.get("AFTER_DEMO"):
        pytest.skip("AFTER_DEMO=1 behind `make demo`: minutes of work on what it left")
    return CHECKOUT


class Server:
    """A program that answers at an address."""

    def __init__(self, line: str, folder: Path, address: str) -> None:
        self.process = subprocess.Popen(["/bin/bash", "-ec", line], cwd=folder, start_new_session=True)
        deadline = time.monotonic() + 180
        while not self.answers(address):
            assert self.process.poll() is None, f"{line} ended"
            assert time.monotonic() < deadline, f"{line} does not answer at {address}"
            time.sleep(0.5)

    def answers(self, address: str) -> bool:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310  an address of this machine
                return answer.status == 200
        except OSError:
            return False

    def stop(self) -> None:
        os.killpg(self.process.pid, 15)
        self.process.wait(30)


@pytest.mark.slow
def test_what_is_said_to_follow_the_demo_runs(after_demo, clips_dir):
    video = shlex.quote(str(next(clips_dir.glob("*.mp4"))))
    ui, predict, sweep = block_with("make ui")
    server = Server(f"exec {ui}", after_demo, "http://127.0.0.1:5000/health")
    server.stop()
    for line in (predict.replace("VIDEO", video), sweep):
        subprocess.run(["/bin/bash", "-c", line], cwd=after_demo, check=True, timeout=1500)


@pytest.mark.slow
def test_the_demos_model_is_served(after_demo, clips_dir):
    video = shlex.quote(str(next(clips_dir.glob("*.mp4"))))
    *exports, serve, ask, post = block_with("mlflow models serve")
    server = Server("\n".join([*exports, f"exec {serve}"]), after_demo, "http://127.0.0.1:5001/ping")
    try:
        typed = "\n".join([*exports, ask.replace("VIDEO", video), post])
        said = subprocess.run(["/bin/bash", "-ec", typed], cwd=after_demo, check=True, capture_output=True, text=True)
    finally:
        server.stop()
        (after_demo / "in.json").unlink(missing_ok=True)
    assert said.stdout.count('"labels"') == 2, said.stdout
