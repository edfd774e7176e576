"""Masking of passwords in addresses before they are written to a run, a config file, a card or a message."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
MASK = "***"
_USER_INFO = re.compile(r"([A-Za-z][\w+.-]*://[^\s/:@]*):[^\s/]+@")  # scheme://user:password@host
_QUERY = re.compile(r"(?i)([?&](?:password|passwd|pwd|token|secret|sig|signature|x-amz-[a-z-]+)=)[^&\s#]+")


def masked(value: T) -> T:
    """Return a text, or a tree of dicts and lists, with `***` for each password, token and signature in an address."""
    return _masked(value)


def is_masked(text: str) -> bool:
    """Return whether an address was stored without its secret, so that it cannot be used."""
    return f":{MASK}@" in text or f"={MASK}" in text


def masked_fields(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of the values in nested dicts that were stored without their secret."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from masked_fields(value, f"{prefix}{name}.")
        elif isinstance(value, str) and is_masked(value):
            yield f"{prefix}{name}"


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return _QUERY.sub(rf"\1{MASK}", _USER_INFO.sub(rf"\1:{MASK}@", value))
    if isinstance(value, dict):
        return {key: _masked(one) for key, one in value.items()}
    return [_masked(one) for one in value] if isinstance(value, list | tuple) else value
