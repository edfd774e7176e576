import pickle
import struct

import pytest
import torch
import torchvision

from pipeline.models import WeightsError, create_model, load_published
from pipeline.models.cost import count_parameters
from pipeline.models.published import _from_deepmind
from pipeline.models.tensorflow_checkpoint import _mask, crc32c, open_checkpoint

from .references import fixture, load_reference, relative_error, rule_weight


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("i3d_rgb_t16.json", "i3d"),
        ("cvpr_resnet18_A.json", "resnet3d18"),
        ("cvpr_resnet50_B.json", "resnet3d50"),
        ("cvpr_resnext101.json", "resnext3d101"),
        ("cvpr_densenet121.json", "hara_densenet3d121"),
    ],
)
def test_published_state_dicts_give_the_published_outputs(file, name):
    reference = load_reference(file)
    model = create_model(name, num_classes=400).eval()
    report = load_published(model, reference.state)
    assert set(report.loaded.values()) == set(reference.state)
    assert not report.ignored
    assert not report.missing
    assert count_parameters(model) == reference.parameters
    assert set(report.loaded) | set(report.kept) == set(model.state_dict())
    with torch.inference_mode():
        output = model.logits_over_time(reference.clip) if name == "i3d" else model(reference.clip)
    assert relative_error(output, reference.output) < 1e-4


def small_state():
    """A state dict of the files of 2018, saved from DataParallel, of a network of 5 classes."""
    state = create_model("resnet3d18", num_classes=5).state_dict()
    return {f"module.{key}": value for key, value in state.items() if not key.endswith("num_batches_tracked")}


@pytest.mark.parametrize("zipped", [True, False])
def test_file_of_2018(tmp_path, zipped):
    content = {"epoch": 200, "arch": "resnet-18", "state_dict": small_state(), "optimizer": {"state": {}}}
    path = tmp_path / "resnet-18-kinetics.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    model = create_model("resnet3d18", num_classes=5)
    report = load_published(model, path)
    assert torch.equal(model.fc.weight, content["state_dict"]["module.fc.weight"])
    assert all("counter of batches" in reason for reason in report.kept.values())
    assert str(report).startswith(f"{path}: ResNet: 87 of 104 entries loaded")


