"""MLflow runs: the driver creates a run, workers attach to it by id, and it ends with the right status.

Nothing here keeps a global "active run": a `Run` is two strings, so that it can be sent to any worker, and a restarted
worker continues in the same run instead of opening another.
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
from typing import Any, TypeVar

import mlflow
from mlflow import entities
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.store.entities import PagedList
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from pipeline import console
from pipeline.config import ConfigError, flatten, yaml_text
from pipeline.escaping import printable
from pipeline.interruptions import interruptible
from pipeline.masking import masked
from pipeline.shards.splits import counts_of
from pipeline.tracking.moved import ARTIFACTS, as_read, follow_storage, local_path
from pipeline.tracking.outages import OutageError, check_reachable, is_database, unreachable
from pipeline.tracking.source import INHERITED, source_tags

T = TypeVar("T")
ABOUT_EXPERIMENTS = {
    "mlflow.experimentKind": "custom_model_development",  # tells MLflow's pages that this is not GenAI
    MLFLOW_RUN_NOTE: "Video action recognition: trainings with a run a network, sweeps with a run a trial, and tests; "
    "each says what it is. Registered models have cards.",
}
HOW_IT_ENDED = ("last_failure", "stopped_early")
"""Tags that say how a run has ended, which do not hold any more when it goes on."""
AT_ONCE = 5  # times that a run is logged beside others that add the same row
MAX_PARAM = 6000  # characters; MLflow cuts longer values, but the whole config is an artifact too


@dataclasses.dataclass(frozen=True)
class Run:
    """A handle on an MLflow run, valid in any process that reaches the tracking server."""

    uri: str
    run_id: str

    @property
    def client(self) -> MlflowClient:
        """A client of the run's server."""
        return MlflowClient(self.uri, self.uri)

    def log_metrics(
        self, metrics: Mapping[str, float], step: int, model_id: str | None = None, data: tuple[str, str] | None = None
    ) -> None:
        """Log the metrics of one step in one request.

        Args:
            metrics: values by name.
            step: step of all of them.
            model_id: id of the logged model to which they belong; MLflow then shows them with the model too.
            data: name and digest of the data on which they were measured, as `log_shards` names it.
        """
        now = int(time.time() * 1000)
        name, digest = data or (None, None)
        logged = [Metric(key, float(value), now, step, model_id, name, digest) for key, value in metrics.items()]
        self.client.log_batch(self.run_id, metrics=logged)

    def last_step(self, name: str) -> int:
        """Return the last step of a metric that the server has; -1 if it has none."""
        return max((metric.step for metric in self.client.get_metric_history(self.run_id, name)), default=-1)

    def log_points(self, points: Sequence[tuple[int, int, Mapping[str, float]]]) -> None:
        """Log the metrics of many steps, given as (step, time in ms, metrics), in few requests."""
        logged = [Metric(key, float(value), at, step) for step, at, values in points for key, value in values.items()]
        client = self.client
        for start in range(0, len(logged), 1000):  # MLflow's limit of one request
            client.log_batch(self.run_id, metrics=logged[start : start + 1000])

    def log_history(self, history: Sequence[Mapping[str, float]]) -> None:
        """Log the epochs, numbered from 1, that the server does not have yet: several after a crash or an outage."""
        if not history:
            return
        name = next(iter(history[0]))
        logged = {metric.step for metric in self.client.get_metric_history(self.run_id, name)}
        for epoch, metrics in enumerate(history, start=1):
            if epoch not in logged:
                self.log_metrics(metrics, step=epoch)

    def log_config(self, config: Mapping[str, Any]) -> None:
        """Log a nested config as parameters with dotted names, and as a whole in `config.yaml`.

        Parameters cannot change: a resumed run keeps its first ones, and `config.yaml` has the current values.
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
        """Log a file with the given content."""
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
            shards: folder or URI of the shard set.
            manifest: manifest of the shard set.
            contexts: use of each split, such as {"train": "training"}.
        """
        with warnings.catch_warnings():  # MLflow has two equivalent classes for a local folder
            warnings.filterwarnings("ignore", "The specified dataset source can be interpreted in multiple ways")
            source = resolve_dataset_source(masked(shards) if "://" in shards else Path(shards).as_uri())
        inputs = []
        for split, context in contexts.items():
            counts = counts_of(manifest, split)
            dataset = MetaDataset(source, name=data_name(manifest["dataset"], split), digest=manifest["digest"])
            tags = {"mlflow.data.context": context, "split": split, "clips": str(counts["present"])}
            entity = dataset._to_mlflow_entity()
            inputs.append(DatasetInput(entity, [InputTag(key, value) for key, value in tags.items()]))
        for left in reversed(range(AT_ONCE)):
            try:
                self.client.log_inputs(self.run_id, datasets=inputs)
                return
            except MlflowException as error:
                # MLflow adds the data set to the experiment if it is not there. Of runs that do this at the same
                # moment, all but one are refused, and find it there the next time.
                if not left or error.error_code != ErrorCode.Name(BAD_REQUEST):
                    raise

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags, all in one request; control characters in them are spelled out."""
        texts = {name: printable(masked(str(value))) for name, value in tags.items()}
        self.client.log_batch(self.run_id, tags=[RunTag(name, text) for name, text in texts.items()])

    def children(self) -> list[entities.Run]:
        """Return the MLflow runs that have this one as their parent."""
        client, mine = self.client, f"tags.mlflow.parentRunId = '{self.run_id}'"
        experiment = client.get_run(self.run_id).info.experiment_id
        return list(every_page(lambda token: client.search_runs([experiment], mine, page_token=token)))

    def kill_children(self) -> int:
        """End the child runs that are still running, as their processes are gone; return how many others had ended."""
        below = self.children()
        running = [child for child in below if child.info.status == RunStatus.to_string(RunStatus.RUNNING)]
        for child in running:
            one = Run(self.uri, child.info.run_id)
            one.kill_children()
            one.end(RunStatus.KILLED)
        return len(below) - len(running)

    def end(self, status: int) -> None:
        """End the run with one of MLflow's `RunStatus`."""
        self.client.set_terminated(self.run_id, RunStatus.to_string(status))


