"""Objects of S3, of Google Cloud Storage and of Azure's blob storage, with as few requests as each task needs.

A read is one GET, a small write one PUT, a listing one request per 1,000 objects, and on S3 a deletion one request per
1,000 objects too. There are no folders, and so no request makes one. Clients keep their connections. Each process makes
its own, when it needs it first, because what obstore runs in the background does not survive a fork.
"""

import configparser
import functools
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import obstore
import pyarrow.fs as pafs
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

CONNECT_S, SILENCE_S, REQUEST_S, RETRY_S, RETRIES = 10.0, 60.0, 900.0, 120.0, 8
"""Seconds that a connection may take, that a store may be silent, that a request may take in all, and after which a
request that failed is not sent again; and how often it is sent again before that."""
PART = 16 << 20
"""Bytes of the largest object that one PUT writes; larger ones are sent in parts of this size."""

TAIL = 512 << 10
"""Bytes that the first request of an opened object brings, from its end: a small object, or the footer of a shard."""

_AT_ONCE = 4  # parts on their way at the same time, which stay in memory
_OPTIONS = ("endpoint_override", "region", "scheme")
_ENVIRONMENT = ("AWS_", "AZURE_", "GOOGLE_", "HOME")
_FORBIDDEN = (obstore.exceptions.PermissionDeniedError, obstore.exceptions.UnauthenticatedError)
_MACHINE = re.compile(r"http://(169\.254\.|metadata\.google)")  # whom a client asks if nobody has given it credentials


@dataclass(frozen=True)
class ObjectPath:
    """An object, or the beginning of the names of several, in a bucket.

    All methods raise `FileNotFoundError` if there is no such object or bucket, `PermissionError` if the store refuses
    the credentials, and `OSError` for everything else. The messages have one line and no secrets.
    """

    store: ObjectStore
    key: str
    place: str
    """The bucket as messages name it, without secrets."""

    def child(self, name: str) -> Self:
        """Return the object of that name below this one."""
        return replace(self, key=f"{self.key}/{name}".lstrip("/"))

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes from `start` on, fewer than `length` if the object ends before, with one request."""
        if length == 0:
            return b""
        options = {"range": {"offset": start} if length is None else (start, start + length)}
        end = None if length is None else start + length
        return self._got(options if start or length else {}, slice(start, end))[0]

    def read_end(self, most: int) -> tuple[bytes, int]:
        """Return the last bytes of the object, at most `most`, and the size of the object, with one request.

        Azure needs a second request, because it does not know such ranges.
        """
        if isinstance(self.store, AzureStore):
            size = self.head()["size"]
            return self.read(max(0, size - most), min(size, most)), size
        return self._got({"range": {"suffix": most}}, slice(-most, None))

    def _got(self, options: Any, part: slice) -> tuple[bytes, int]:
        with _plain_errors(self):
            try:
                answer = obstore.get(self.store, self.key, options=options)
                size = answer.meta["size"]
                return answer.bytes().to_bytes(), size
            except obstore.exceptions.BaseError as error:
                if "416 " in str(error):  # the object ends before the range
                    return b"", 0
                if "non-partial response" not in str(error):
                    raise
            content = obstore.get(self.store, self.key).bytes().to_bytes()  # of a store that knows no ranges
            return content[part], len(content)

    def open(self) -> "ObjectFile":
        """Open the object for reading at any place."""
        return ObjectFile(self)

    def write(self, content: bytes) -> None:
        """Write the object, with one request if it is not larger than `PART`."""
        with _plain_errors(self):
            obstore.put(self.store, self.key, content, chunk_size=PART, max_concurrency=_AT_ONCE)

    def write_with(self, write: Callable[[io.RawIOBase], Any]) -> None:
        """Call `write` with a file, and make it the object when `write` returns; there is no object if it raises."""
        with (
            _plain_errors(self),
            obstore.open_writer(self.store, self.key, buffer_size=PART, max_concurrency=_AT_ONCE) as file,
        ):
            write(_Writer(file))

    def head(self) -> "obstore.ObjectMeta":
        """Return size and time of the object."""
        with _plain_errors(self):
            return obstore.head(self.store, self.key)

    def exists(self) -> bool:
        """Return whether there is such an object, or any whose name begins with this one and a slash."""
        try:
            self.head()
        except FileNotFoundError:
            return any(True for _ in self.below())
        return True

    def below(self) -> Iterator[tuple[str, int]]:
        """Yield names and sizes of the objects whose names begin with this one and a slash."""
        prefix = f"{self.key}/" if self.key else ""
        with _plain_errors(self):
            for found in obstore.list(self.store, self.key or None):
                for one in found:
                    if one["path"].startswith(prefix):  # not what other tools write to mark the folder itself
                        yield one["path"].removeprefix(prefix), one["size"]

    def directly(self) -> tuple[list[str], list[str]]:
        """Return the names of objects and of folders directly below."""
        prefix = f"{self.key}/" if self.key else ""
        with _plain_errors(self):
            found = obstore.list_with_delimiter(self.store, self.key or None)
        objects = [one["path"].removeprefix(prefix) for one in found["objects"] if one["path"].startswith(prefix)]
        return sorted(objects), sorted(path.removeprefix(prefix) for path in found["common_prefixes"])

    @staticmethod
    def remove(objects: "Iterable[ObjectPath]") -> None:
        """Delete objects, many with a request; those that are not there are no error."""
        keys: dict[int, tuple[ObjectPath, list[str]]] = {}
        for one in objects:
            keys.setdefault(id(one.store), (one, []))[1].append(one.key)
        for first, names in keys.values():
            with _plain_errors(first):
                try:
                    obstore.delete(first.store, names)
                except FileNotFoundError:  # Google and Azure say so, and then leave the others
                    for name in names:
                        _remove(first.store, name)


class _Writer(io.RawIOBase):
    """obstore's writer as a file of Python, which it nearly is."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, content: Any) -> int:
        """Write all of the content."""
        return int(self._file.write(content))


