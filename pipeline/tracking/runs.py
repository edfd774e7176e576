"""MLflow runs: the driver makes one, workers attach to it by id, and it ends with the status that is true.

Nothing here keeps a global "active run": a `Run` is two strings, so that it travels to any worker, and a restarted
worker goes on in the same run instead of opening another.
"""

import contextlib
import dataclasses
import datetime
import shlex
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from pipeline.config import ConfigError, flatten, yaml_text
from pipeline.interruptions import interruptible
from pipeline.masking import masked
from pipeline.tracking.outages import OutageError, check_reachable, is_database, unreachable
from pipeline.tracking.source import INHERITED, source_tags

ABOUT_EXPERIMENTS = {
    "mlflow.experimentKind": "custom_model_development",  # for MLflow's pages: this is not GenAI
    MLFLOW_RUN_NOTE: "Video action recognition: trainings with a run a network, sweeps with a run a trial, and tests; "
    "each says what it is. Registered models have cards.",
}
MAX_PARAM = 6000  # MLflow cuts longer values; the whole config is an artifact anyway


@dataclasses.dataclass(frozen=True)
class Run:
    """A handle on an MLflow run, good in any process that reaches the tracking server."""

    uri: str
    run_id: str

    @property
    def client(self) -> MlflowClient:
        """A client of the run's server."""
        return MlflowClient(self.uri, self.uri)

    def log_metrics(
        self, metrics: Mapping[str, float], step: int, model_id: str | None = None, data: tuple[str, str] | None = None
    ) -> None:
        """Log numbers of one step in one request.

        Args:
            metrics: by their names.
            step: which all of them have.
            model_id: the id of the logged model that they are of; MLflow then shows them with it too.
            data: name and digest of the data they stand on, as `log_shards` names it.
        """
        now = int(time.time() * 1000)
        name, digest = data or (None, None)
        logged = [Metric(key, float(value), now, step, model_id, name, digest) for key, value in metrics.items()]
        self.client.log_batch(self.run_id, metrics=logged)

    def last_step(self, name: str) -> int:
        """The last step of a metric that the server has; -1 where it has none."""
        return max((metric.step for metric in self.client.get_metric_history(self.run_id, name)), default=-1)

    def log_points(self, points: Sequence[tuple[int, int, Mapping[str, float]]]) -> None:
        """Log numbers of many steps, as (step, time in ms, metrics), in few requests."""
        logged = [Metric(key, float(value), at, step) for step, at, values in points for key, value in values.items()]
        client = self.client
        for start in range(0, len(logged), 1000):  # MLflow's limit of one request
            client.log_batch(self.run_id, metrics=logged[start : start + 1000])

    def log_history(self, history: Sequence[Mapping[str, float]]) -> None:
        """Log those epochs, numbered from 1, that the server has not yet: after a crash or an outage several."""
        if not history:
            return
        name = next(iter(history[0]))
        logged = {metric.step for metric in self.client.get_metric_history(self.run_id, name)}
        for epoch, metrics in enumerate(history, start=1):
            if epoch not in logged:
                self.log_metrics(metrics, step=epoch)

    def log_config(self, config: Mapping[str, Any]) -> None:
        """Log a nested config as parameters with dotted names, and whole as `config.yaml`.

        Parameters cannot change: those of a resumed run stay, and `config.yaml` says what it goes on with.
        """
        config, known = masked(dict(config)), self.client.get_run(self.run_id).data.params
        params = [Param(name, str(value)[:MAX_PARAM]) for name, value in flatten(config).items() if name not in known]
        for start in range(0, len(params), 100):  # MLflow's limit of one request
            self.client.log_batch(self.run_id, params=params[start : start + 100])
        self.log_text("config.yaml", yaml_text(config))

    def log_text(self, path: str, text: str) -> None:
        """Log a text artifact."""
        self.client.log_text(self.run_id, masked(text), path)

    def log_json(self, path: str, value: Any) -> None:
        """Log a JSON artifact."""
        self.client.log_dict(self.run_id, masked(value), path)

    def log_bytes(self, path: str, content: bytes) -> None:
        """Log a file of any kind."""
        folder, _, name = path.rpartition("/")
        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary) / name
            file.write_bytes(content)
            self.client.log_artifact(self.run_id, str(file), folder or None)

    def log_figure(self, path: str, figure: Any) -> None:
        """Log a matplotlib figure as a picture."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / Path(path).name
            figure.savefig(file, dpi=120, bbox_inches="tight")
            self.client.log_artifact(self.run_id, str(file), str(Path(path).parent) if "/" in path else None)

    def log_shards(self, shards: str, manifest: Mapping[str, Any], contexts: Mapping[str, str]) -> None:
        """Log a shard set as the run's input data, under its digest.

        Args:
            shards: folder or URI.
            manifest: the manifest of that shard set.
            contexts: split to what it is used for, such as {"train": "training"}.
        """
        with warnings.catch_warnings():  # MLflow has two classes for a local folder, which make no difference
            warnings.filterwarnings("ignore", "The specified dataset source can be interpreted in multiple ways")
            source = resolve_dataset_source(shards if "://" in shards else Path(shards).as_uri())
        inputs = []
        for split, context in contexts.items():
            counts = manifest["splits"][split]
            dataset = MetaDataset(source, name=data_name(manifest["dataset"], split), digest=manifest["digest"])
            tags = {"mlflow.data.context": context, "split": split, "clips": str(counts["present"])}
            entity = dataset._to_mlflow_entity()
            inputs.append(DatasetInput(entity, [InputTag(key, value) for key, value in tags.items()]))
        self.client.log_inputs(self.run_id, datasets=inputs)

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags, all in one request."""
        entities = [RunTag(name, masked(str(value))) for name, value in tags.items()]
        self.client.log_batch(self.run_id, tags=entities)

    def kill_children(self) -> int:
        """End runs below this one whose processes are gone; how many of them had ended by themselves."""
        experiment = self.client.get_run(self.run_id).info.experiment_id
        below = self.client.search_runs([experiment], f"tags.mlflow.parentRunId = '{self.run_id}'", max_results=1000)
        running = [child for child in below if child.info.status == RunStatus.to_string(RunStatus.RUNNING)]
        for child in running:
            one = Run(self.uri, child.info.run_id)
            one.kill_children()
            one.end(RunStatus.KILLED)
        return len(below) - len(running)

    def end(self, status: int) -> None:
        """End the run with one of MLflow's `RunStatus`."""
        self.client.set_terminated(self.run_id, RunStatus.to_string(status))


