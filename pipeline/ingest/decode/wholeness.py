"""Is this stream whole? The question is asked here, once for each clip, after the clip was read.

The evidence is, in this order: the container's own sizes compared with the bytes that are there (`truncation`, `avi`),
the video stream's own times, and what libav said while it read and decoded (`reading`). The container's duration may be
that of the sound, of subtitles or of a late start. So it counts only where nothing else is stated, and only if no
stream of the file reaches it. The rule:

    within the clip     Frames are lost where the times have a gap and libav saw damage at that place. A gap alone is a
                        still picture. Frames are damaged if libav says so when it decodes them. If lost and damaged
                        frames are more than `MOST_DAMAGED` of the clip, it is refused with `DecodeError`. If they are
                        fewer, their number is a note. In an AVI whose chunks are broken before or within the clip, it
                        is unknown when frames are shown, so the clip is refused
    at the source's     If the clip ends with its source, the picture must end where its own header says. AVI states the
    end                 number of frames, MP4 and often Matroska the duration of the video. A source that ends earlier
                        is refused: with `Truncated` if bytes are missing, else with `DecodeError`. If bytes are missing
                        behind the last frame, that is a note. A source that states no length is whole if it does not
                        end within an element or in damage; for MPEG-TS, MPEG-PS and raw streams nothing else is known

A clip that ends before the damage is a good clip.
"""

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from pipeline.ingest.clip_errors import DecodeError, Truncated
from pipeline.ingest.decode.avi import chunks
from pipeline.ingest.decode.reading import Reader, Sign, Signs
from pipeline.ingest.decode.source import damage
from pipeline.ingest.decode.stated_length import AVI, MATROSKA, STATING, stated_length
from pipeline.ingest.decode.transport_stream import packets_broken_at
from pipeline.ingest.decode.truncation import cut_short, matroska_end

MOST_DAMAGED = Fraction(1, 20)
"""Largest share of a clip's frames that may be lost or damaged."""

NEAR_S = Fraction(1, 2)
"""Seconds around a sign of damage in which a gap is a hole: packets come in another order than frames."""


@dataclass(frozen=True)
class Shown:
    """Which part of a stream a clip shows, in seconds from the first frame.

    Attributes:
        origin: the first frame's time in the stream, in seconds.
        times: times of all frames that were decoded.
        begun: time of the frame that is on screen at the clip's start.
        until: end of the clip's last frame.
        ended: whether the clip was read to the end of its source.
    """

    origin: Fraction
    times: list[float]
    begun: Fraction
    until: Fraction
    ended: bool


def judge(
    path: str, container: av.container.InputContainer, stream: av.VideoStream, reader: Reader, shown: Shown
) -> dict[str, bool]:
    """Return the notes on damage that leaves the clip usable, and whether each holds.

    Raises:
        DecodeError: too much of the clip is damaged or lost.
        Truncated: the source was cut short, and the clip needs what is missing.
        Encrypted: the damage is encryption.
    """
    signs = reader.signs
    within = [sign for sign in signs.all if _in_clip(sign, shown)]
    step = _step(shown.times, stream)
    broken_at = _broken_at(path, container.format.name)
    broken = broken_at is not None and (shown.ended or broken_at < signs.position)
    broken = broken or (shown.ended and signs.others_cut)
    if broken and container.format.name == AVI and not shown.ended:
        raise damage(path, f"its chunks are broken at byte {broken_at}, so the times of later frames are unknown")
    lost = _lost(signs, shown, step, anywhere=broken)
    note = "damaged container" if broken else ""
    if shown.ended:
        missing, at_end = _at_end(path, container, stream, signs, step, broken)
        lost, note = lost + missing, at_end or note
    spoilt = len({sign.time for sign in within if sign.spoilt and not _at_joint(sign, reader)})
    if container.format.name in STATING:
        spoilt += signs.early
    frames = lost + sum(float(shown.begun) <= time < float(shown.until) for time in shown.times)
    if lost + spoilt > MOST_DAMAGED * frames:
        words = f"; libav: {signs.last_words}" if signs.last_words else ""
        raise damage(path, f"of {frames} frames {lost} are lost and {spoilt} damaged{words}")
    lines = sum(sign.lines for sign in within)
    return {
        f"{lost} lost frames": lost > 0,
        f"{spoilt} damaged frames": spoilt > 0,
        f"{lines} errors of libav": lines > 0,
        f"{signs.early} undecodable packets before the first frame": signs.early > 0,
        note: bool(note),
        f"times begin anew ({len(reader.joints.places)})": bool(reader.joints.places),
    }