class _TensorOfPyTorch03:
    """Pickles a tensor the way PyTorch 0.3 did."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce__(self):
        storage = self.tensor.contiguous().view(-1).storage()
        return torch._utils._rebuild_tensor, (storage, 0, tuple(self.tensor.shape), tuple(self.tensor.stride()))


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_file_of_pytorch_03(tmp_path):
    state = small_state()
    path = tmp_path / "old.pt"
    torch.save({k: _TensorOfPyTorch03(v) for k, v in state.items()}, path, _use_new_zipfile_serialization=False)
    model = create_model("resnet3d18", num_classes=5)
    load_published(model, path)
    assert torch.equal(model.conv1.weight, state["module.conv1.weight"])


def test_other_number_of_classes_only_when_told():
    model = create_model("resnet3d18", num_classes=7)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(WeightsError, match="5 classes in the file, 7 in the network; replace_classifier=True"):
        load_published(model, small_state())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())  # nothing half done
    report = load_published(model, small_state(), replace_classifier=True)
    assert set(report.ignored) == {"fc.weight", "fc.bias"}
    assert torch.equal(before["fc.weight"], model.fc.weight)
    assert not torch.equal(before["conv1.weight"], model.conv1.weight)


def test_missing_and_unknown_entries_are_refused():
    model = create_model("resnet3d18", num_classes=5)
    state = small_state()
    del state["module.layer1.0.conv1.weight"]
    with pytest.raises(WeightsError, match=r"the file lacks layer1\.0\.conv1\.weight; partial=True accepts that"):
        load_published(model, {**state, "module.layer1.0.bn1.weight": torch.ones(64)})
    assert load_published(model, state, partial=True).missing == ["layer1.0.conv1.weight"]
    with pytest.raises(WeightsError, match="extra: the network has no such entry"):
        load_published(model, {**small_state(), "module.extra": torch.ones(1)})
    with pytest.raises(WeightsError, match=r"layer1\.0\.bn1\.weight: shape \(3,\) in the file, \(64,\) in the network"):
        load_published(model, {**small_state(), "module.layer1.0.bn1.weight": torch.ones(3)})
    with pytest.raises(WeightsError, match="holds the same entries twice"):
        load_published(model, {**small_state(), "conv1.weight": torch.ones(1)})
    with pytest.raises(WeightsError, match="not finite"):
        load_published(model, {**small_state(), "module.bn1.weight": torch.full((64,), torch.nan)})


def test_error_names_the_option_that_would_fit():
    other_stem = create_model("resnet3d18", num_classes=5, stem_width=48).state_dict()
    with pytest.raises(WeightsError, match="seems to need create_model with stem_width=48"):
        load_published(create_model("resnet3d18", num_classes=5), other_stem)
    with pytest.raises(WeightsError, match='create_model with shortcut="A"'):
        load_published(create_model("resnet3d18", num_classes=5, shortcut="B"), small_state())
    flow = create_model("resnet3d18", num_classes=5, in_channels=2).state_dict()
    with pytest.raises(WeightsError, match="create_model with in_channels=2"):
        load_published(create_model("resnet3d18", num_classes=5), flow)


def test_video_resnet_of_torchvision():
    published = randomise(torchvision.models.video.r3d_18(num_classes=5)).eval()
    with pytest.raises(WeightsError, match="stem_pool=False"):
        load_published(create_model("resnet3d18", num_classes=5), published.state_dict())
    model = create_model("resnet3d18", num_classes=5, shortcut="B", stem_depth=3, stem_pool=False).eval()
    load_published(model, published.state_dict())
    clip = torch.randn(1, 3, 5, 40, 40)
    with torch.inference_mode():
        assert relative_error(model(clip), published(clip)) < 1e-5


def randomise(model):
    """Weights for which each layer counts: batch norm that does something, activations that keep their size."""
    for key, value in model.state_dict().items():
        value.copy_(rule_weight(key, tuple(value.shape)))
    return model


def test_own_checkpoints():
    for name in ("two_stream", "t3d121"):
        saved, model = create_model(name, num_classes=3), create_model(name, num_classes=3)
        report = load_published(model, saved.state_dict())
        assert len(report.loaded) == len(saved.state_dict())
        assert all(
            torch.equal(a, b) for a, b in zip(saved.state_dict().values(), model.state_dict().values(), strict=True)
        )
    with pytest.raises(WeightsError, match="3 classes in the file, 4 in the network"):
        load_published(create_model("two_stream", num_classes=4), create_model("two_stream", 3).state_dict())


def test_one_stream_does_not_go_into_two():
    model = create_model("two_stream_i3d", num_classes=5)
    state = create_model("i3d", num_classes=5).state_dict()
    with pytest.raises(WeightsError, match=r"holds one stream: load it into model\.rgb or model\.flow"):
        load_published(model, state)
    load_published(model.rgb, state)
    with pytest.raises(WeightsError, match=r"shape \(64, 3, 7, 7, 7\) in the file, \(64, 2, 7, 7, 7\) in the network"):
        load_published(model.flow, state)


class _Hostile:
    def __reduce__(self):
        return print, ("this must not run",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_broken_and_hostile_files(tmp_path, capsys):
    model = create_model("resnet3d18", num_classes=5)
    path = tmp_path / "weights.pth"
    with pytest.raises(WeightsError, match=r"weights\.pth: no such file"):
        load_published(model, path)
    torch.save(small_state(), path)
    whole = path.read_bytes()
    for content in (b"", b"\x00" * 100, b"<html>not found</html>", whole[: len(whole) // 2], pickle.dumps(_Hostile())):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="cannot be read as weights"):
            load_published(model, path)
    torch.save({"state_dict": {"conv1.weight": _Hostile()}}, path)
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load_published(model, path)
    assert "this must not run" not in capsys.readouterr().out
    for content, message in (
        ([1, 2], "holds no state dict but list"),
        ({}, "holds no state dict"),
        ({"conv1.weight": 3}, "'conv1.weight' is not a tensor of plain numbers"),
        ({"conv1.weight": torch.ones(1, device="meta")}, "not a tensor of plain numbers"),
        ({1: torch.ones(1)}, "entry 1 is not a tensor"),
        ({"nothing.known": torch.ones(1)}, "of no known kind, its first entry is nothing.known"),
    ):
        torch.save(content, path)
        with pytest.raises(WeightsError, match=message):
            load_published(model, path)


# TensorFlow checkpoints: real indexes, whose data files are too large to keep; the values are made by rule and the
# indexes rewritten with the checksums of those values.


@pytest.fixture(scope="module")
def rgb_checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("rgb"), "rgb_imagenet")


def write_checkpoint(folder, name):
    """A checkpoint of DeepMind's names and shapes, with values by rule of the PyTorch port's names."""
    entries = open_checkpoint(fixture(f"deepmind_checkpoints/{name}.index").with_name(name)).entries
    table, data = {b"": b"\x08\x01\x1a\x02\x08\x01"}, bytearray()
    for key, entry in sorted(entries.items()):
        torch_key = _from_deepmind(key)
        if isinstance(torch_key, str):
            value = published_value(torch_key, entry.shape).contiguous().numpy().tobytes()
        else:
            value = bytes(entry.size)
        shape = b"".join(field(2, field(1, size)) for size in entry.shape)
        message = field(1, 1) + field(2, shape) + field(4, len(data)) + field(5, len(value))
        table[key.encode()] = message + b"\x35" + struct.pack("<I", _mask(crc32c(value)))
        data += value
    (folder / f"{name}.index").write_bytes(leveldb_table(table))
    (folder / f"{name}.data-00000-of-00001").write_bytes(data)
    return folder / name


def published_value(torch_key, tensorflow_shape):
    if len(tensorflow_shape) == 5 and "conv3d" in torch_key:
        torch_shape = [tensorflow_shape[axis] for axis in (4, 3, 0, 1, 2)]
        return rule_weight(torch_key, tuple(torch_shape)).permute(2, 3, 4, 1, 0)
    return rule_weight(torch_key, (tensorflow_shape[-1],))


def varint(number):
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def leveldb_table(table):
    def block(entries):
        body = b"".join(varint(0) + varint(len(k)) + varint(len(v)) + k + v for k, v in entries)
        body += struct.pack("<II", 0, 1)
        return body + struct.pack("<BI", 0, _mask(crc32c(body + b"\x00")))

    content = block(sorted(table.items()))
    first = varint(0) + varint(len(content) - 5)
    meta_at = len(content)
    content += block([])
    index_at = len(content)
    content += block([(max(table), first)])
    footer = varint(meta_at) + varint(8) + varint(index_at) + varint(len(content) - index_at - 5)
    return content + footer.ljust(40, b"\x00") + struct.pack("<Q", 0xDB4775248B80FB57)


def check_values(model, report):
    assert len(report.loaded) == 230
    assert set(report.loaded) | set(report.kept) == set(model.state_dict())
    for key, value in model.state_dict().items():
        if key.endswith(".bn.weight"):
            assert torch.equal(value, torch.ones_like(value))
        elif not key.endswith("num_batches_tracked"):
            assert torch.equal(value, rule_weight(key, tuple(value.shape)))


def test_deepmind_checkpoint(rgb_checkpoint):
    model = create_model("i3d", num_classes=400)
    torch.nn.init.zeros_(model.Conv3d_1a_7x7.bn.weight)
    report = load_published(model, f"{rgb_checkpoint}.data-00000-of-00001")
    check_values(model, report)
    assert not report.ignored


def test_deepmind_checkpoint_of_600_classes_with_momentum(tmp_path):
    prefix = write_checkpoint(tmp_path, "rgb_scratch_kin600")
    model = create_model("i3d", num_classes=600)
    report = load_published(model, f"{prefix}.index")
    check_values(model, report)
    assert len(report.ignored) == 116  # momentum of 57 weights and offsets, and of the classifier


def test_rgb_checkpoint_does_not_fit_flow(rgb_checkpoint):
    with pytest.raises(WeightsError, match=r"Conv3d_1a_7x7/conv_3d/w: shape \(64, 3, 7, 7, 7\) in the file"):
        load_published(create_model("i3d", num_classes=400, in_channels=2), rgb_checkpoint)


def test_checkpoint_with_a_wrong_checksum(rgb_checkpoint):
    data = rgb_checkpoint.with_name(f"{rgb_checkpoint.name}.data-00000-of-00001")
    with data.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"\xff")
    model = create_model("i3d", num_classes=400)
    with pytest.raises(WeightsError, match=r"checksum of .* is wrong, fetch the file anew"):
        load_published(model, rgb_checkpoint)
    load_published(model, rgb_checkpoint, verify_checksums=False)
