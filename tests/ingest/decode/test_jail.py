"""What a decoder that a file has taken over can still do: read files, and write to the memory that it was given."""

import os
import subprocess
import sys
from ast import literal_eval
from pathlib import Path

import pytest

from pipeline.ingest.child_environment import NAMES, child_environment
from pipeline.ingest.clip_errors import ClipError, DecodeError, TooLarge
from pipeline.ingest.decode import child_process as children
from pipeline.ingest.decode import jail
from pipeline.ingest.decode.child_process import Child

ROOT = Path(__file__).parents[3]
TAKEN_OVER = """
import contextlib, os
with contextlib.suppress(ImportError):  # in the decoder: what it is asked to decode is run as code
    from pipeline.ingest.clip_errors import DecodeError
    from pipeline.ingest.decode import clip

    def run(path, *limits, keep):
        with open(path) as file:
            raise DecodeError(str(eval(compile(file.read(), path, "eval"))))

    clip.decode_pictures = run
"""
OWN = {"OPENBLAS_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def child(tmp_path_factory):
    """A real decoding process, in its jail, that evaluates the expression in the file that it is to decode."""
    folder = tmp_path_factory.mktemp("taken_over")
    (folder / "sitecustomize.py").write_text(TAKEN_OVER)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", f"{folder}{os.pathsep}{ROOT}")
        patched.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
        child = Child()
    yield child
    child.end()


@pytest.fixture
def decoder(child, tmp_path):
    """A function that evaluates an expression inside the decoding process."""

    def run(expression: str) -> str:
        (tmp_path / "clip.mp4").write_text(expression)
        with pytest.raises((DecodeError, TooLarge)) as answer:
            child.decode([str(tmp_path / "clip.mp4"), None, None, 25, 64, 300.0], 20)
        return str(answer.value)

    return run


def needs(child: Child, layer: str) -> None:
    if layer not in child.jail:
        pytest.skip(f"this machine has no {layer}")


@pytest.mark.parametrize(
    "deed",
    [
        "__import__('socket').socket()",
        "__import__('socket').socket(__import__('socket').AF_UNIX)",
        "__import__('socket').socketpair()",
        "os.fork()",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.execv('/bin/true', ['true'])",
        "open('FOLDER/new', 'w')",
        "open('FOLDER/there', 'r+')",
        "open('FOLDER/there', 'a')",
        "os.truncate('FOLDER/there', 0)",
        "os.unlink('FOLDER/there')",
        "os.rename('FOLDER/there', 'FOLDER/other')",
        "os.mkdir('FOLDER/folder')",
        "os.chmod('FOLDER/there', 0o777)",
        "os.symlink('FOLDER/there', 'FOLDER/link')",
        "os.kill(os.getppid(), 0)",
    ],
)
def test_it_has_no_network_no_program_and_no_file(child, decoder, tmp_path, deed):
    needs(child, "seccomp")
    (tmp_path / "there").write_text("kept")
    before = sorted(tmp_path.iterdir())
    said = decoder(deed.replace("FOLDER", str(tmp_path)))
    assert said.startswith("PermissionError: "), said
    assert sorted({*tmp_path.iterdir()} - {tmp_path / "clip.mp4"}) == before
    assert (tmp_path / "there").read_text() == "kept"


def test_it_finds_no_secret_of_its_worker(child, decoder):
    assert "hunter2" not in decoder("dict(os.environ)")
    assert set(literal_eval(decoder("list(os.environ)"))) <= {*NAMES, *OWN}
    if "Landlock" in child.jail:
        assert decoder("open(f'/proc/{os.getppid()}/environ').read()").startswith("PermissionError: ")


def test_it_cannot_open_what_its_worker_has_open(child, clips_dir):
    needs(child, "Landlock")
    memory = children._sealed((clips_dir / "h265_10bit.mp4").read_bytes())
    with pytest.raises(ClipError, match="Permission denied"):
        children.decode_in_child(f"/proc/{os.getpid()}/fd/{memory}", None, None, 25, 64)
    os.close(memory)


def test_it_has_limits_and_no_privileges(decoder):
    limits = literal_eval(
        decoder("[__import__('resource').getrlimit(kind) for kind in (4, 1, 7, 6)]")  # of resource.h
    )
    assert limits == [(0, 0), (children.FILE,) * 2, (jail.OPEN_FILES,) * 2, (0, 0)]
    status = dict(line.split(":\t") for line in literal_eval(decoder("open('/proc/self/status').read().splitlines()")))
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) & ~jail._DAC_READ_SEARCH == 0
    assert status["CapPrm"] == status["CapEff"]
    raised = "__import__('resource').setrlimit(7, (4096, 4096))"
    assert decoder(raised).startswith(("ValueError: ", "PermissionError: "))
    assert decoder(f"len(bytearray({children.MEMORY}))") == "decoding it needs more than 4 GiB"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_user_without_privileges_decodes_too(clips_dir):
    """The limit of processes does not hold for root, so a decoder that starts threads would fail for others alone."""
    ask = """if True:
        import ctypes, os, sys
        from pipeline.ingest.decode import child_process, jail
        from pipeline.ingest.decode.clip import decode_clip

        clip = child_process._sealed(open(sys.argv[1], "rb").read())
        here = [decode_clip(f"/proc/self/fd/{clip}", None, None, 25, 64)[0]]  # loads what is loaded late
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        ctypes.CDLL(None).prctl(4, 1)  # so that /proc/self/fd is its own
        jail.enter(child_process.MEMORY, child_process.FILE)
        here += [decode_clip(f"/proc/self/fd/{clip}", None, None, 25, 64)[0]]
        print(len(here[1]), (here[0] == here[1]).all())
    """
    command = [sys.executable, "-c", ask, str(clips_dir / "h265_10bit.mp4")]
    said = subprocess.run(command, cwd=ROOT, env=child_environment(**OWN), capture_output=True, text=True)
    assert said.stdout == "25 True\n", said.stderr