def _broken_at(path: str, name: str) -> int | None:
    """Return the first byte at which the structure of an AVI or transport stream is broken; None if it is whole."""
    if name == AVI:
        return chunks(path).broken_at
    return packets_broken_at(path) if name == "mpegts" else None


def _in_clip(sign: Sign, shown: Shown) -> bool:
    return sign.time is not None and shown.begun <= sign.time - shown.origin < shown.until


def _at_joint(sign: Sign, reader: Reader) -> bool:
    """Return whether a packet only seems corrupt because another recording begins behind it."""
    return not sign.lines and any(abs((sign.time or sign.before) - place) <= NEAR_S for place in reader.joints.places)


def _step(times: list[float], stream: av.VideoStream) -> Fraction:
    """Return the usual time from frame to frame in seconds."""
    if len(times) > 8:
        return Fraction(float(np.median(np.diff(times)))).limit_denominator(100_000) or Fraction(1, 1000)
    return 1 / (stream.guessed_rate or stream.average_rate or Fraction(25))


def _lost(signs: Signs, shown: Shown, step: Fraction, anywhere: bool) -> int:
    """Return how many frames of the clip are lost: gaps where libav saw damage, or any if damage may be `anywhere`."""
    harmful = [sign for sign in signs.all if not sign.harmless]
    anywhere = anywhere or signs.at_opening
    lost = 0
    for before, after in zip(shown.times, shown.times[1:], strict=False) if harmful or anywhere else ():
        if after - before <= 1.5 * float(step) or after <= shown.begun or before >= shown.until:
            continue
        start, end = Fraction(before) + shown.origin - NEAR_S, Fraction(after) + shown.origin + NEAR_S
        if anywhere or any(sign.before <= end and (sign.time is None or sign.time >= start) for sign in harmful):
            lost += round((after - before) / float(step)) - 1
    return lost


def _at_end(
    path: str,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    signs: Signs,
    step: Fraction,
    broken: bool,
) -> tuple[int, str]:
    """Return how many frames are missing at the end, and a note if the file is damaged elsewhere.

    Raises:
        Truncated: the source was cut short before its last frame.
        DecodeError: the source ends in damage before its last frame.
    """
    name = container.format.name
    cut = cut_short(path)
    damaged = broken or signs.at_opening or any(sign.time is None for sign in signs.all)
    note = "cut after its last frame" if cut or signs.ended_within else "damaged container" if damaged else ""
    stated = stated_length(container, stream)
    if stated is not None and name == AVI:
        count = signs.slots if note else max(signs.slots, chunks(path).frames[stream.index])
        missing = max(0, stream.frames - count)
        if count > stream.frames:
            note = note or f"more frames than its header says ({stream.frames})"
        if missing and cut is not None:
            raise damage(path, f"{count} of {stream.frames} frames are there")
        return missing, note
    whole = Fraction(container.duration or 0, av.time_base) if stated is None else stated
    if name not in STATING:  # the duration is an estimate
        if cut is not None:
            raise damage(path, f"ends at {float(signs.end):.2f} s")
        return 0, note
    if not whole:
        if signs.ended_within:
            raise Truncated(f"ends within an element, and states no length; libav: {signs.last_words}")
        if note:
            raise damage(path, f"ends in damage, and states no length; libav: {signs.last_words}")
        return 0, note
    end = signs.end - signs.start if stated is not None else max(signs.end, signs.others_end)
    exact = whole - Fraction(3, 2) * step
    early = f"ends early by its header ({float(end):.2f} of {float(whole):.2f} s)"
    if end >= (exact if note else whole - max(Fraction(1, 2), whole / 10)):
        return 0, note or (early if stated is not None and end < exact else "")
    if not note and name == MATROSKA and matroska_end(path) is not None:
        return 0, early if stated is not None else ""  # all bytes are there: the statement is old, or is the sound's
    found = damage(path, f"ends at {float(end):.2f} s; its header says {float(whole):.2f} s")
    raise found if damaged or type(found) is not DecodeError else Truncated(str(found))
