"""Marks that say that a file is encrypted, so that an error can say so: its packets are whole, but decode to nothing.

MP4         a sample entry `encv` (ISO 23001-7), or packets with the key's id, which libav reads from the file
Matroska    a content encoding of a track that is ContentEncryption
MPEG-TS     packets whose scrambling bits are set; a stream has these if it comes from a broadcast
MPEG-PS     video packets whose scrambling bits are set, as on DVDs (CSS)
ASF         a content encryption object in the header
"""

from pathlib import Path

import av

_ASF = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"
_ASF_MARKS = (
    bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"),  # Content Encryption Object
    bytes.fromhex("14e68a292226174cb935dae07ee9289c"),  # Extended Content Encryption Object
)
_EBML, _CONTENT_ENCRYPTION = b"\x1a\x45\xdf\xa3", b"\x50\x35"
_HEAD, _TAIL = 1 << 20, 4 << 20
_MANY = 0.5  # share of the packets of a video that are scrambled in an encrypted file, and by no damage


def is_encrypted(packet: av.Packet) -> bool:
    """Return whether libav read with this packet the data that its decryption needs."""
    return packet.has_sidedata("encryption_info") or packet.has_sidedata("encryption_init_info")


def encryption(path: str) -> str | None:
    """Return how a file is encrypted, in words; None if nothing says that it is."""
    with Path(path).open("rb") as file:
        head = file.read(_HEAD)
        size = file.seek(0, 2)
        file.seek(max(_HEAD, size - _TAIL))
        tail = file.read()
    if head[4:8] == b"ftyp":
        return "an encrypted MP4 (encv)" if _has_box(head, b"encv") or _has_box(tail, b"encv") else None
    if head[:4] == _EBML:
        return "an encrypted Matroska file (ContentEncryption)" if _encrypts(head) else None
    if head[:8] == _ASF:
        return "an encrypted ASF file" if any(mark in head[: 1 << 16] for mark in _ASF_MARKS) else None
    if head[:4] == b"\x00\x00\x01\xba":
        return "a scrambled program stream (CSS)" if _scrambled_program(head) else None
    return "a scrambled transport stream" if _scrambled_transport(head) else None


def _has_box(content: bytes, kind: bytes) -> bool:
    """Return whether a sample entry of this kind is there: its length, its kind, six zeros and an index."""
    place = content.find(kind)
    while place >= 4:
        length = int.from_bytes(content[place - 4 : place], "big")
        if 86 <= length <= 1 << 16 and content[place + 4 : place + 10] == bytes(6):
            return True
        place = content.find(kind, place + 1)
    return False


def _encrypts(head: bytes) -> bool:
    """Return whether a ContentEncryption element lies within a ContentEncoding element, with lengths that fit."""
    place = head.find(b"\x62\x40")
    while place >= 0:
        length = head[place + 2] & 0x7F if place + 2 < len(head) and head[place + 2] & 0x80 else 0x7F
        if _CONTENT_ENCRYPTION in head[place + 3 : place + 3 + length]:
            return b"\x6d\x80" in head[max(0, place - 16) : place]
        place = head.find(b"\x62\x40", place + 1)
    return False


def _scrambled_transport(head: bytes) -> bool:
    for packet, offset in ((188, 0), (192, 4), (204, 0)):
        starts = range(offset, len(head) - 3, packet)
        if len(starts) > 8 and all(head[start] == 0x47 for start in starts[:8]):
            payload = [head[start + 3] for start in starts if head[start] == 0x47 and head[start + 3] & 0x10]
            return bool(payload) and sum(control >> 7 for control in payload) > _MANY * len(payload)
    return False


def _scrambled_program(head: bytes) -> bool:
    controls = []
    place = head.find(b"\x00\x00\x01\xe0")
    while 0 <= place < len(head) - 6:
        control = head[place + 6]
        if control >> 6 == 0b10:  # MPEG-2; MPEG-1 cannot be scrambled
            controls.append(control >> 4 & 0b11)
        place = head.find(b"\x00\x00\x01\xe0", place + 1)
    return bool(controls) and sum(map(bool, controls)) > len(controls) / 4  # players scramble about every second one
