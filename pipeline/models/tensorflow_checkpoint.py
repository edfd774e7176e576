"""Reader of TensorFlow checkpoints (`.index` and `.data-00000-of-00001`) that does not need TensorFlow.

The index is an uncompressed LevelDB table that maps a tensor's name to a BundleEntryProto: type, shape, shard, offset,
size and checksum. The data files hold the raw bytes of the tensors, little-endian. Every checksum (CRC-32C, masked as
in LevelDB) is verified, unless the caller switches this off for the tensors.
Formats: tensorflow/core/lib/io/table_format.txt and tensorflow/core/protobuf/tensor_bundle.proto.
"""

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FOOTER_SIZE = 48
MAGIC = 0xDB4775248B80FB57
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}  # DT_FLOAT, DT_DOUBLE, DT_INT32, DT_INT64, DT_HALF


class CheckpointError(ValueError):
    """A checkpoint that is missing, broken or of an unknown kind; the message names the file and the tensor."""


@dataclass(frozen=True)
class Entry:
    """Location, type and shape of one tensor: a BundleEntryProto."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint; `read(name)` returns the values of a tensor.

    Attributes:
        prefix: path without `.index`.
        entries: entry of every tensor, by the tensor's name.
        shards: number of data files.
    """

    prefix: Path
    entries: dict[str, Entry]
    shards: int

    def read(self, name: str, verify: bool = True) -> NDArray[np.generic]:
        """Read the values of one tensor.

        Raises:
            CheckpointError: the type is unknown, the size does not match the shape, the data file is missing or too
                short, or the checksum is wrong.
        """
        entry = self.entries[name]
        path = self.prefix.with_name(f"{self.prefix.name}.data-{entry.shard:05d}-of-{self.shards:05d}")
        if entry.dtype not in DTYPES:
            raise CheckpointError(f"{path}: {name} has TensorFlow's type {entry.dtype}, only numbers can be read")
        dtype = np.dtype(DTYPES[entry.dtype])
        if entry.size != math.prod(entry.shape) * dtype.itemsize:
            raise CheckpointError(f"{path}: {name} has {entry.size} bytes, but shape {entry.shape} of {dtype}")
        if not path.is_file():
            raise CheckpointError(f"{path}: not found, put it beside the index")
        if entry.offset + entry.size > path.stat().st_size:
            raise CheckpointError(f"{path}: ends before {name}, is the file complete?")
        with path.open("rb") as file:
            file.seek(entry.offset)
            data = file.read(entry.size)
        if verify and _mask(crc32c(data)) != entry.checksum:
            raise CheckpointError(f"{path}: checksum of {name} is wrong, fetch the file anew (or do without checks)")
        return np.frombuffer(data, dtype).reshape(entry.shape).copy()


def find_prefix(path: Path) -> Path | None:
    """Return the prefix of the checkpoint that a path names, or None if it names none.

    The path may be that of the index, of a data file, or their common prefix.
    """
    if not path.name:
        return None
    name = re.sub(r"\.index$|\.data-\d{5}-of-\d{5}$", "", path.name) or path.name
    prefix = path.with_name(name)
    index = prefix.with_name(f"{prefix.name}.index")
    return prefix if index.is_file() or name != path.name else None


def open_checkpoint(prefix: Path) -> Checkpoint:
    """Read the index of a checkpoint.

    Args:
        prefix: path without `.index`.

    Raises:
        CheckpointError: the index is missing or broken, or was written on a big-endian machine.
    """
    path = prefix.with_name(f"{prefix.name}.index")
    if not path.is_file():
        raise CheckpointError(f"{path}: not found, put it beside the data file")
    try:
        table = dict(_read_table(path.read_bytes()))
        header = _fields(table.pop(b""))
        entries = {name.decode(): _entry(value) for name, value in table.items()}
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        raise CheckpointError(f"{path}: broken or not the index of a TensorFlow checkpoint") from error
    if header.get(2, [0]) != [0]:
        raise CheckpointError(f"{path}: written on a big-endian machine, which is not supported")
    return Checkpoint(prefix, entries, shards=_number(header, 1))


