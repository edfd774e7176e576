"""Measure the peak speed of one core: vector instructions and bytes a second."""

import time
from collections.abc import Callable

import numpy as np

from pipeline.flow.cpu.compiled import inlined
from pipeline.flow.cpu.vectors import LANES, load, total

ROUNDS = 1_000_000
CHAINS = 12  # independent chains, so that no instruction waits for the result of the one before


def vector_peak() -> float:
    """Measure the fused multiply-adds of whole vectors a second, on one core."""
    numbers = np.full(2 * LANES, 0.1, np.float32)
    return CHAINS * ROUNDS / _best(lambda: _multiply_add(numbers, ROUNDS))


def copy_bandwidth(megabytes: int = 256) -> float:
    """Measure the bytes that a copy too large for any cache reads and writes a second, on one core."""
    source = np.ones(megabytes * 1_000_000 // 4, np.float32)
    target = np.empty_like(source)
    return 2 * source.nbytes / _best(lambda: np.copyto(target, source))


def _best(run: Callable[[], object], repeats: int = 5) -> float:
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@inlined
def _multiply_add(numbers, rounds):  # type: ignore[no-untyped-def]
    x, y = load(numbers, 0), load(numbers, LANES)
    a, b, c, d, e, f = x, x + y, y, x - y, x * y, y - x
    g, h, i, j, k, m = a + y, b + y, c + y, d + y, e + y, f + y
    for _ in range(rounds):
        a, b, c, d = a * y + x, b * y + x, c * y + x, d * y + x
        e, f, g, h = e * y + x, f * y + x, g * y + x, h * y + x
        i, j, k, m = i * y + x, j * y + x, k * y + x, m * y + x
    return total(a + b + c + d + e + f + g + h + i + j + k + m)