class ObjectFile(io.RawIOBase):
    """An object opened for reading: one request brings its last `TAIL` bytes and its size, and one each read before."""

    def __init__(self, path: ObjectPath) -> None:
        self._path, self._place = path, 0
        self._tail, self.size = path.read_end(TAIL)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position of the next read, and return it."""
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes, all of `size` unless the object ends before."""
        start, end = self._place, self.size
        if size is not None and size >= 0:
            end = min(end, start + size)
        known = self.size - len(self._tail)
        if start >= end:
            return b""
        content = self._path.read(start, min(end, known) - start) if start < known else b""
        self._place = end
        return content + self._tail[max(start, known) - known : max(end, known) - known]

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, and return the number of bytes."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


def object_path(uri: str) -> ObjectPath | None:
    """Return the object that an address names, or None if it is no address of a store that this module knows.

    Args:
        uri: `s3://`, `gs://`, `gcs://`, `az://` or `azure://`, then the bucket and the path in it. In front of the
            bucket may stand an access key and its secret, or `anonymous` for Google. In the query may stand `region`,
            `endpoint_override`, and `scheme`, which is http or https. What is not given there comes from the usual
            environment variables, from the profile in AWS's file of credentials, or from the machine. The names of
            files may be appended to an address with a query too.

    Raises:
        ValueError: the address has no bucket or other options.
    """
    scheme = uri.partition("://")[0].lower()
    make = {"s3": _s3, "gs": _google, "gcs": _google, "az": _azure, "azure": _azure}.get(scheme)
    if make is None or "://" not in uri:
        return None
    parts = urlsplit(uri, allow_fragments=False)
    query = cast(re.Match[str], re.match(r"(?:://|[^/])*", parts.query))[0]
    path = unquote(parts.path + parts.query.removeprefix(query))
    environment = tuple(sorted(pair for pair in os.environ.items() if pair[0].startswith(_ENVIRONMENT)))
    store = _client(make, parts.netloc, query, os.getpid(), environment)
    bucket = f"{scheme}://{parts.netloc.rpartition('@')[2]}"
    return ObjectPath(store, "/".join(part for part in path.split("/") if part), bucket)


def _remove(store: ObjectStore, key: str) -> None:
    try:
        obstore.delete(store, key)
    except FileNotFoundError:
        return


