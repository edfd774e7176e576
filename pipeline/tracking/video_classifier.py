"""The code of the registered model: encoded video in, actions out. MLflow stores this file and runs it.

    model = mlflow.pyfunc.load_model("models:/video-i3d-two-stream@candidate")
    model.predict([open("clip.mp4", "rb").read()])

Decoding, rate, size and flow are those of the stored clips, views and their average those of the test; so the answer
is what the test said of the same clip. Flow is computed here.
"""

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pydantic
from numpy.typing import NDArray

from pipeline.clips.protocols import protocol_of
from pipeline.clips.views import ViewSampler
from pipeline.config import Config, from_dict
from pipeline.flow import quantise, tvl1
from pipeline.ingest.child import decode_in_child
from pipeline.ingest.stages import flow_parameters
from pipeline.networks import load_network, network_inputs
from pipeline.scoring import mean_scores, score_views

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
        scores = self.scores(self.arrays(video))
        probabilities = np.exp(scores - np.logaddexp.reduce(scores))
        best = np.argsort(-probabilities, kind="stable")[:TOP]
        return Actions(labels=[self.labels[i] for i in best], probabilities=probabilities[best].tolist())

    def scores(self, arrays: dict[str, NDArray[np.uint8]]) -> NDArray[np.float64]:
        """(classes,): logits, or logarithms of probabilities where the test averages these."""
        sample, size = ViewSampler(self.config.clips, protocol_of(self.config)), self.config.evaluation.batch_size
        by_network = []
        for name, network in self.networks.items():
            views = {stream: sample.views(len(arrays[stream]), stream) for stream in self.inputs[name]}
            frames = {stream: sample.crops(arrays[stream][shown], stream)[None] for stream, (shown, _) in views.items()}
            places = {stream: windows for stream, (_, windows) in views.items()}
            by_network.append(score_views(network, frames, places, sample.protocol.average, size))
        return mean_scores(np.stack(by_network), sample.protocol.average)[0].astype(np.float64)

    def arrays(self, video: bytes) -> dict[str, NDArray[np.uint8]]:
        """The whole clip as it would be stored, (T, H, W, C) uint8 of each stream that the networks take."""
        ingest = self.config.ingest
        frames, _ = decode_in_child(  # what was sent is of unknown origin: it may hang or crash a decoder
            video, None, None, ingest.fps, ingest.short_side, ingest.max_seconds, ingest.decode_timeout_s
        )
        arrays: dict[str, NDArray[np.uint8]] = {"rgb": frames}
        if any("flow" in self.inputs[name] for name in self.networks):
            arrays["flow"] = quantise(tvl1(frames, ingest.flow.backend, **flow_parameters(ingest)), ingest.flow.bound)
        return arrays


mlflow.models.set_model(VideoClassifier())
