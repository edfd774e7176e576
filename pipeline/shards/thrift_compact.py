"""The compact encoding of Apache Thrift, in which Parquet writes its footer and its page headers.

A struct is read into a dictionary from field number to (type, value), without knowledge of what its fields mean, and
written again as the same bytes if nothing was changed. https://github.com/apache/thrift/blob/master/doc/specs/
thrift-compact-protocol.md
"""

from typing import Any, NamedTuple

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)

Struct = dict[int, "Field"]


class Field(NamedTuple):
    """A value and its type; the value of a list is (type of the items, items)."""

    type: int
    value: Any


def read_struct(data: bytes, place: int = 0) -> tuple[Struct, int]:
    """Read the struct at a place; return it and the place behind it.

    Raises:
        ValueError: the bytes have a type that Parquet's own structs do not.
        IndexError: the bytes end within the struct.
    """
    fields: Struct = {}
    number = 0
    while data[place]:
        kind, delta = data[place] & 15, data[place] >> 4
        place += 1
        if not delta:
            number, place = _signed(data, place)
        number += delta
        value, place = _read(kind, data, place)
        fields[number] = Field(kind, value)
    return fields, place + 1


def write_struct(fields: Struct) -> bytes:
    """Return the bytes of a struct."""
    out, last = bytearray(), 0
    for number, (kind, value) in fields.items():
        delta = number - last
        out += bytes([delta << 4 | kind]) if 0 < delta < 16 else bytes([kind]) + _zigzag(number)
        out += _written(kind, value)
        last = number
    return bytes(out + b"\0")


def _read(kind: int, data: bytes, place: int) -> tuple[Any, int]:
    if kind in (TRUE, FALSE):  # a field's type is its value
        return None, place
    if kind in (I16, I32, I64):
        return _signed(data, place)
    if kind in (BYTE, DOUBLE):
        size = 1 if kind == BYTE else 8
        return data[place : place + size], place + size
    if kind == BINARY:
        size, place = _unsigned(data, place)
        return data[place : place + size], place + size
    if kind in (LIST, SET):
        return _read_list(data, place)
    if kind == STRUCT:
        return read_struct(data, place)
    raise ValueError(f"thrift type {kind} is none of Parquet's")


def _read_list(data: bytes, place: int) -> tuple[tuple[int, list[Any]], int]:
    kind, count = data[place] & 15, data[place] >> 4
    place += 1
    if count == 15:
        count, place = _unsigned(data, place)
    items = []
    for _ in range(count):
        item, place = (data[place : place + 1], place + 1) if kind in (TRUE, FALSE) else _read(kind, data, place)
        items.append(item)
    return (kind, items), place


def _written(kind: int, value: Any) -> bytes:
    if kind in (TRUE, FALSE):
        return b""
    if kind in (I16, I32, I64):
        return _zigzag(value)
    if kind in (BYTE, DOUBLE):
        return bytes(value)
    if kind == BINARY:
        return _varint(len(value)) + value
    if kind == STRUCT:
        return write_struct(value)
    inner, items = value
    head = bytes([len(items) << 4 | inner]) if len(items) < 15 else bytes([15 << 4 | inner]) + _varint(len(items))
    return head + b"".join(item if inner in (TRUE, FALSE) else _written(inner, item) for item in items)


def _unsigned(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7


def _signed(data: bytes, place: int) -> tuple[int, int]:
    value, place = _unsigned(data, place)
    return value >> 1 ^ -(value & 1), place


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _zigzag(value: int) -> bytes:
    return _varint(value << 1 if value >= 0 else (-value << 1) - 1)
