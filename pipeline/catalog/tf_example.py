"""Parsing of `tf.train.Example` and `tf.train.SequenceExample`, the contents of TFRecords, without TensorFlow.

The messages are those of tensorflow/core/example/{feature,example}.proto, declared here by field number and parsed by
the protobuf library. A `map` is serialised as a list of keys and values, and is declared as such. A serialised Example
is a SequenceExample without feature lists, so one message reads both.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

_LABELS = {"one": 1, "many": 3}  # FieldDescriptorProto.Label
_TYPES = {"float": 2, "int64": 3, "message": 11, "bytes": 12}  # FieldDescriptorProto.Type

# Message -> its fields as (number, name, one or many, type).
_MESSAGES: dict[str, list[tuple[int, str, str, str]]] = {
    "BytesList": [(1, "value", "many", "bytes")],
    "FloatList": [(1, "value", "many", "float")],
    "Int64List": [(1, "value", "many", "int64")],
    "Feature": [(1, "bytes_list", "one", "BytesList"), (2, "float_list", "one", "FloatList"),
                (3, "int64_list", "one", "Int64List")],
    "NamedFeature": [(1, "key", "one", "bytes"), (2, "value", "one", "Feature")],
    "Features": [(1, "feature", "many", "NamedFeature")],
    "FeatureList": [(1, "feature", "many", "Feature")],
    "NamedFeatureList": [(1, "key", "one", "bytes"), (2, "value", "one", "FeatureList")],
    "FeatureLists": [(1, "feature_list", "many", "NamedFeatureList")],
    "SequenceExample": [(1, "context", "one", "Features"), (2, "feature_lists", "one", "FeatureLists")],
}  # fmt: skip


def _message_class() -> Any:
    """Make the class of SequenceExample, in a separate descriptor pool so that TensorFlow may also be loaded."""
    package = "pipeline.tf_example"
    file = descriptor_pb2.FileDescriptorProto(name="tf_example.proto", package=package, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field, label, kind in fields:
            declared = message.field.add(name=field, number=number, label=_LABELS[label])
            declared.type = _TYPES.get(kind, _TYPES["message"])
            if kind in _MESSAGES:
                declared.type_name = f".{package}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.SequenceExample"))


SequenceExample = _message_class()


class Example(NamedTuple):
    """The features of one record."""

    features: dict[str, list[Any]]  # name -> bytes, floats or integers
    steps: dict[str, int]  # name of a feature list -> its length; empty in a plain Example


def parse(data: bytes, names: Collection[str] | None = None) -> Example:
    """Read an Example or a SequenceExample.

    Args:
        data: The serialised message.
        names: Features to unpack; None for all. Unpacking a thousand floats takes longer than the rest of the parsing.

    Raises:
        ValueError: the bytes are neither of the two messages.
    """
    try:
        message = SequenceExample.FromString(data)
    except DecodeError:
        raise ValueError("neither a tf.train.Example nor a SequenceExample") from None
    features = {}
    for entry in message.context.feature:
        name, value = _name(entry.key), entry.value
        if names is None or name in names:
            features[name] = [*value.bytes_list.value, *value.float_list.value, *value.int64_list.value]
    return Example(
        features, {_name(entry.key): len(entry.value.feature) for entry in message.feature_lists.feature_list}
    )


def _name(key: bytes) -> str:
    return key.decode(errors="backslashreplace")
