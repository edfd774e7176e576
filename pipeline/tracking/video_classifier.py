"""The code of the registered model: encoded video in, actions out. MLflow stores this file and runs it.

    model = mlflow.pyfunc.load_model("models:/video-i3d-two-stream@candidate")
    model.predict([open("clip.mp4", "rb").read()])

Decoding, rate, size, flow and crop are those with which the networks were trained; flow is computed here.
"""

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pydantic
import torch
from numpy.typing import NDArray

from pipeline.clips.crops import whole_crop
from pipeline.clips.normalise import normalise
from pipeline.clips.windows import centre_window, middle_frames, whole_clip
from pipeline.config import Config, from_dict
from pipeline.flow import quantise, tvl1
from pipeline.ingest.child import decode_in_child
from pipeline.ingest.stages import flow_parameters
from pipeline.networks import BOTH, load_network, network_inputs

TOP = 5


class Actions(pydantic.BaseModel):
    """The most likely actions of one video, best first."""

    labels: list[str]
    probabilities: list[float]


class VideoClassifier(mlflow.pyfunc.PythonModel):
    """One network a stream, of whose logits the mean decides, or one that takes both."""

    def load_context(self, context: Any) -> None:
        """Load what `pipeline.tracking.registry` stored."""
        stored = json.loads(Path(context.artifacts["model"]).read_text())
        self.labels: list[str] = stored["labels"]
        self.config = from_dict(Config, stored["config"])
        self.inputs = network_inputs(self.config.model)
        self.networks = {
            stream: load_network(self.config.model, stream, len(self.labels), context.artifacts[stream])
            for stream in stored["streams"]
        }

    def predict(self, model_input: list[bytes]) -> list[Actions]:
        """Classify encoded videos, each a whole file of any container and codec."""
        return [self.classify(video) for video in model_input]

    def classify(self, video: bytes) -> Actions:
        """The five most likely actions of one video with their probabilities."""
        windows = self.windows(video)
        with torch.inference_mode():
            logits = [
                network(*(normalise(windows[stream][None]) for stream in self.inputs[name]))
                for name, network in self.networks.items()
            ]
        probabilities = torch.stack(logits).mean(dim=0)[0].softmax(dim=0)
        best = probabilities.topk(min(TOP, len(self.labels)))
        return Actions(labels=[self.labels[i] for i in best.indices], probabilities=best.values.tolist())

    def windows(self, video: bytes) -> dict[str, torch.Tensor]:
        """What each network sees: the whole clip, (T, H, W, C) uint8."""
        ingest, clips = self.config.ingest, self.config.clips
        frames, _ = decode_in_child(  # what was sent is of unknown origin: it may hang or crash a decoder
            video, None, None, ingest.fps, ingest.short_side, ingest.max_seconds, ingest.decode_timeout_s
        )
        arrays: dict[str, NDArray[np.uint8]] = {"rgb": frames}
        if self.networks.keys() != {"rgb"}:
            arrays["flow"] = quantise(tvl1(frames, ingest.flow.backend, **flow_parameters(ingest)), ingest.flow.bound)
        shown = {stream: whole_clip(len(array), clips.stride) for stream, array in arrays.items()}
        if BOTH in self.networks:  # as many frames of flow as those of RGB need
            count = max(len(shown["flow"]) // clips.rgb_every, 1) * clips.rgb_every
            shown["flow"] = centre_window(len(arrays["flow"]), count, clips.stride)
            shown["rgb"] = middle_frames(shown["flow"], clips.rgb_every)
        crop = whole_crop(clips, frames.shape[1], frames.shape[2])
        return {
            stream: torch.from_numpy(crop.apply(array[shown[stream]], is_flow=stream == "flow"))
            for stream, array in arrays.items()
        }


mlflow.models.set_model(VideoClassifier())