@functools.lru_cache(maxsize=16)
def _client(
    make: Callable[[str, str, str, dict[str, str]], ObjectStore],
    place: str,
    query: str,
    process: int,  # noqa: ARG001 - part of the key, since a client does not survive a fork
    environment: tuple[tuple[str, str], ...],  # noqa: ARG001 - part of the key, since clients read it
) -> ObjectStore:
    options = dict(parse_qsl(query))
    user, _, bucket = place.rpartition("@")
    if not bucket or options.keys() - set(_OPTIONS):
        raise ValueError(f"an address of a store needs a bucket, and knows no options but {', '.join(_OPTIONS)}")
    name, _, secret = user.partition(":")
    return make(bucket, unquote(name), unquote(secret), options)


def _s3(bucket: str, name: str, secret: str, options: dict[str, str]) -> S3Store:
    endpoint = _endpoint(options) or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    keys = {"access_key_id": name, "secret_access_key": secret} if name else _profile()
    config: dict[str, Any] = {
        "region": region or ("us-east-1" if endpoint else pafs.resolve_s3_region(bucket)),
        "virtual_hosted_style_request": not endpoint and "." not in bucket,
        **({"endpoint": endpoint} if endpoint else {}),
    }
    return S3Store(bucket, **config, **cast(Any, keys), **_limits(endpoint))


def _google(bucket: str, name: str, secret: str, options: dict[str, str]) -> GCSStore:  # noqa: ARG001
    endpoint = _endpoint(options)
    config: dict[str, Any] = {"base_url": endpoint} if endpoint else {}
    return GCSStore(bucket, **config, skip_signature=name == "anonymous", **_limits(endpoint))


def _azure(bucket: str, name: str, secret: str, options: dict[str, str]) -> AzureStore:
    endpoint = _endpoint(options)
    keys = {"account_name": name, "account_key": secret, "endpoint": endpoint}
    config: dict[str, Any] = {key: value for key, value in keys.items() if value}
    return AzureStore(bucket, **config, **_limits(endpoint))


def _endpoint(options: dict[str, str]) -> str | None:
    given = options.get("endpoint_override")
    return given if not given or "://" in given else f"{options.get('scheme', 'https')}://{given}"


def _limits(endpoint: str | None) -> dict[str, Any]:
    return {
        "client_options": {
            "allow_http": bool(endpoint and endpoint.startswith("http://")),
            "connect_timeout": timedelta(seconds=CONNECT_S),
            "read_timeout": timedelta(seconds=SILENCE_S),
            "timeout": timedelta(seconds=REQUEST_S),
        },
        "retry_config": {"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_S)},
    }


def _profile() -> dict[str, str]:
    """Return the keys of the profile in AWS's file of credentials, unless the environment has some."""
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return {}
    file = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser()
    profiles, name = configparser.RawConfigParser(), os.environ.get("AWS_PROFILE", "default")
    try:
        profiles.read(file)
    except configparser.Error:
        raise ValueError(f"{file}: does not read; correct it, or set AWS_ACCESS_KEY_ID") from None
    given = dict(profiles[name]) if profiles.has_section(name) else {}
    known = ("access_key_id", "secret_access_key", "session_token")
    return {key: given[f"aws_{key}"] for key in known if f"aws_{key}" in given}


@contextmanager
def _plain_errors(at: ObjectPath) -> Iterator[None]:
    """Raise obstore's errors as errors of the system, on one line and without secrets."""
    where = f"{at.place}/{at.key}"
    try:
        yield
    except FileNotFoundError as error:
        if "Error performing" not in str(error):
            raise  # of the caller, not of the store
        raise FileNotFoundError(f"{where}: {_says(error)}") from None
    except obstore.exceptions.BaseError as error:
        if _MACHINE.search(str(error)):
            raise PermissionError(f"{where}: no credentials, neither given nor of this machine") from None
        raise (PermissionError if isinstance(error, _FORBIDDEN) else OSError)(f"{where}: {_says(error)}") from None


def _says(error: Exception) -> str:
    """Return what a store has said: its code and message if it gave them, which hold no keys, or the client's words."""
    text, _, details = str(error).partition("\n\nDebug source:")
    said = re.search(r"<Code>(.*?)</Code>.*?<Message>(.*?)</Message>", text, re.DOTALL)
    if said:
        return " ".join(f"{said[1]}: {said[2]}".split())[:200]
    why = re.search(r"HttpError \{\s*kind: (\w+)", details)
    words = " ".join(text.partition(" - ")[2].partition(": <")[0].split()) or " ".join(text.split())
    return f"{words[:200]}{f' ({why[1]})' if why else ''}"