def every_page(search: Callable[[str | None], PagedList[T]]) -> Iterator[T]:
    """Yield all results of a search of MLflow's client, which returns them page by page.

    Args:
        search: returns the page with a token; the first page has the token None.
    """
    page = search(None)
    yield from page
    while page.token:
        page = search(page.token)
        yield from page


def running_runs(uri: str) -> list[tuple[Run, str]]:
    """Return the runs that a server calls RUNNING and that are no part of others, each with its name.

    Raises:
        ConfigError: the server does not answer.
    """
    check_reachable(uri)
    client = MlflowClient(uri, uri)
    experiments: list[entities.Experiment] = list(every_page(lambda token: client.search_experiments(page_token=token)))
    ids, running = [one.experiment_id for one in experiments], "attributes.status = 'RUNNING'"
    found: list[entities.Run] = list(every_page(lambda token: client.search_runs(ids, running, page_token=token)))
    whole = [one for one in found if "mlflow.parentRunId" not in one.data.tags]
    return [(Run(uri, one.info.run_id), one.info.run_name) for one in whole]


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
    """Create or resume a run, and end it as FINISHED, FAILED or KILLED.

    Args:
        uri: tracking URI.
        experiment: name of the experiment, which is created if it does not exist.
        name: name of the run.
        parent: the run of which this one is a part.
        resume: id of an interrupted run to continue instead of creating one.
        artifacts: URI of the artifact root of a new experiment; None for that of the server.
        tags: tags of the run.

    Raises:
        ConfigError: the server does not answer, or the artifact folder was moved.
        OutageError: the server went away during the run, so that the last data is not logged.
    """
    check_reachable(uri)
    follow_storage(uri)
    client = MlflowClient(uri, uri)
    before = _run_of(client, resume) if resume is not None else None
    if before is None:
        place = experiment_id(client, experiment, artifacts)
        _check_artifacts(client, place, artifacts)
        source = masked(source_tags()) if parent is None else _handed_down(parent)
        run = Run(uri, client.create_run(place, run_name=name, tags=source).info.run_id)
    else:
        _check_artifacts(client, before.info.experiment_id, artifacts)
        run = Run(uri, before.info.run_id)
        client.update_run(run.run_id, status=RunStatus.to_string(RunStatus.RUNNING))
        for tag in before.data.tags.keys() & set(HOW_IT_ENDED):
            client.delete_tag(run.run_id, tag)
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
        with contextlib.suppress(MlflowException):  # for example if a SQLite file is on a full disk
            _end_early(run, error)
        raise


