"""Masking of secrets in addresses before they are written to a shard, a run, a config file, a card or a message.

An address may hold a user and password (`https://me:word@host`, `s3://KEY:SECRET@bucket`, a proxy's `me:word@host:80`)
and signed or keyed queries (`?X-Amz-Signature=...`). Nobody can list the names of such keys, so in the query of a web
server or object store everything is masked but what is known to be harmless.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
MASK = "***"
_STARS = re.escape(MASK)

HARMLESS = frozenset(
    {"allow_bucket_creation", "anonymous", "endpoint_override", "id", "list", "region", "scheme", "t", "v"}
    | {"workflowType"}
)
"""Names in the query of a web server or object store whose values stay."""

_STORES = r"(?:https?|s3|gs|gcs|abfss?|wasbs?|ftps?|socks\w*)"
_PASSWORD = re.compile(r"\b([a-z][\w+.-]*://)(?!\[)[^\s/:@]*:(?!\d{1,5}(?:[/?#\s]|$))(?:[^\s/]+|[^\s@]+)@", re.I)
_USER = re.compile(rf"\b({_STORES}://)[^\s/?#@:]+@", re.I)  # a token, perhaps
_PROXY = re.compile(r"(?<![\w/@:.%+-])[^\s/:@=,\"'<>()\[\]{}]+:[^\s/:@,\"']+@(?=[\w.-]+:\d+(?:[/\s,\"']|$))")
_QUERY = re.compile(r"\b([a-z][\w+.-]*)(://[^\s?#\"'<>]*\?)([^\s#\"'<>]+)", re.I)
_SECRET = re.compile(r"(?i)pass|pwd|token|secret|sig|key|credential")  # in a database's query


def masked(value: T) -> T:
    """Return a text, or a tree of dicts and lists, with `***` for each secret in an address."""
    return _masked(value)


def without_secrets(text: str) -> str:
    """Return a text without the secrets in its addresses: two that differ only in these give the same text."""
    text = re.sub(rf"([?&])(?:[^?&=\s]+=)?{_STARS}", r"\1", masked(text)).replace(f"{MASK}@", "")
    return re.sub(r"[?&]+(?=[&#\s]|$)", "", re.sub(r"\?&+", "?", text))


def is_masked(text: str) -> bool:
    """Return whether an address was stored without its secret, so that it cannot be used."""
    return re.search(rf"{_STARS}@|[=?&]{_STARS}", text) is not None


def masked_fields(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of the values in nested dicts that were stored without their secret."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from masked_fields(value, f"{prefix}{name}.")
        elif any(isinstance(one, str) and is_masked(one) for one in (value if isinstance(value, list) else [value])):
            yield f"{prefix}{name}"


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return _QUERY.sub(_query, _PROXY.sub(f"{MASK}@", _USER.sub(rf"\1{MASK}@", _PASSWORD.sub(rf"\1{MASK}@", value))))
    if isinstance(value, dict):
        return {key: _masked(one) for key, one in value.items()}
    return [_masked(one) for one in value] if isinstance(value, list | tuple) else value


def _query(found: re.Match[str]) -> str:
    scheme, place, query = found.groups()
    is_store = re.fullmatch(_STORES, scheme, re.I)
    parts = re.split(r"([&;])", query)
    for number, part in enumerate(parts):
        name, given, _ = part.partition("=")
        secret = given and (name not in HARMLESS if is_store else _SECRET.search(name))
        if secret:
            parts[number] = f"{name}={MASK}"
        elif is_store and re.fullmatch(r"[\w%+/.-]{8,}", part):  # a key without a name
            parts[number] = MASK
    return f"{scheme}{place}{''.join(parts)}"