@contextlib.contextmanager
def tracked_run(
    uri: str,
    experiment: str,
    name: str,
    *,
    parent: Run | None = None,
    resume: str | None = None,
    artifacts: str | None = None,
    tags: Mapping[str, object] | None = None,
) -> Iterator[Run]:
    """Make a run, or take one up again, and end it as FINISHED, FAILED or KILLED.

    Args:
        uri: tracking URI.
        experiment: its name; made where there is none.
        name: the name of the run.
        parent: the run that this one is part of.
        resume: id of an interrupted run to continue instead of making one.
        artifacts: URI of the artifact root of a new experiment; the server's own where None.
        tags: set on the run.

    Raises:
        ConfigError: there is no server, or the folder of the artifacts was moved.
        OutageError: it went away, and what was to be logged last is not.
    """
    check_reachable(uri)
    client = MlflowClient(uri, uri)
    if resume is None:
        experiment_id = _experiment(client, experiment, artifacts)
        _check_artifacts(client, experiment_id, artifacts)
        source = masked(source_tags()) if parent is None else _handed_down(parent)
        resume = client.create_run(experiment_id, run_name=name, tags=source).info.run_id
    else:
        _check_artifacts(client, client.get_run(resume).info.experiment_id, artifacts)
        client.update_run(resume, status=RunStatus.to_string(RunStatus.RUNNING))
    run = Run(uri, resume)
    try:
        run.set_tags(tags or {})
        with interruptible():  # `ray job stop` and Kubernetes send SIGTERM
            yield run
        run.end(RunStatus.FINISHED)
    except BaseException as error:
        if reason := unreachable(uri):
            if isinstance(error, MlflowException):
                says = f"MLflow at {masked(uri)} does not answer ({reason}); what was computed stays"
                raise OutageError(f"{says}, --resume NAME goes on when it is back") from error
            raise
        with contextlib.suppress(MlflowException):  # such as of a SQLite file on a disk that is full
            _end_early(run, error)
        raise


def _handed_down(parent: Run) -> dict[str, str]:
    """Of a run below another; it may be made in a worker, which knows nothing of the command that began it all."""
    tags = parent.client.get_run(parent.run_id).data.tags
    return {"mlflow.parentRunId": parent.run_id, **{name: tags[name] for name in INHERITED if name in tags}}


def _end_early(run: Run, error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt | SystemExit):
        run.end(RunStatus.KILLED)
    elif run.client.get_run(run.run_id).info.status == RunStatus.to_string(RunStatus.RUNNING):
        run.set_tags({"last_failure": (" ".join(str(error).split()) or type(error).__name__)[:1000]})
        run.end(RunStatus.FAILED)  # unless a parent that had it stopped has ended it already


def data_name(dataset: str, split: str) -> str:
    """What a split of a shard set is called among a run's inputs."""
    return f"{dataset}-{split}"


def use(uri: str) -> None:
    """Point MLflow's fluent functions, which models are logged with, at a server."""
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)


def artifact_root(uri: str, storage: str) -> str | None:
    """The folder of artifacts: in the storage, where MLflow is only a database; None where a server has its own."""
    return f"{storage}/mlartifacts" if is_database(uri) else None


def time_stamp(now: Callable[[], datetime.datetime] | None = None) -> str:
    """The time as it stands in the names of runs, in UTC: 20261129-001500."""
    return (now or (lambda: datetime.datetime.now(datetime.UTC)))().strftime("%Y%m%d-%H%M%S")


def _experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    found = client.get_experiment_by_name(name)
    if found:
        for tag in ABOUT_EXPERIMENTS.keys() - found.tags.keys():
            client.set_experiment_tag(found.experiment_id, tag, ABOUT_EXPERIMENTS[tag])
        return found.experiment_id
    return client.create_experiment(name, artifact_location=artifacts, tags=ABOUT_EXPERIMENTS)


def _check_artifacts(client: MlflowClient, experiment_id: str, artifacts: str | None) -> None:
    """See that a database in a storage was not moved with it: MLflow keeps the whole path of what it stores."""
    kept = client.get_experiment(experiment_id).artifact_location
    if artifacts and kept.startswith("/") and kept != artifacts and not Path(kept).parent.exists():
        before, now = str(Path(kept).parent), str(Path(artifacts).parent)
        raise ConfigError(
            f"storage: it was moved, and its MLflow database names {before}; {shlex.join(['ln', '-s', now, before])} "
            "brings that back, or --tracking.uri sqlite:////FILE begins a new database"
        )
