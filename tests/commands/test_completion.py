"""Shells complete commands, recipes, fields up to the next dot, and the values that a field may have."""

import shutil
import subprocess

import pytest

from pipeline.commands.completion import main
from pipeline.commands.options import TREES, commands
from pipeline.commands.shells import SCRIPTS
from pipeline.next_command import JOBS
from pipeline.recipes import FINE_TUNE, PRETRAIN, SWEEP

ANNOTATIONS = {f"--catalog.annotations.{key}" for key in ("train", "val", "test", "splits", "ids", "lookup")}


def script(shell: str) -> str:
    return SCRIPTS[shell](commands())


def in_bash(*words: str) -> set[str]:
    """What bash offers for the last word."""
    line = """
        eval "$1"; shift
        COMP_WORDS=("$@") COMP_CWORD=$(($#-1))
        compopt() { :; }   # bash has it in a completion alone
        $(complete -p video-actions | grep -o '_video_[a-z]*'); printf '%s\\n' "${COMPREPLY[@]}"
    """
    asked = subprocess.run(["bash", "-c", line, "bash", script("bash"), *words], capture_output=True, text=True)
    assert asked.stderr == ""
    return set(asked.stdout.split())


def in_fish(words: str) -> set[str]:
    """What fish offers for the last word."""
    asked = subprocess.run(
        ["fish", "-c", f"{script('fish')}\ncomplete -C '{words}'"], capture_output=True, text=True, check=True
    )
    return {line.split("\t")[0] for line in asked.stdout.splitlines()}


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["pre"], {"pretrain", "predict"}),
        (["completion", ""], {"bash", "zsh", "fish"}),
        (["benchmark", ""], {"features", "flow", "folds", "ingest", "loader", "sets", "train"}),
        (["inspect", "--"], {"--help", "--card", "--against", "--no-decode"}),
        (["pretrain", "--tra"], {"--training.", "--tracking."}),
        (["pretrain", "--training.k"], {"--training.keep"}),
        (["pretrain", "--training.keep", ""], {"best", "last"}),
        (["pretrain", "--training.keep", "="], {"best", "last"}),
        (["pretrain", "--training.keep", "=", "b"], {"best"}),
        (["pretrain", "--seed", "7", "--training.keep", "l"], {"last"}),
        (["pretrain", "--clips.flip", ""], {"true", "false"}),
        (["pretrain", "--model.streams", "rgb,f"], {"rgb,flow"}),
        (["pretrain", "--catalog.annotations."], ANNOTATIONS),
        (["pretrain", "--name", ""], set()),
        (["pretrain", "--recipe", ""], set(PRETRAIN)),
        (["finetune", "--recipe", ""], set(FINE_TUNE)),
        (["sweep", "--recipe", ""], set(SWEEP)),
        (["ingest", "--plan", "--rec"], {"--recipe"}),
        (["sweep", "--base.ingest.flow.ba"], {"--base.ingest.flow.backend"}),
        (["evaluate", "--evaluation.crops", "1"], {"1", "10"}),
    ],
)  # fmt: skip
def test_bash_offers(words, offered):
    assert in_bash("video-actions", *words) == offered


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish here")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("pre", {"pretrain", "predict"}),
        ("pretrain --training.ke", {"--training.keep"}),
        ("pretrain --training.keep b", {"best"}),
        ("ingest --recipe demo", {"demo"}),
        ("benchmark ", {"features", "flow", "folds", "ingest", "loader", "sets", "train"}),
    ],
)
def test_fish_offers(words, offered):
    assert in_fish(f"video-actions {words}") >= offered


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_script_is_one_that_its_shell_reads(shell, capsys):
    main([shell])
    printed = capsys.readouterr().out
    assert printed == script(shell) + "\n"
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    assert subprocess.run([shell, "-n"], input=printed, capture_output=True, text=True).stderr == ""


def test_every_command_is_completed():
    assert [one.verb for one in commands()] == [*JOBS, "completion"]
    assert TREES.keys() <= JOBS.keys()