def _run_of(client: MlflowClient, run_id: str) -> entities.Run | None:
    """Return a run that is there; None if this server has no such run, since another one began it."""
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
    console.say(f"MLflow at {masked(client.tracking_uri)} has no run {run_id}; a new run begins there")
    return None


def _handed_down(parent: Run) -> dict[str, str]:
    """Return a child run's tags, from its parent: it may be created in a worker, which does not know the command."""
    tags = parent.client.get_run(parent.run_id).data.tags
    return {"mlflow.parentRunId": parent.run_id, **{name: tags[name] for name in INHERITED if name in tags}}


def _end_early(run: Run, error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt | SystemExit):
        run.end(RunStatus.KILLED)
    elif run.client.get_run(run.run_id).info.status == RunStatus.to_string(RunStatus.RUNNING):
        run.set_tags({"last_failure": (" ".join(str(error).split()) or type(error).__name__)[:1000]})
        run.end(RunStatus.FAILED)  # not if a parent run that stopped this one has already ended it


def experiment_id(client: MlflowClient, name: str, artifacts: str | None) -> str:
    """Return the id of an experiment, which is created if it does not exist.

    Args:
        client: a client of the server.
        name: name of the experiment.
        artifacts: URI of its artifact root if it is new; None for that of the server.
    """
    found = client.get_experiment_by_name(name)
    if found:
        for tag in ABOUT_EXPERIMENTS.keys() - found.tags.keys():
            client.set_experiment_tag(found.experiment_id, tag, ABOUT_EXPERIMENTS[tag])
        return found.experiment_id
    try:
        return client.create_experiment(name, artifact_location=artifacts, tags=ABOUT_EXPERIMENTS)
    except MlflowException:
        if (found := client.get_experiment_by_name(name)) is None:
            raise
        return found.experiment_id  # another job has created it in the meantime


def data_name(dataset: str, split: str) -> str:
    """Return the name of a split of a shard set among a run's inputs."""
    return f"{dataset}-{split}"


def use(uri: str) -> None:
    """Set the server of MLflow's fluent functions, which log models."""
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)


def artifact_root(uri: str, storage: str) -> str | None:
    """Return the artifact folder: in the storage if MLflow is only a database; None if a server has its own."""
    return as_read(f"{storage}/{ARTIFACTS}") if is_database(uri) else None


def time_stamp(now: Callable[[], datetime.datetime] | None = None) -> str:
    """Return the UTC time in the format used in names of runs: 20261129-001500."""
    return (now or (lambda: datetime.datetime.now(datetime.UTC)))().strftime("%Y%m%d-%H%M%S")


def _check_artifacts(client: MlflowClient, experiment_id: str, artifacts: str | None) -> None:
    """Check that a storage was not moved away from its artifacts: MLflow keeps absolute paths of them."""
    kept, wanted = local_path(client.get_experiment(experiment_id).artifact_location), local_path(artifacts or "")
    if kept and wanted and kept != wanted and not kept.parent.exists():
        before, now = str(kept.parent), str(wanted.parent)
        raise ConfigError(
            f"storage: it was moved, and its MLflow database names {before}; {shlex.join(['ln', '-s', now, before])} "
            "brings that back, or --tracking.uri sqlite:////FILE begins a new database"
        )
