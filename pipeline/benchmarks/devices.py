"""The device that a benchmark runs on: how time is measured on it, and its peak speed."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch

from pipeline.config import ConfigError


def device_of(name: str) -> torch.device:
    """Return the device of a name; if the name is empty, a GPU if there is one, else the CPU.

    Raises:
        ConfigError: there is no such device here, or torch knows no such name.
    """
    gpu = torch.cuda.is_available()
    if name.startswith("cuda") and not gpu:
        raise ConfigError(f"--device {name}: torch {torch.__version__} sees no GPU here")
    try:
        device = torch.device(name or ("cuda" if gpu else "cpu"))
    except RuntimeError:
        raise ConfigError(f"--device {name}: torch knows no such device; say cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"--device {name}: this machine has {torch.cuda.device_count()} GPUs, numbered from 0")
    return device


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that `run` takes.

    A GPU is timed by the clock until it has finished; a CPU by processor time, which other programs disturb little.
    """
    if device.type != "cuda":
        start = time.process_time()
        run()
        return time.process_time() - start
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    run()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


@contextmanager
def one_core(device: torch.device) -> Iterator[None]:
    """Use one thread if the device is a CPU, because it is measured by processor time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if device.type == "cpu" else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def peaks(device: torch.device) -> dict[str, float]:
    """Measure the peak speed of the device: operations a second of a large matrix product, by dtype."""
    side = 8192 if device.type == "cuda" else 512
    found = {}
    with one_core(device):
        for dtype in (torch.bfloat16, torch.float32):
            a = torch.randn(side, side, device=device, dtype=dtype)
            seconds = min(seconds_of(partial(torch.mm, a, a), device) for _ in range(5))
            found[str(dtype).removeprefix("torch.")] = 2 * side**3 / seconds
    return found


def described(device: torch.device, peaks: dict[str, float]) -> str:
    """Describe the peak speed, as in `779 TFLOP/s, bfloat16 matrices of NVIDIA H200; ...`."""
    best = max(peaks, key=lambda dtype: peaks[dtype])
    what = "one core, by processor time" if device.type == "cpu" else torch.cuda.get_device_name(device)
    cudnn = f", cuDNN {torch.backends.cudnn.version()}" if device.type == "cuda" else ""
    return f"{peaks[best] / 1e12:.3g} TFLOP/s, {best} matrices of {what}; torch {torch.__version__}{cudnn}"
