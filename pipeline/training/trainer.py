"""The Ray Train run of the loop: the driver starts it, it restarts when a worker dies, and resumes under its name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.execution.callback import ControllerCallback

from pipeline import console
from pipeline.cluster import address_handed_on, definite, quiet_worker, use_gpu
from pipeline.config import Config, TrainingConfig
from pipeline.tracking.runs import Run
from pipeline.training.checkpoints import SELECT, SELECT_MODE, WEIGHTS
from pipeline.training.crash_cleanup import KeepCopy, tidy
from pipeline.training.failures import LOST, EndOrGoOn, TrainingError, explained, starts_again
from pipeline.training.job import Job
from pipeline.training.loop import monitored_loop
from pipeline.training.node_address import OnNodeAddress
from pipeline.training.old_controller import SignFolder, StillThereError, ended, wait_for_its_end
from pipeline.training.wait_for_workers import WaitForRoom

RESIZE_S = 600.0  # seconds between checks for room for more workers; adding them loses the steps since the checkpoint


@dataclass(frozen=True)
class Trained:
    """One trained network.

    Attributes:
        stream: its name: rgb, flow, two_stream or matching.
        checkpoint: folder or URI of the checkpoint that `training.keep` names.
        best: metrics of that checkpoint.
        history: metrics of every epoch.
    """

    stream: str
    checkpoint: str
    best: dict[str, float]
    history: list[dict[str, float]]

    @property
    def weights(self) -> str:
        """The path of the state dict in the checkpoint."""
        return str(Path(self.checkpoint) / WEIGHTS)


def train_stream(
    config: Config, stream: str, run: Run, folder: str, callbacks: Sequence[ray.train.UserCallback] = ()
) -> Trained:
    """Train one network under Ray Train.

    Args:
        config: the resolved config.
        stream: the name of the network: rgb, flow, two_stream or matching.
        run: MLflow run that rank 0 logs to.
        folder: where checkpoints go. Training resumes if the folder holds checkpoints.
        callbacks: further callbacks of Ray Train.

    Raises:
        TrainingError: an error occurred that would occur again, workers were lost more than `resources.max_failures`
            times, or there was no room for them within `resources.wait_minutes`.
    """
    config = definite(config)
    place, tries, lost = f"{folder}/{stream}", config.resources.max_failures, 0
    while True:
        try:
            wait_for_its_end(place)
        except StillThereError as error:
            raise TrainingError(f"{stream}: {error}") from error
        tidy(place)
        trainer = _trainer(config, stream, run, folder, callbacks)
        try:
            with address_handed_on():
                result = trainer.fit()
            break
        except KeyboardInterrupt:
            trainer.end()
            raise
        except (ray.train.TrainingFailedError, *LOST) as error:
            if isinstance(error, ray.train.TrainingFailedError):  # otherwise the controller may not have ended yet
                ended(place)
                tidy(place)
            lost += 1
            again = None if 0 <= tries < lost else starts_again(error)
            if again is None:
                raise explained(error, config, stream, folder, trial=bool(console.label())) from error
            console.say(f"{stream}: {again}")
    ended(place)
    kept = result.best_checkpoints  # in the order of training
    best, metrics = kept[-1] if config.training.keep == "last" else min(kept, key=lambda pair: pair[1][SELECT])
    return Trained(stream, best.path, metrics, result.return_value or [metrics])


def _trainer(
    config: Config, stream: str, run: Run, folder: str, callbacks: Sequence[ray.train.UserCallback]
) -> "_Trainer":
    gpu, resources = use_gpu(config.resources), config.resources
    least = resources.min_workers
    return _Trainer(
        monitored_loop,
        train_loop_config=Job(config, stream, run, console.label()).to_dict(),
        torch_config=OnNodeAddress(),
        scaling_config=ray.train.ScalingConfig(
            num_workers=resources.number_of_workers if least is None else (least, resources.number_of_workers),
            use_gpu=gpu,
            resources_per_worker={"CPU": resources.cpus_of_a_worker, **({"GPU": 1} if gpu else {})},
            elastic_resize_monitor_interval_s=RESIZE_S,
        ),
        run_config=ray.train.RunConfig(
            name=stream,
            storage_path=folder,
            failure_config=ray.train.FailureConfig(max_failures=resources.max_failures),
            checkpoint_config=_keep(config.training),
            callbacks=[
                _Heard(console.label()),
                SignFolder(f"{folder}/{stream}"),
                KeepCopy(f"{folder}/{stream}"),
                *callbacks,
                EndOrGoOn(stream, resources.max_failures),
                WaitForRoom(stream, resources),
            ],
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
        ),
    )


class _Trainer(TorchTrainer):
    """A Ray Train run that Ctrl-C interrupts like any other Python code.

    Ray's own handler shuts the workers down in order, which takes half a minute, exits with status 0, and does not
    react while the run waits for room. An orderly shutdown is not needed: an interrupted run resumes from its last
    checkpoint in any case.
    """

    def _register_sigint_handler(self, controller: Any) -> None:
        self._controller = controller

    def end(self) -> None:
        """Kill the controller, and with it its workers."""
        if controller := getattr(self, "_controller", None):
            ray.kill(controller)


class _Heard(ControllerCallback):
    """A callback that shows the messages of the run's controller."""

    def __init__(self, label: str) -> None:
        self.label = label

    def after_controller_start(self, train_run_context: object) -> None:  # noqa: ARG002
        """See the class."""
        quiet_worker(self.label)


def _keep(training: TrainingConfig) -> ray.train.CheckpointConfig:
    """Return which checkpoints Ray Train keeps; it always keeps the latest one, from which a run resumes."""
    if training.keep == "last":
        return ray.train.CheckpointConfig(num_to_keep=1)
    return ray.train.CheckpointConfig(
        num_to_keep=1, checkpoint_score_attribute=SELECT, checkpoint_score_order=SELECT_MODE
    )
