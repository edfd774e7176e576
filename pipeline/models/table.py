"""The table of networks, as markdown: `python -m pipeline.models.table [--measure cpu cuda] [--rates FILE]`.

Rates are clips per second of the forward pass in evaluation, on the paper's clip size. On a GPU they are measured with
eight clips at a time in bfloat16, channels last. On the CPU they are measured with one clip in float32 on one core, by
processor time, so that other programs on the machine have little effect. `--rates` keeps the rates in a JSON file, so
that the table can show those of several machines.
"""

import argparse
import contextlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from pipeline.models.registry import ModelInfo, create_model, list_models

Rates = dict[str, dict[str, float]]  # device -> network -> clips per second

_I3D_TEST = "Kinetics-400 test, from ImageNet; Tables 2, 3"
_T3D = "UCF-101 split 1; Table 4"
_HARA = "Kinetics-400 val., mean of top-1 and top-5; authors' README"

# Accuracies in per cent, top-1 / top-5 unless the source says otherwise.
PUBLISHED: dict[str, tuple[str, str]] = {
    "i3d": ("RGB 71.1 / 89.3, flow 63.4 / 84.9", _I3D_TEST),
    "two_stream_i3d": ("74.2 / 91.3", _I3D_TEST),
    "i3d_resnet50": ("73.3 / 90.7", "Kinetics-400 val., 3 x 10 views; pytorchvideo"),
    "convnet_lstm": ("63.3", _I3D_TEST),
    "c3d": ("56.1", "Kinetics-400 test, from scratch; Tables 2, 3"),
    "two_stream": ("65.6", _I3D_TEST),
    "single_stream": ("RGB 62.2, flow 52.4", _I3D_TEST),
    "fused_two_stream": ("67.2", _I3D_TEST),
    "fused_single_stream": ("RGB 83.2, flow 85.8", "UCF-101 split 1, from ImageNet; Table 2"),
    "inflated": ("", "`backbone` resnet50; see below"),
    "t3d121": ("62.2", "Kinetics-400, depth not stated; Table 9, as a survey quotes it"),
    "t3d169": ("", ""),
    "densenet3d121": ("69.1", _T3D),
    "densenet3d169": ("", ""),
    "resnet3d18": ("66.1", _HARA),
    "resnet3d34": ("71.0", _HARA),
    "resnet3d50": ("72.2", _HARA),
    "resnet3d101": ("73.3", _HARA),
    "resnet3d152": ("73.7", _HARA),
    "resnet3d200": ("73.7", _HARA),
    "preact_resnet3d200": ("73.4", _HARA),
    "wide_resnet3d50": ("74.7", _HARA),
    "resnext3d101": ("75.4", _HARA),
    "hara_densenet3d121": ("70.8", _HARA),
    "hara_densenet3d201": ("72.3", _HARA),
}


def render(infos: Sequence[ModelInfo], rates: Rates) -> str:
    """Render the table, with a row for each network and a column of rates for each device."""
    titles = ["Network", "Paper", "Clip", "Parameters", "GMACs", "Published", "Of"]
    titles += [f"Clips/s, {device}" for device in rates]
    rows = [titles, ["---"] * len(titles)]
    for info in infos:
        clips = " + ".join(f"{t}x{s}x{s}x{c}" for c, t, s in info.clips.values())
        size = [f"{info.parameters / 1e6:.2f} M", f"{info.gmacs:.1f}"]
        measured = [_rate(device.get(info.name)) for device in rates.values()]
        paper = re.sub(r".*\(arXiv (.*)\)", r"[\1](https://arxiv.org/abs/\1)", info.paper) + f", {info.table}"
        rows.append([f"`{info.name}`", paper, clips, *size, *PUBLISHED[info.name], *measured])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _rate(clips_per_second: float | None) -> str:
    if clips_per_second is None:
        return ""
    digits = 0 if clips_per_second >= 100 else 1 if clips_per_second >= 10 else 2
    return f"{clips_per_second:,.{digits}f}"


def measure(info: ModelInfo, device: str, seconds: float = 2.0) -> float:
    """Measure a network's forward pass in clips per second: the best pass within `seconds`, but at least one pass."""
    cuda = device.startswith("cuda")
    batch = 8 if cuda else 1
    with torch.device(device):
        model = create_model(info.name, num_classes=400).eval().to(memory_format=torch.channels_last_3d)
        clips = {name: torch.rand(batch, c, t, s, s) for name, (c, t, s) in info.clips.items()}
    clips = {name: clip.to(memory_format=torch.channels_last_3d) for name, clip in clips.items()} if cuda else clips
    half = torch.autocast("cuda", torch.bfloat16) if cuda else contextlib.nullcontext()
    clock = time.perf_counter if cuda else time.process_time
    times: list[float] = []
    with torch.inference_mode(), half, _one_thread():
        while len(times) < 2 or sum(times) < seconds:  # the first one warms up
            start = clock()
            model(**clips)
            if cuda:
                torch.cuda.synchronize(device)
            times.append(clock() - start)
    return batch / min(times[1:])


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the requested devices and print the table."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.models.table", description=__doc__)
    parser.add_argument("--pattern", default="*", help='networks to show, for example "resnet3d*"')
    parser.add_argument("--measure", nargs="*", default=[], metavar="DEVICE", help="cpu, cuda")
    parser.add_argument(
        "--rates", type=Path, metavar="FILE", help="JSON file of measured rates, read and kept up to date"
    )
    options = parser.parse_args(arguments)
    infos = list_models(options.pattern)
    if not infos:
        parser.error(f'no network matches "{options.pattern}"')
    rates: Rates = json.loads(options.rates.read_text()) if options.rates and options.rates.exists() else {}
    for device in options.measure:
        name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "one CPU core"
        for info in infos:
            rates.setdefault(name, {})[info.name] = measure(info, device)
    if options.rates and options.measure:
        options.rates.write_text(json.dumps(rates, indent=2) + "\n")
    print(render(infos, rates))


if __name__ == "__main__":
    main()
