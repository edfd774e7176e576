"""TFRecords: those that TensorFlow wrote, and every way in which a file can be damaged."""

import os
import random
import struct
from pathlib import Path

import pytest

from pipeline.catalog import CatalogError
from pipeline.catalog.tf_example import SequenceExample, parse
from pipeline.catalog.tfrecord import count_records, masked_crc32c, read_records

YOUTUBE8M = Path(os.environ.get("YOUTUBE8M_DIR") or Path(__file__).parents[3] / "shared" / "youtube8m")
needs_records = pytest.mark.skipif(
    not YOUTUBE8M.is_dir(), reason=f"no records that TensorFlow wrote at {YOUTUBE8M}; set YOUTUBE8M_DIR"
)


def write_records(path: Path, *payloads: bytes) -> Path:
    """Write a TFRecord file as TensorFlow does."""
    with path.open("wb") as file:
        for data in payloads:
            length = struct.pack("<Q", len(data))
            file.write(
                length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))
            )
    return path


def example(steps: dict[str, int] | None = None, **features: list) -> bytes:
    """A serialised Example, or with `steps` a SequenceExample."""
    message = SequenceExample()
    for name, values in features.items():
        entry = message.context.feature.add(key=name.encode())
        kind = {bytes: "bytes_list", float: "float_list", int: "int64_list"}[type(values[0])]
        getattr(entry.value, kind).value.extend(values)
    for name, count in (steps or {}).items():
        entry = message.feature_lists.feature_list.add(key=name.encode())
        for _ in range(count):
            entry.value.feature.add().bytes_list.value.append(bytes(8))
    return message.SerializeToString()


def test_the_checksum_is_the_one_of_the_standard():
    # RFC 3720, B.4: CRC-32C of 32 zero bytes is 8A9136AA; then TensorFlow's mask.
    crc = 0x8A9136AA
    assert masked_crc32c(bytes(32)) == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@needs_records
@pytest.mark.parametrize("name", ["train0000", "video_train0000"])
def test_what_tensorflow_wrote_is_read_whole(name):
    path = YOUTUBE8M / f"{name}.tfrecord"
    records = list(read_records(path))
    assert len(records) == 6
    assert all(record.problem is None for record in records)
    assert sum(16 + len(record.data) for record in records) == path.stat().st_size
    examples = [parse(record.data) for record in records]
    assert [found.features["id"] for found in examples] == [
        [b"ab01"],
        [b"Zx9Q"],
        [b"k3Lm"],
        [b"0a-_"],
        [b"pQrS"],
        [b"tt42"],
    ]
    assert [found.features["labels"] for found in examples] == [[1 + n, 522, 11][: 1 + n % 3] for n in range(6)]
    if name == "train0000":
        assert [found.steps for found in examples] == [{"rgb": n, "audio": n} for n in range(5, 11)]
    else:
        assert all(found.steps == {} for found in examples)
        assert all(len(found.features["mean_rgb"]) == 1024 for found in examples)
        assert all(isinstance(value, float) for found in examples for value in found.features["mean_audio"])


@pytest.fixture
def whole(tmp_path):
    return write_records(tmp_path / "a.tfrecord", b"first", b"", b"third and longer")  # at 0, 21, 37; 69 bytes


def test_a_file_cut_anywhere_keeps_all_whole_records_before(whole):
    data = whole.read_bytes()
    for size in range(len(data)):
        whole.write_bytes(data[:size])
        records = list(read_records(whole))
        before = [start for start, end in ((0, 21), (21, 37), (37, 69)) if end <= size]
        assert [record.offset for record in records if record.problem is None] == before
        if size in (0, 21, 37):
            assert len(records) == len(before)  # cut between records, which no reader can know
        else:
            assert records[-1].offset == (0, 21, 37)[len(before)]
            assert records[-1].problem.startswith("the file ends inside a record")


def test_damage_is_found_wherever_it_is_and_costs_what_it_must(whole):
    data = whole.read_bytes()
    for place in range(len(data)):
        whole.write_bytes(data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :])
        records = list(read_records(whole))
        hit = max(start for start in (0, 21, 37) if start <= place)
        bad = [record for record in records if record.problem is not None]
        assert [record.offset for record in bad] == [hit]
        in_the_head = place < hit + 12
        good = [start for start in (0, 21, 37) if start < hit or (start > hit and not in_the_head)]
        assert [record.offset for record in records if record.problem is None] == good
        assert ("of the length is wrong" in bad[0].problem) == in_the_head


def test_a_length_beyond_reason_is_no_record(tmp_path):
    path = tmp_path / "bomb.tfrecord"
    length = struct.pack("<Q", 1 << 60)
    path.write_bytes(length + struct.pack("<I", masked_crc32c(length)) + bytes(100))
    (record,) = read_records(path)
    assert record.problem == (
        "a record of 1,152,921,504,606,846,976 bytes, more than the 67,108,864 that are read; "
        "the 112 bytes from here are lost"
    )


def test_any_other_file_is_said_to_be_none(tmp_path):
    path = tmp_path / "x.tfrecord"
    path.write_text("<html>Not Found</html>")
    (record,) = read_records(path)
    assert record.problem.startswith("the checksum of the length is wrong: damaged, or no TFRecord file")
    with pytest.raises(CatalogError, match=r"none: cannot be read \(No such file or directory\); give a TFRecord file"):
        list(read_records(tmp_path / "none"))
    path.write_bytes(b"")
    assert list(read_records(path)) == []


def test_packed_and_single_integers_are_the_same():
    # Field 3 (int64_list), field 1 (value): packed as 0A 02 01 02, one by one as 08 01 08 02.
    for values in (b"\x0a\x02\x01\x02", b"\x08\x01\x08\x02"):
        feature = b"\x1a" + bytes([len(values)]) + values
        entry = b"\x0a\x01x\x12" + bytes([len(feature)]) + feature
        features = b"\x0a" + bytes([len(entry)]) + entry
        assert parse(b"\x0a" + bytes([len(features)]) + features).features == {"x": [1, 2]}


def test_bytes_that_are_no_message_are_refused_and_nothing_else_happens():
    good = example({"rgb": 3}, id=[b"ab01"], labels=[1, 2])
    chance = random.Random(0)
    refused = set()
    for _ in range(2000):
        bad = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            bad[chance.randrange(len(bad))] = chance.randrange(256)
        try:
            parse(bytes(bad[: chance.randint(1, len(bad))]))
        except ValueError as error:
            refused.add(str(error))
    assert refused == {"neither a tf.train.Example nor a SequenceExample"}


@pytest.mark.parametrize("damage", [None, 0, 3, 9, 14, 20, 40, -1, -3])
def test_records_are_counted_as_they_are_read(tmp_path, damage):
    """Where the file was cut, where a length is wrong and where only the data are."""
    path = write_records(tmp_path / "a.tfrecord", b"one", b"", b"three" * 9)
    whole = path.read_bytes()
    for content in [whole, *([whole[:damage]] if damage else []), _flipped(whole, damage or 0)]:
        path.write_bytes(content)
        assert count_records(path) == len(list(read_records(path)))


def _flipped(content: bytes, place: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 1
    return bytes(changed)
