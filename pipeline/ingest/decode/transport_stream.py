"""The structure of an MPEG transport stream: packets of equal size, each of which begins with the byte 0x47."""

from pathlib import Path

import numpy as np

_SIZES = {188: 0, 192: 4, 204: 0}  # size of a packet: bytes before its sync byte
_SYNC, _FIRST = 0x47, 5  # so many packets in a row tell the size


def packets_broken_at(path: str) -> int | None:
    """Return the first byte at which a packet should begin and does not, or at which the last packet is cut.

    Bytes before the first packet do not count, since a recording may begin anywhere. None: all packets are whole.
    """
    size = Path(path).stat().st_size
    content = np.memmap(path, np.uint8, "r")
    for packet, before in _SIZES.items():
        for start in range(min(2 * packet, size)):
            syncs = content[start + before :: packet]
            if len(syncs) >= min(_FIRST, (size - start) // packet) > 0 and (syncs[:_FIRST] == _SYNC).all():
                wrong = np.flatnonzero(syncs != _SYNC)
                if wrong.size:
                    return start + int(wrong[0]) * packet
                rest = (size - start) % packet
                return size - rest if rest else None
    return 0
