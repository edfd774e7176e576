"""The code of the registered model: a thin wrapper of `VideoClassifier`. MLflow stores this file and runs it.

    model = mlflow.pyfunc.load_model("models:/video-i3d-two-stream@candidate")
    model.predict([open("clip.mp4", "rb").read()], params={"top_k": 3})

A request must hold the videos themselves: files that it names are not read.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow

from pipeline.config import Config, ConfigError, from_dict
from pipeline.ingest.clip_errors import ClipError
from pipeline.registry.video_classifier import Actions, Asked, VideoClassifier, failed


class NoVideo(ClipError):  # noqa: N818 - users read this name, as they do those of its siblings
    """The input is not the content of a file."""


class Answering:
    """The method `predict`, kept out of `VideoModel`, where MLflow's checks would refuse all videos because of one."""

    classifier: VideoClassifier

    def predict(self, model_input: list[bytes], params: dict[str, Any] | None = None) -> list[Actions]:
        """Classify encoded videos.

        Args:
            model_input: the videos, each the content of a file of any container and codec; base64 in JSON.
            params: `top_k`, `views` and `crops`, as in `Asked`.

        Returns:
            One answer per video, in order; the answer for a video that cannot be used has an error.
        """
        sent = _listed(model_input)
        try:
            asked = Asked(**(params or {}))
            contents = [_content(each) for each in sent]
            good = [content for content in contents if isinstance(content, bytes)]
            answers = self.classifier.classify(good, asked)
            return [next(answers) if isinstance(each, bytes) else failed(each) for each in contents]
        except ConfigError as error:
            return [failed(error) for _ in sent]


class VideoModel(Answering, mlflow.pyfunc.PythonModel):
    """The model that MLflow loads."""

    def load_context(self, context: Any) -> None:
        """Load the classifier that `pipeline.registry.model_versions` stored."""
        stored = json.loads(Path(context.artifacts["model"]).read_text())
        weights: Mapping[str, str] = {stream: context.artifacts[stream] for stream in stored["streams"]}
        self.classifier = VideoClassifier.from_weights(stored["labels"], from_dict(Config, stored["config"]), weights)


def _listed(model_input: Any) -> list[Any]:
    """Return the videos as a list; they come as a list, as the first column of a pandas table, or as a single video."""
    if hasattr(model_input, "iloc"):
        return list(model_input.iloc[:, 0])
    return list(model_input) if isinstance(model_input, list | tuple) else [model_input]


def _content(sent: Any) -> bytes | NoVideo:
    """Return the content of a video file, or the reason why the input is none."""
    if isinstance(sent, bytes | bytearray | memoryview):
        return bytes(sent)
    if not isinstance(sent, str):
        return NoVideo(f"{type(sent).__name__}; send the content of a video file, in JSON as base64")
    try:
        return base64.b64decode("".join(sent.split()), validate=True)
    except (binascii.Error, ValueError):
        return NoVideo("text that is no base64; send the content of a video file, not where it lies")


mlflow.models.set_model(VideoModel())
