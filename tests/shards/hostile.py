"""Things that a stranger may put into a shard set, for the tests that nothing of it runs, opens or fills the memory."""

import io
import struct
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
from PIL import Image
from ray.data._internal.object_extensions.arrow import ArrowPythonObjectArray


class WritesAFile:
    """An object whose unpickling writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def pickled(path: Path, count: int) -> pa.Array:
    """A column of Ray's pickled extension type; whoever makes Python values of it writes the file."""
    return ArrowPythonObjectArray.from_objects([WritesAFile(path)] * count)


def huge_png() -> bytes:
    """A picture of 12000 x 12000 pixels in 140 kB."""
    file = io.BytesIO()
    Image.new("L", (12_000, 12_000)).save(file, "PNG")
    return file.getvalue()


def ffconcat(target: Path) -> bytes:
    """A list that makes libav open a local file."""
    return f"ffconcat version 1.0\nfile '{target}'\n".encode()


def sdp() -> bytes:
    """A description of a session that makes libav listen on the network."""
    lines = ["v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=x", "c=IN IP4 127.0.0.1", "t=0 0", "m=video 5004 RTP/AVP 96"]
    return "\n".join([*lines, "a=rtpmap:96 H264/90000", ""]).encode()


def mp4_of(codec: str, pixel_format: str, container: str = "mp4", streams: int = 1, frames: int = 12) -> bytes:
    """A file of another codec, container or number of streams."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        made = [out.add_stream(codec, rate=25, options={"bf": "0"}) for _ in range(streams)]
        for stream in made:
            stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
        for stream in made:
            for number in range(frames):
                picture = np.full((48, 64, 3), 10 * number, np.uint8)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pixel_format)))
            out.mux(stream.encode(None))
    return file.getvalue()


def with_sequence(encoded: bytes, width: int, height: int) -> bytes:
    """A stored stream whose H.264 header states another size, up to 16 times that of the largest level."""
    start = encoded.rindex(b"avcC")
    box = start - 4
    (size,) = struct.unpack_from(">I", encoded, box)
    old = encoded[start + 4 : box + size]
    (length,) = struct.unpack_from(">H", old, 6)
    sequence = _sequence(width, height)
    new = old[:6] + struct.pack(">H", len(sequence)) + sequence + old[8 + length :]
    grown = len(new) - len(old)
    changed = bytearray(encoded[: start + 4] + new + encoded[box + size :])
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1", b"avcC"):
        place = encoded.rindex(kind) - 4
        struct.pack_into(">I", changed, place, struct.unpack_from(">I", encoded, place)[0] + grown)
    return bytes(changed)


def with_size(encoded: bytes, width: int, height: int) -> bytes:
    """A stored stream whose container states another size, at most 65535 x 65535."""
    changed = bytearray(encoded)
    struct.pack_into(">HH", changed, encoded.rindex(b"avc1") + 28, width, height)
    return bytes(changed)


def with_frames(encoded: bytes, frames: int) -> bytes:
    """A stored stream that states another number of frames, all of one byte."""
    changed = bytearray(encoded)
    struct.pack_into(">II", changed, encoded.rindex(b"stsz") + 8, 1, frames)
    struct.pack_into(">I", changed, encoded.rindex(b"stts") + 12, frames)
    struct.pack_into(">I", changed, encoded.rindex(b"stsc") + 16, frames)
    return bytes(changed)


def _sequence(width: int, height: int) -> bytes:
    """A sequence parameter set of the High profile: its values are codes of variable length (Exp-Golomb)."""
    bits = ""

    def number(value: int) -> None:
        nonlocal bits
        code = f"{value + 1:b}"
        bits += "0" * (len(code) - 1) + code

    for value in (0, 1, 0, 0):  # id, 4:2:0, 8 bits of luma and of chroma
        number(value)
    bits += "00"  # no bypass, no scaling matrices
    for value in (0, 2, 1):  # frame numbers of 4 bits, no order of its own, one reference
        number(value)
    bits += "0"
    number(width // 16 - 1)
    number(height // 16 - 1)
    bits += "11" + "0" + "0" + "1"  # frames, direct inference, no cropping, no more parameters; the end
    bits += "0" * (-len(bits) % 8)
    payload = int(bits, 2).to_bytes(len(bits) // 8, "big")
    for zeros in (b"\0\0\0", b"\0\0\1", b"\0\0\2", b"\0\0\3"):
        payload = payload.replace(zeros, b"\0\0\3" + zeros[2:])
    return bytes([0x67, 100, 0, 62]) + payload
