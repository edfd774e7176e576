"""Published test protocols: which windows and crops of a clip are its views, and how their scores are averaged.

A window has the length and stride of training (`clips.frames`, `clips.stride`), because every paper tests on windows
like those on which it trained. I3D and the ConvNet+LSTM are exceptions: they take the whole clip at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.clips.windows import (
    centre_window,
    consecutive_windows,
    segment_windows,
    sliding_windows,
    snapshots,
    spread_windows,
    whole_clip,
)
from pipeline.config import ClipsConfig, ConfigError, EvaluationConfig, ModelConfig

Average = Literal["logits", "softmax"]
Windows = Callable[[int, ClipsConfig, str], NDArray[np.int64]]
SNAPSHOTS, STACK = 25, 10  # RGB frames, and flow frames around each: Quo Vadis, Table 1 (c), (d)


@dataclass(frozen=True)
class Protocol:
    """A test protocol.

    Attributes:
        name: the name in `evaluation.protocol`.
        source: where it is published.
        windows: function of the clip's number of frames, the clips config and the stream; returns the frame indices
            of each window, (windows, T).
        crops: number of crops of each window: 1, 3, 5 or 10 (`pipeline.clips.crops.view_crops`).
        average: what is averaged over the views: logits, or probabilities after the softmax.
        whole_side: whether frames are resized until the crop spans their shorter side, instead of to
            `clips.short_side`; after multi-scale training every protocol does so (`evaluated_side` of clips/crops.py).
    """

    name: str
    source: str
    windows: Windows
    crops: int = 1
    average: Average = "logits"
    whole_side: bool = False

    def __str__(self) -> str:
        crops = "centre crop" if self.crops == 1 else f"{self.crops} crops"
        return f"{self.name} ({self.source}; {crops}, {self.average} averaged)"


def _whole(length: int, clips: ClipsConfig, stream: str) -> NDArray[np.int64]:  # noqa: ARG001
    return whole_clip(length, clips.stride)[None]


def _consecutive(length: int, clips: ClipsConfig, stream: str) -> NDArray[np.int64]:  # noqa: ARG001
    return consecutive_windows(length, clips.frames, clips.stride)


def _sliding(length: int, clips: ClipsConfig, stream: str) -> NDArray[np.int64]:  # noqa: ARG001
    return sliding_windows(length, clips.frames, clips.stride)


def _snapshots(length: int, clips: ClipsConfig, stream: str) -> NDArray[np.int64]:  # noqa: ARG001
    return snapshots(length, SNAPSHOTS, 1 if stream == "rgb" else STACK)[None]


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        # The network averages the logits of the whole video over time; streams are summed (`evaluate_sample.py`).
        Protocol("i3d", "Quo Vadis, section 2.5 and kinetics-i3d", _whole),
        # One frame in five, 50 for 10 s; the network returns the logits of the last step.
        Protocol("lstm", "Quo Vadis, section 2.1 and Table 1 (a)", _whole),
        # 15 windows of 16 frames fit in 10 s: 240 of 250 frames.
        Protocol("c3d", "Quo Vadis, Table 1 (b)", _consecutive),
        # The network takes 25 RGB frames and 250 flow frames of 10 s at once.
        Protocol("two_stream", "Quo Vadis, Table 1 (c), (d)", _snapshots),
        # Windows of 32 frames at the stride of training (2, Table 6: 3 windows in 250 frames). The paper says that they
        # do not overlap, and not what happens to the frames between and behind them; here these are left out.
        Protocol("t3d", "Temporal 3D ConvNets, section 4", _consecutive),
        # Windows of 16 frames over the whole clip, the shorter side resized to 112 pixels.
        Protocol("resnet3d", "3D ResNets, section 3.2 and CVPR2018/test.py", _sliding, 1, "softmax", whole_side=True),
    )
}


def views(clips: int, crops: int) -> Protocol:
    """Return the protocol of N evenly spread clips x M crops, softmax averaged (Non-local Neural Networks, 5.1)."""

    def spread(length: int, config: ClipsConfig, stream: str) -> NDArray[np.int64]:  # noqa: ARG001
        return spread_windows(length, config.frames, config.stride, clips)

    return Protocol("views", f"{clips} clips", spread, crops, "softmax")


def segments(clips: int, crops: int) -> Protocol:
    """Return the test of Temporal Segment Networks: a window of each of N parts x M crops, logits averaged."""

    def middle(length: int, config: ClipsConfig, stream: str) -> NDArray[np.int64]:  # noqa: ARG001
        return segment_windows(length, config.frames, config.stride, clips)

    return Protocol("tsn", f"Temporal Segment Networks, section 3.3; {clips} segments", middle, crops)


def central(frames: int) -> Protocol:
    """Return I3D's protocol cut down to one window of `frames` frames in the middle of the clip, which costs less."""

    def centre(length: int, config: ClipsConfig, stream: str) -> NDArray[np.int64]:  # noqa: ARG001
        return centre_window(length, frames, config.stride)[None]

    return Protocol("i3d", f"the {frames} frames in the middle", centre)


def protocol_of(evaluation: EvaluationConfig, model: ModelConfig) -> Protocol:
    """Return the protocol of a test; `auto` is the published protocol of the network.

    Raises:
        ConfigError: there is no such network, the protocol does not fit the network, or `evaluation.frames` is given
            for a protocol other than I3D's.
    """
    from pipeline.models.registry import MODELS  # imports torch, which tasks that decode views do not need

    if model.name not in MODELS:
        raise ConfigError(f"model.name: {model.name}: no such network")
    published = MODELS[model.name].protocol
    name = published if evaluation.protocol == "auto" else evaluation.protocol
    if (name == "two_stream") != (published == "two_stream"):
        raise ConfigError(
            f"evaluation.protocol: {name} does not fit {model.name}: two_stream is that of the networks which "
            f"take snapshots, and theirs only"
        )
    if evaluation.frames is not None:
        if name != "i3d":
            raise ConfigError(
                f"evaluation.frames: {evaluation.frames} is for evaluation.protocol i3d, not {name}, whose windows "
                "have clips.frames"
            )
        return central(evaluation.frames)
    if name in (spread := {"views": views, "tsn": segments}):
        return spread[name](evaluation.views, evaluation.crops)
    return PROTOCOLS[name]
