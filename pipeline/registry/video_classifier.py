"""The classifier behind a registered model, without MLflow: encoded video in, actions out.

    classifier = VideoClassifier.load("model")  # a folder, see `pipeline.registry.model_folder`
    print(classifier("clip.mp4"))
    for actions in classifier.classify([Path("clip.mp4"), content_of_another]):
        ...

Decoding, frame rate, size and flow are those of the stored clips, and views and averaging are those of the test.
Therefore the answer equals that of the test for the same clip. Flow is computed here.
"""

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pydantic
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.config import Config, ConfigError, IngestConfig, from_dict
from pipeline.evaluation.protocols import protocol_of
from pipeline.evaluation.scoring import mean_scores, score_views
from pipeline.evaluation.view_cuts import ViewCuts
from pipeline.ingest.clip_errors import ClipError
from pipeline.networks import load_network, network_inputs
from pipeline.registry.model_folder import ModelFolderError, read_model_folder
from pipeline.registry.videos import Arrays, Reader, Video

TOP = 5

_log = logging.getLogger(__name__)


class Actions(pydantic.BaseModel):
    """The most likely actions of one video, best first; or the reason why there are none."""

    labels: list[str]
    probabilities: list[float]
    error: str | None = None


@dataclass(frozen=True)
class Asked:
    """The options of a request.

    Attributes:
        top_k: number of actions in the answer.
        views: number of windows, spread evenly over the video; 0 for the views of the test.
        crops: number of crops of each of these windows: 1, 3, 5 or 10; 0 for the number in the config.
    """

    top_k: int = TOP
    views: int = 0
    crops: Literal[0, 1, 3, 5, 10] = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: a value has no meaning.
        """
        for name, least in (("top_k", 1), ("views", 0), ("crops", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name}: {getattr(self, name)}; give {least} or more")
        allowed = (1, 3, 5, 10)
        if self.crops and not self.views:
            raise ConfigError(f"crops: {self.crops}; give views too, the number of windows that are cropped")
        if self.crops and self.crops not in allowed:
            raise ConfigError(f"crops: {self.crops}; give one of {', '.join(map(str, allowed))}")


class VideoClassifier:
    """A classifier with one network per stream, whose scores are averaged, or one network that takes both streams.

    Attributes:
        labels: class names in the order of the logits.
        config: config with which the networks were trained.
        networks: networks by name, on `device`, in evaluation mode.
        inputs: streams that each network takes.
        device: device on which to score: a GPU if there is one.
    """

    def __init__(self, labels: Sequence[str], config: Config, networks: Mapping[str, nn.Module]) -> None:
        self.labels, self.config = tuple(labels), config
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.networks = {name: network.to(self.device).eval() for name, network in networks.items()}
        self.inputs = {name: inputs for name, inputs in network_inputs(config.model).items() if name in networks}
        streams = tuple(dict.fromkeys(stream for inputs in self.inputs.values() for stream in inputs))
        self._reader = Reader(config.ingest, streams, flow_backend(config.ingest, self.device))
        self._scoring = threading.Lock()  # threads of a server score one video at a time, to save memory

    @classmethod
    def load(cls, folder: str | Path) -> "VideoClassifier":
        """Load a classifier from the folder of a downloaded model, or from one that `jobs/export.py` has written.

        Raises:
            ModelFolderError: the folder holds no classifier that this version of the package can read.
        """
        stored = read_model_folder(folder)
        try:
            return cls.from_weights(stored.labels, from_dict(Config, stored.config), stored.weights)
        except ConfigError as error:
            raise ModelFolderError(f"{folder}: stored by another version of this package: {error}") from None

    @classmethod
    def from_weights(
        cls, labels: Sequence[str], config: Config, weights: Mapping[str, str | Path]
    ) -> "VideoClassifier":
        """Load a classifier from stored weights and warm it up.

        Args:
            labels: class names in the order of the logits.
            config: config with which the networks were trained.
            weights: state dict file of each network.
        """
        networks = {name: load_network(config.model, name, len(labels), path, labels) for name, path in weights.items()}
        classifier = cls(labels, config, networks)
        classifier._reader.warm_up()
        return classifier

    def __call__(self, video: str | Video, asked: Asked = Asked()) -> Actions:
        """Return the most likely actions of one video.

        Args:
            video: the path or the content of a file of any container and codec.
            asked: the number of actions, and the views to score.

        Raises:
            ClipError: the video cannot be used; `classify` returns such an error as the answer instead.
            ConfigError: the networks cannot take the requested views.
        """
        cuts = self._cuts(asked)
        arrays = self._reader.read(Path(video) if isinstance(video, str) else video, cuts)
        return self._best(arrays, cuts, asked.top_k)

    def classify(self, videos: Iterable[Video], asked: Asked = Asked()) -> Iterator[Actions]:
        """Yield the most likely actions of each video, in order; an error with one video does not affect the others.

        Args:
            videos: the content or the path of each file, of any container and codec. Only a few are read ahead, so that
                there may be many.
            asked: the number of actions, and the views to score.

        Raises:
            ConfigError: the networks cannot take the requested views.
        """
        cuts = self._cuts(asked)
        for arrays in self._reader.read_all(videos, cuts):
            yield self._answer(arrays, cuts, asked.top_k)

    def scores(self, arrays: Arrays, cuts: ViewCuts | None = None) -> NDArray[np.float64]:
        """Score one video.

        Args:
            arrays: the whole clip of each stream, (T, H, W, C).
            cuts: the views to score; those of the test by default.

        Returns:
            (classes,) logits, or logarithms of probabilities if the test averages probabilities.
        """
        cuts = cuts or self._cuts(Asked())
        average, batch_size = cuts.protocol.average, self.config.evaluation.batch_size
        by_network = []
        for name, network in self.networks.items():
            frames, places = {}, {}
            for stream in self.inputs[name]:
                frames[stream], places[stream] = cuts.uncut(arrays[stream], stream)
            by_network.append(score_views(network, frames, places, average, batch_size, self.device))
        return mean_scores(np.stack(by_network), average)[0].astype(np.float64)

    def arrays(self, video: Video) -> Arrays:
        """Read the whole clip of each stream that the networks take, as it would be stored, (T, H, W, C).

        Raises:
            ClipError: the video cannot be used.
        """
        return self._reader.read(video, self._cuts(Asked()))

    def _answer(self, arrays: Arrays | Exception, cuts: ViewCuts, top_k: int) -> Actions:
        try:
            if isinstance(arrays, Exception):
                raise arrays
            return self._best(arrays, cuts, top_k)
        except ClipError as error:
            return failed(error)
        except Exception as error:  # of any kind, so that the other videos get their answers
            _log.exception("a video was not classified")
            return failed(error)

    def _best(self, arrays: Arrays, cuts: ViewCuts, top_k: int) -> Actions:
        with self._scoring:
            scores = self.scores(arrays, cuts)
        probabilities = np.exp(scores - np.logaddexp.reduce(scores))
        best = np.argsort(-probabilities, kind="stable")[:top_k]
        return Actions(labels=[self.labels[i] for i in best], probabilities=probabilities[best].tolist())

    def _cuts(self, asked: Asked) -> ViewCuts:
        config = self.config
        if asked.views:
            crops = asked.crops or config.evaluation.crops
            spread = replace(config.evaluation, protocol="views", views=asked.views, crops=crops, frames=None)
            config = replace(config, evaluation=spread)
        return ViewCuts(config.clips, protocol_of(config.evaluation, config.model))


def failed(error: Exception) -> Actions:
    """Return the answer for a video that cannot be classified."""
    words = (str(error).strip().splitlines() or ["no reason given"])[0]
    kind = "" if isinstance(error, ConfigError) else f"{type(error).__name__}: "
    return Actions(labels=[], probabilities=[], error=f"{kind}{words[:500]}")


def flow_backend(ingest: IngestConfig, device: torch.device) -> str:
    """Return the TV-L1 backend for a served model: OpenCV if the shards' flow is from it, else that of the device."""
    if ingest.flow.backend == "opencv":
        return "opencv"
    return "cuda" if device.type == "cuda" else "cpu"
