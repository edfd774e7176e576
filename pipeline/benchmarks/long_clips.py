"""Peak memory of ingest on clips of different lengths: the work on a clip is done in slices, so it should not grow."""

import multiprocessing
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import av

from pipeline.config import FlowConfig, IngestConfig
from pipeline.ingest.decode import child_process
from pipeline.ingest.stages import make_convert
from pipeline.ingest.staging import make_store

CHEAP_FLOW = FlowConfig(nscales=1, warps=1, innerIterations=2, outerIterations=1, medianFiltering=1)
"""Settings of TV-L1 with which an hour of video takes minutes; they need nearly as much memory as the usual ones."""


@dataclass(frozen=True)
class Peak:
    """Largest resident memory in MB of the processes that ingested one clip."""

    seconds: int
    """Length of the clip."""
    frames: int
    worker_mb: float
    child_mb: float
    """Memory of the decoding process, shared pictures included."""
    grown_mb: float
    """Memory of both above what they had taken after a short clip."""
    stored_mb: float
    """Size of the stored clip, video and flow."""


def peaks(clip: Path, lengths: Iterable[int], config: IngestConfig) -> Iterator[Peak]:
    """Repeat a clip to each length in seconds, ingest it in a process of its own, and measure the memory.

    Args:
        clip: a video file whose first frame is a key frame that all others come after.
        lengths: lengths in seconds.
        config: settings of ingest; its longest clip, its time-out and its flow are not used.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for seconds in lengths:
            path = repeated(clip, seconds, Path(folder) / "long.mp4")
            with ProcessPoolExecutor(1, context) as pool:
                yield pool.submit(_peak, path, seconds, config, folder).result()


def repeated(clip: Path, seconds: int, path: Path) -> Path:
    """Write the packets of a clip again and again, without encoding, until the copy is so many seconds long."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.dts is not None]
        contents = [(bytes(packet), packet.pts, packet.dts, packet.is_keyframe) for packet in packets]
        first = min(pts for _, pts, _, _ in contents)
        length = (max(pts for _, pts, _, _ in contents) - first) * len(contents) // (len(contents) - 1)
        end, start = int(seconds / stream.time_base), 0
        while start < end:
            for content, pts, dts, key in contents:
                if start + pts - first < end:
                    packet = av.Packet(content)
                    packet.stream, packet.time_base, packet.is_keyframe = copy, stream.time_base, key
                    packet.pts, packet.dts = start + pts - first, start + dts - first
                    target.mux(packet)
            start += length
    return path


def _peak(path: Path, seconds: int, config: IngestConfig, folder: str) -> Peak:
    """Ingest a clip in this process, after its first two seconds alone."""
    chosen = replace(config, max_seconds=float(seconds + 60), decode_timeout_s=600.0, flow=CHEAP_FLOW)
    convert, store = make_convert(chosen), make_store(folder)
    row = {"clip_id": "long", "source": str(path), "start_s": None, "end_s": 2.0, "status": None}
    store(convert(dict(row)))
    child = child_process._child()
    before = _resident("VmRSS", "self") + _resident("VmRSS", child.pid)
    made = convert({**row, "end_s": None})
    if made["status"] == "failed":
        raise RuntimeError(f"{made['error_class']}: {made['error_message']}")
    stored = (made["video_bytes"] + made.get("flow_bytes", 0)) / 1e6
    frames = made["num_frames"]
    store(made)
    worker, its = _resident("VmHWM", "self"), _resident("VmHWM", child.pid)
    return Peak(seconds, frames, worker, its, worker + its - before, stored)


def _resident(name: str, process: int | str) -> float:
    """Return a field of a process's status in MB, such as its largest resident memory, VmHWM."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) * 1024 / 1e6
