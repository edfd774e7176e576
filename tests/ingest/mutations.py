"""What may happen to a file on its way: each takes its bytes and a seeded generator, and gives other bytes."""

from collections.abc import Callable

import numpy as np

Mutation = Callable[[bytearray, bytes, np.random.Generator], bytearray]

EXTREMES = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def place(content: bytes, rng: np.random.Generator) -> int:
    """Somewhere in a file; half the time near its ends, where the headers and indices are."""
    size = len(content)
    if rng.random() < 0.5:
        return int(rng.integers(size))
    near = int(rng.integers(min(size, 1024)))
    return near if rng.random() < 0.6 else size - 1 - near


def block(content: bytes, rng: np.random.Generator) -> slice:
    """A part of up to a quarter of a file."""
    start = place(content, rng)
    return slice(start, start + 1 + int(rng.integers(max(1, len(content) // 4))))


def flip_bits(content: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    """A bad disk or line."""
    for _ in range(int(2 ** rng.uniform(0, 7))):
        content[place(content, rng)] ^= 1 << int(rng.integers(8))
    return content


def extreme_number(content: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    """A length, a count, a size or a time that is absurd."""
    for _ in range(int(rng.integers(1, 5))):
        start, size = place(content, rng), int(rng.choice([1, 2, 4, 8]))
        value = EXTREMES[int(rng.integers(len(EXTREMES)))] % (1 << 8 * size)
        content[start : start + size] = value.to_bytes(size, "big" if rng.random() < 0.6 else "little")
    return content


def cut(content: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    """A transfer that ended early, or began late."""
    at = place(content, rng)
    return content[:at] if rng.random() < 0.8 else content[at:]


def cut_out(content: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    """A lost part."""
    del content[block(content, rng)]
    return content


def fill(content: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    """A hole of zeros, of ones or of noise."""
    part = block(content, rng)
    size = len(content[part])
    kind = int(rng.integers(3))
    content[part] = rng.bytes(size) if kind == 2 else bytes([255 * kind]) * size
    return content


def swap(content: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    """Blocks out of order."""
    size = max(1, len(content) // int(rng.integers(3, 64)))
    one, two = (int(rng.integers(max(1, len(content) - size))) for _ in range(2))
    content[one : one + size], content[two : two + size] = content[two : two + size], content[one : one + size]
    return content


def repeat(content: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    """A part that comes twice."""
    part = block(content, rng)
    content[part.start : part.start] = content[part]
    return content


def other_head(content: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    """The head of another kind of file."""
    size = int(2 ** rng.uniform(3, 11))
    content[:size] = other[:size]
    return content


def other_middle(content: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    """A part of another file in the midst of this."""
    part = block(other, rng)
    at = place(content, rng)
    content[at : at + len(other[part])] = other[part]
    return content


MUTATIONS: list[Mutation] = [
    flip_bits, extreme_number, cut, cut_out, fill, swap, repeat, other_head, other_middle,
]  # fmt: skip


def mutated(files: list[bytes], seed: int, case: int) -> tuple[bytes, str]:
    """Case number `case`: a function of its arguments alone, so that each can be looked at again.

    Returns:
        The bytes, and which file was changed how.
    """
    rng = np.random.default_rng([seed, case])
    which = int(rng.integers(len(files)))
    content, names = bytearray(files[which]), []
    for _ in range(1 + int(rng.geometric(0.6) - 1)):
        if not content:
            break
        mutation = MUTATIONS[int(rng.integers(len(MUTATIONS)))]
        content = mutation(content, files[int(rng.integers(len(files)))], rng)
        names.append(mutation.__name__)
    return bytes(content), f"file {which}: {', '.join(names)}"
