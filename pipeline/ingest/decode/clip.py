"""Decoding of one clip from a video file to upright pictures at a constant rate, by presentation time.

This runs native code on files of unknown origin and may hang or crash. So ingest calls it through
`pipeline.ingest.decode.child_process`, in a process that can be killed.
"""

import hashlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.ingest.clip_errors import FileNotFound, Unreadable, ZeroByte
from pipeline.ingest.decode.constant_rate import ConstantRate, Keep
from pipeline.ingest.decode.orientation import View, check_same_shape, view_of
from pipeline.ingest.decode.packet_digest import PacketDigest
from pipeline.ingest.decode.pixels import colour_notes, stretched
from pipeline.ingest.decode.reading import Reader
from pipeline.ingest.decode.seek import Doubt, after_jump
from pipeline.ingest.decode.source import Progress, damage, explained, open_video, video_stream
from pipeline.ingest.decode.stated_length import is_longer
from pipeline.ingest.decode.timestamps import Clock
from pipeline.ingest.decode.wholeness import Shown, judge


@dataclass(frozen=True)
class SourceFacts:
    """Facts about the source of a clip, which are recorded in its shard row."""

    source_codec: str
    source_width: int
    source_height: int
    source_fps: float
    source_frames: int
    """Number of decoded frames that are on screen during the clip, without those decoded only to reach its start."""
    source_bytes: int
    source_sha256: str
    packets_sha256: str
    """Digest of the compressed video of the clip alone; see `pipeline.ingest.decode.packet_digest`."""
    source_notes: str
    """Anything unusual, comma-separated: interlaced, turned, pixel aspect 64:51, times guessed, 3 damaged frames.

    A note may begin with a number and end in brackets; `pipeline.shards.source_notes` counts clips by what is between.
    """

    def columns(self) -> dict[str, Any]:
        """Return the facts as columns of a shard row."""
        return asdict(self)


def decode_clip(
    path: str,
    start_s: float | None,
    end_s: float | None,
    fps: int,
    short_side: int,
    max_seconds: float = 300.0,
) -> tuple[NDArray[np.uint8], SourceFacts]:
    """Decode, trim, resample and resize one clip.

    Args:
        path: path of a local video file, or `/proc/PID/fd/N` for one that was fetched into anonymous memory.
        start_s: start within the file in seconds from its first frame; None for the first frame.
        end_s: end within the file in seconds, exclusive; None for the end of the file.
        fps: frames per second of the result.
        short_side: shorter side of the result in pixels; both sides are rounded to even numbers.
        max_seconds: longest clip accepted in seconds, which limits memory.

    Returns:
        Frames, (T, H, W, 3) uint8 RGB, and facts of the source. T is round(seconds * fps).

    Raises:
        ClipError: the clip cannot be decoded; the subclass in `pipeline.ingest.clip_errors` says why.
    """
    pictures: list[NDArray[np.uint8]] = []

    def keep(position: int, picture: NDArray[np.uint8]) -> None:
        pictures[position:] = [picture]

    facts = decode_pictures(path, start_s, end_s, fps, short_side, max_seconds, keep=keep)
    return np.stack(pictures), facts


def decode_pictures(
    path: str, start_s: float | None, end_s: float | None, fps: int, short_side: int, max_seconds: float, *, keep: Keep
) -> SourceFacts:
    """Decode as `decode_clip` does, but pass each picture to `keep`; if an error is raised, the pictures are void."""
    fingerprint = _fingerprint(path)
    clip = partial(ConstantRate, fps, start_s, end_s, max_seconds, keep)
    if start_s:
        with suppress(Doubt):
            return _decode(path, fingerprint, clip(), short_side, max_seconds, jump=True)
    return _decode(path, fingerprint, clip(), short_side, max_seconds, jump=False)


def _decode(
    path: str, fingerprint: tuple[int, str], clip: ConstantRate, short_side: int, max_seconds: float, jump: bool
) -> SourceFacts:
    """Fill a clip by decoding from the beginning of the source, or after a jump to the clip's start."""
    digest = PacketDigest(clip.start, clip.last)
    progress = Progress(path)
    with explained(progress) as log, open_video(path) as container:
        stream = video_stream(container)
        progress.decoding = True
        if clip.last is None and is_longer(path, container, stream, clip.start + Fraction(max_seconds), max_seconds):
            raise clip.too_long()
        rate = stream.guessed_rate or stream.average_rate
        clock, reader = Clock(rate, max_seconds), Reader(container, stream, log, rate)
        view: View | None = None
        times: list[float] = []
        colours: set[str] = set()
        interlaced = damaged = 0

        def read(packet: av.Packet) -> None:
            digest.add(packet, clock.origin)

        if jump:
            frames = after_jump(container, stream, reader, clock, clip.start, read)
        else:
            frames = reader.frames(reader.packets(), read)
        for frame in frames:
            if view is None or (frame.width, frame.height) != progress.size:
                now = view_of(frame, short_side)
                check_same_shape(view or now, now)
                view = view or now
                progress.size = frame.width, frame.height
            progress.frames += 1
            since = clock.since_start(frame)
            times.append(float(since))
            clip.add(frame, since, view)
            if clip.complete:
                break
            if clip.frames == 1:  # earlier frames were not in the clip
                interlaced = damaged = 0
                colours.clear()
            interlaced += frame.interlaced_frame
            damaged += frame.is_corrupt
            colours |= colour_notes(frame, colours)
        if view is None:
            raise damage(path, "no frame decodes")
        ended = not clip.complete
        if ended:
            clip.end()
        shown = Shown(clock.origin or Fraction(0), times, clip.begun, clip.until, ended)
        flaws = judge(path, container, stream, reader, shown)
        clip.check()
        codec = stream.codec_context
        size, sha256 = fingerprint
        aspect = stream.sample_aspect_ratio
        notes = {
            "interlaced": 2 * interlaced > clip.frames,
            "turned": view.turned,
            f"pixel aspect {aspect and f'{aspect.numerator}:{aspect.denominator}'}": stretched(aspect),
            "times guessed": clock.guessed,
            **dict.fromkeys(sorted(colours), True),
            **flaws,
            f"ends before the clip ({clip.count} of {clip.count + clip.missing} frames)": clip.missing > 1,
        }
        return SourceFacts(
            source_codec=codec.name,
            source_width=codec.width,
            source_height=codec.height,
            source_fps=float(stream.average_rate or 0),
            source_frames=clip.frames,
            source_bytes=size,
            source_sha256=sha256,
            packets_sha256=digest.hexdigest(clock.origin),
            source_notes=", ".join(note for note, holds in notes.items() if holds),
        )


def _fingerprint(path: str) -> tuple[int, str]:
    """Return the number of bytes and the SHA-256 of a file."""
    file, memory = Path(path), path.startswith("/proc/")
    if not file.is_file():
        raise FileNotFound(
            "what was fetched into memory is gone" if memory else f"no file {file.name} in {file.parent}"
        )
    size = file.stat().st_size
    if size == 0:
        raise ZeroByte(f"{'what was fetched' if memory else 'the file'} is empty")
    try:
        with file.open("rb") as opened:
            return size, hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise Unreadable(f"{error.strerror}: {'memory of this worker' if memory else path}") from error
