import contextlib
import random

import numpy as np
import pytest

from pipeline.models.tensorflow_checkpoint import CheckpointError, crc32c, find_prefix, open_checkpoint

from .references import fixture


def test_checksums():
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"") == 0
    assert crc32c(b"abc") == 0x364B3FB7


def test_reads_what_tensorflow_wrote():
    prefix = find_prefix(fixture("tensorflow_checkpoint/model.ckpt.index"))
    checkpoint = open_checkpoint(prefix)
    values = np.load(fixture("tensorflow_checkpoint/values.npz"))
    assert set(checkpoint.entries) == {name.replace("|", "/") for name in values}
    for name, expected in values.items():
        value = checkpoint.read(name.replace("|", "/"))
        np.testing.assert_array_equal(value, expected)
        assert value.dtype == expected.dtype
        assert value.shape == expected.shape


@pytest.mark.parametrize(
    ("name", "tensors", "trainable"),
    [
        ("rgb_imagenet", 230, 12_689_984),
        ("rgb_scratch", 230, 12_689_984),
        ("flow_imagenet", 230, 12_668_032),
        ("flow_scratch", 230, 12_668_032),
        ("rgb_scratch_kin600", 346, 12_894_984),
    ],
)
def test_indexes_of_deepmind(name, tensors, trainable):
    checkpoint = open_checkpoint(find_prefix(fixture(f"deepmind_checkpoints/{name}.index")))
    assert len(checkpoint.entries) == tensors
    counted = [e for n, e in checkpoint.entries.items() if "moving" not in n and "Momentum" not in n]
    assert sum(np.prod(entry.shape) for entry in counted) == trainable


def copy_checkpoint(folder):
    for suffix in ("index", "data-00000-of-00001"):
        content = fixture(f"tensorflow_checkpoint/model.ckpt.{suffix}").read_bytes()
        (folder / f"model.ckpt.{suffix}").write_bytes(content)
    return folder / "model.ckpt"


def test_changed_value_is_noticed(tmp_path):
    prefix = copy_checkpoint(tmp_path)
    data = tmp_path / "model.ckpt.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[100] ^= 1
    data.write_bytes(content)
    checkpoint = open_checkpoint(prefix)
    name = "RGB/inception_i3d/Conv3d_1a_7x7/conv_3d/w"
    with pytest.raises(CheckpointError, match=f"checksum of {name} is wrong"):
        checkpoint.read(name)
    assert checkpoint.read(name, verify=False).shape == (3, 2, 2, 3, 4)
    data.write_bytes(content[:100])
    with pytest.raises(CheckpointError, match=f"ends before {name}"):
        checkpoint.read(name)
    data.unlink()
    with pytest.raises(CheckpointError, match="not found, put it beside the index"):
        checkpoint.read(name)


def test_broken_index_is_always_an_error_of_ours(tmp_path):
    prefix = copy_checkpoint(tmp_path)
    index = tmp_path / "model.ckpt.index"
    content = index.read_bytes()
    rng = random.Random(0)
    broken = [b"", b"text", content[:-1], content[10:], bytes(len(content) - 8) + content[-8:]]
    for _ in range(200):
        changed = bytearray(content)
        changed[rng.randrange(len(changed) - 8)] ^= 1 << rng.randrange(8)
        broken.append(bytes(changed))
    whole = open_checkpoint(prefix).entries
    for data in broken:
        index.write_bytes(data)
        with contextlib.suppress(CheckpointError):
            assert open_checkpoint(prefix).entries == whole  # the bit was one that nothing reads


@pytest.mark.parametrize("name", ["model.ckpt", "model.ckpt.index", "model.ckpt.data-00000-of-00001"])
def test_any_name_of_a_checkpoint_finds_it(tmp_path, name):
    prefix = copy_checkpoint(tmp_path)
    assert find_prefix(tmp_path / name) == prefix
    assert find_prefix(tmp_path / "other.pt") is None