def crc32c(data: bytes) -> int:
    """Compute the CRC-32C (Castagnoli) of some bytes in many parallel lanes, as a Python loop is too slow.

    A CRC is linear: the CRC of two parts in a row is the CRC of the first, advanced by as many zero bytes as the second
    part has, exclusive-or the CRC of the second. Leading zero bytes change nothing.
    """
    values = np.frombuffer(data, np.uint8).copy()
    if len(values) < 4:
        return _crc32c_bytewise(data)
    values[:4] ^= 0xFF  # the register starts with ones
    lanes = 1 << (len(values).bit_length() // 2 + 1)
    length = -(-len(values) // lanes)
    padded = np.zeros(lanes * length, np.uint8)
    padded[-len(values) :] = values
    registers = np.zeros(lanes, np.uint32)
    for column in np.ascontiguousarray(padded.reshape(lanes, length).T):
        registers = _TABLE[(registers ^ column) & 0xFF] ^ (registers >> np.uint32(8))
    move = _power(_one_zero_byte(), length)
    while len(registers) > 1:
        registers = _apply(move, registers[0::2]) ^ registers[1::2]
        move = _apply(move, move)
    return int(registers[0]) ^ 0xFFFFFFFF


def _crc32c_bytewise(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register = int(_TABLE[(register ^ byte) & 0xFF]) ^ (register >> 8)
    return register ^ 0xFFFFFFFF


def _make_table() -> NDArray[np.uint32]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ (table & np.uint32(1)) * np.uint32(0x82F63B78)
    return table


_TABLE = _make_table()


def _one_zero_byte() -> NDArray[np.uint32]:
    """Return the effect of one zero byte on each bit of the register: the columns of a 32x32 matrix over {0, 1}."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    return _TABLE[bits & 0xFF] ^ (bits >> np.uint32(8))


def _apply(matrix: NDArray[np.uint32], registers: NDArray[np.uint32]) -> NDArray[np.uint32]:
    result = np.zeros_like(registers)
    for bit, column in enumerate(matrix):
        result ^= ((registers >> np.uint32(bit)) & np.uint32(1)) * column
    return result


def _power(matrix: NDArray[np.uint32], exponent: int) -> NDArray[np.uint32]:
    result = np.uint32(1) << np.arange(32, dtype=np.uint32)  # the identity
    while exponent:
        if exponent & 1:
            result = _apply(matrix, result)
        matrix, exponent = _apply(matrix, matrix), exponent >> 1
    return result


def _mask(checksum: int) -> int:
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _read_table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a LevelDB table, in the order of the keys."""
    if len(data) < FOOTER_SIZE or struct.unpack("<Q", data[-8:])[0] != MAGIC:
        raise CheckpointError("not a TensorFlow index, or cut short")
    footer = data[-FOOTER_SIZE:]
    _, position = _handle(footer, 0)  # skip the handle of the metadata block, which is empty
    index, _ = _handle(footer, position)
    for _, value in _read_block(data, *index):
        block, _ = _handle(value, 0)
        yield from _read_block(data, *block)


def _handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    offset, position = _varint(data, position)
    size, position = _varint(data, position)
    return (offset, size), position


def _read_block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    block, trailer = data[offset : offset + size], data[offset + size : offset + size + 5]
    if len(block) != size or len(trailer) != 5:
        raise CheckpointError("cut short")
    kind, checksum = struct.unpack("<BI", trailer)
    if _mask(crc32c(block + trailer[:1])) != checksum:
        raise CheckpointError("checksum of the index is wrong, fetch the file anew")
    if kind != 0:
        raise CheckpointError("compressed, which is not supported: TensorFlow does not compress its checkpoints")
    end = size - 4 - 4 * int(struct.unpack("<I", block[-4:])[0])
    key, position = b"", 0
    while position < end:
        shared, position = _varint(block, position)
        unshared, position = _varint(block, position)
        length, position = _varint(block, position)
        middle = position + unshared
        if shared > len(key) or middle + length > end:
            raise CheckpointError("broken index")
        key = key[:shared] + block[position:middle]
        yield key, block[middle : middle + length]
        position = middle + length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise CheckpointError("broken index")


def _fields(data: bytes) -> dict[int, list[int | bytes]]:
    """Parse a protocol buffer message into its fields, by field number."""
    fields: dict[int, list[int | bytes]] = {}
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        value: int | bytes
        match tag & 7:
            case 0:
                value, position = _varint(data, position)
            case 2:
                length, position = _varint(data, position)
                value, position = data[position : position + length], position + length
            case 5:
                (value,), position = struct.unpack("<I", data[position : position + 4]), position + 4
            case 1:
                (value,), position = struct.unpack("<Q", data[position : position + 8]), position + 8
            case kind:
                raise CheckpointError(f"broken index: field of kind {kind}")
        if position > len(data):
            raise CheckpointError("broken index")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _number(fields: dict[int, list[int | bytes]], field: int) -> int:
    """Return a number field of a message; 0 if it is absent, as protocol buffers omit zeros."""
    value = fields.get(field, [0])[-1]
    if not isinstance(value, int):
        raise CheckpointError("broken index")
    return value


def _entry(data: bytes) -> Entry:
    fields = _fields(data)
    if 7 in fields:
        raise CheckpointError("holds a partitioned variable, which is not supported")
    shape = _fields(_message(fields, 2))
    sizes = tuple(_number(_fields(_as_bytes(dim)), 1) for dim in shape.get(2, []))
    return Entry(
        dtype=_number(fields, 1),
        shape=sizes,
        shard=_number(fields, 3),
        offset=_number(fields, 4),
        size=_number(fields, 5),
        checksum=_number(fields, 6),
    )


def _message(fields: dict[int, list[int | bytes]], field: int) -> bytes:
    return _as_bytes(fields.get(field, [b""])[-1])


def _as_bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise CheckpointError("broken index")
    return value
