"""Whole paths, typed as a user types them: in a folder of the user's own, each command a process of its own.

The next command is the one that the last one printed. Clips are real.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torchvision.models.video import R3D_18_Weights, r3d_18

from tests.conftest import real_input

CHECKOUT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("WALK"), reason="takes long: WALK=1 walks them"),
]

# Of the folder recipe only what decides the time it takes.
SMALL = (
    "--ingest.short_side 64 --clips.crop 48 --clips.frames 8 --training.batch_size 2 --training.clips_per_step 4 "
    "--evaluation.views 1 --tracking.registered_model 'my model'"
)


class Shell:
    """Commands in one folder; what they print is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1", "TORCH_HOME": str(folder / "torch"),
        }  # fmt: skip

    def __call__(self, command: str, status: int = 0) -> str:
        """Run a command to its end, and give what it printed."""
        done = subprocess.run(
            self.words(command), cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=560
        )
        said = done.stdout + done.stderr
        assert done.returncode == status, f"{command}\n{said}"
        assert "Traceback" not in said, said
        return said

    def interrupted(self, command: str, after: str) -> str:
        """Press Ctrl-C once a line that matches `after` is there; give what was printed in all."""
        process = subprocess.Popen(
            self.words(command), cwd=self.folder, env=self.environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if re.search(after, line):
                break
        pressed = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=120)
        said = "".join(lines) + rest
        assert process.returncode == 130, said
        assert "Traceback" not in said, said
        assert time.monotonic() - pressed < 60, said
        return said

    def words(self, command: str) -> list[str]:
        """A command line in words; `python` is the one that runs this test."""
        words = shlex.split(command)
        if words[0] == "python":
            words[0] = sys.executable
        if words[1].startswith("jobs/"):
            words[1] = str(CHECKOUT / words[1])
        return words


def next_commands(said: str) -> list[str]:
    """The commands below the last `next:`."""
    below = said.rpartition("next:\n")[2].splitlines()
    return [line.split("  #")[0].strip() for line in below if line.startswith("  ")]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A user's folder, whose name needs quotes, with six real clips of each of two classes and their groups."""
    given, folder = real_input("SURVEILLANCE_DIR", "surveillance_fights"), tmp_path_factory.mktemp("user's home")
    for kind in ("fight", "no_fight"):
        (folder / "my videos" / kind).mkdir(parents=True)
        for clip in sorted((given / kind).iterdir())[:24:4]:
            shutil.copy(clip, folder / "my videos" / kind)
    shutil.copy(given / "groups.tsv", folder)
    return folder


def test_own_clips_become_a_model_that_names_actions(home):
    shell = Shell(home)
    said = shell(
        "python jobs/pretrain_kinetics.py --recipe resnet3d18_folder --catalog.videos 'my videos' --training.epochs 2 "
        f"--name first {SMALL}"
    )
    assert re.search(r"registered .*my model.* version 1 as candidate", said)
    (predict,) = (command for command in next_commands(said) if "predict" in command)
    answer = shell(predict.replace("VIDEO", shlex.quote("my videos/fight")))
    assert len(re.findall(r"^ +(fight|no_fight) +\d+\.\d$", answer, re.MULTILINE)) == 12


def test_a_trained_run_is_tested_again_and_scores_are_fused(home):
    shell = Shell(home)
    (fuse,) = (line for line in next_commands(shell("python jobs/evaluate.py --run first")) if "--fuse" in line)
    said = shell(fuse.replace("OTHER/scores.parquet", "outputs/runs/first/scores.parquet"))
    assert any("--fuse" in line for line in next_commands(said))


def test_shards_alone_are_enough_wherever_they_are_carried(home, tmp_path):
    carried = tmp_path / "elsewhere" / "set"
    shutil.copytree(home / "outputs" / "shards" / "folder", carried)
    for file in [carried, *carried.iterdir()]:
        file.chmod(0o555 if file.is_dir() else 0o444)
    shell = Shell(tmp_path)
    (train,) = next_commands(shell("python jobs/inspect_shards.py elsewhere/set"))
    assert "registered" in shell(f"{train} --training.epochs 1")


def test_a_fine_tuning_that_is_interrupted_goes_on_as_it_says(home):
    shell = Shell(home)
    said = shell.interrupted(
        "python jobs/pretrain_kinetics.py --recipe resnet3d18_folder --catalog.videos 'my videos' "
        f"--model.weights.rgb outputs/runs/first --model.fine_tune full --name second --training.epochs 40 {SMALL}",
        after=r"epoch 3/40",
    )
    done = int(re.search(r"keeps rgb's checkpoint of step \d+, (\d+) epochs done", said)[1])
    assert done >= 2  # Ray Train may not have counted the third yet
    resume = re.search(r"this goes on: (.*--resume second.*)$", said, re.MULTILINE)[1]
    again = shell.interrupted(resume, after=rf"epoch {done + 1}/40")
    assert re.findall(r"epoch (\d+)/40", again)[0] == str(done + 1)


def test_published_weights_by_name_are_fine_tuned_on_own_clips(home):
    """By its name, where the file was downloaded before: tests/models/test_published.py has the download itself."""
    file = home / "torch" / "hub" / "checkpoints" / Path(R3D_18_Weights.KINETICS400_V1.url).name
    file.parent.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(r3d_18(weights=None).state_dict(), file)
    shell = Shell(home)
    said = shell(
        "python jobs/finetune.py --recipe resnet3d18_folder_full --catalog.videos 'my videos' --training.epochs 1 "
        f"--name third {SMALL}"
    )
    (predict,) = (command for command in next_commands(said) if "predict" in command)
    (video,) = (home / "my videos" / "fight").glob("fi001.*")
    answer = shell(predict.replace("VIDEO", shlex.quote(str(video))))
    assert len(re.findall(r"^ +(fight|no_fight) +\d+\.\d$", answer, re.MULTILINE)) == 2
