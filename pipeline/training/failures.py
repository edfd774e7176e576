"""Which failures end a training at once, and which are retried.

An error of the training itself would occur again at the same step, so it ends the run. The loss of a worker or of a
node is not such an error: Ray Train restarts the workers from the last checkpoint.
"""

import errno
import os
import shutil
from pathlib import Path

import ray.exceptions
import ray.train
import torch
import torch.distributed as dist
from ray.train import UserCallback

from pipeline import console
from pipeline.config import Config, TrainingConfig
from pipeline.training.wait_for_workers import NoRoomError

FULL = (errno.ENOSPC, errno.EDQUOT)
UNSEEN = "Unable to set up cluster storage"
"""What Ray Train says where a node does not see the file that the driver has written into the storage."""
FINAL = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    NotImplementedError,
    TypeError,
    ValueError,  # includes ConfigError and ShardError
    torch.OutOfMemoryError,
)

GONE = "killed, or its node is gone"
LOST = (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError)
"""What Ray raises of an actor whose process is gone."""


class TrainingError(RuntimeError):
    """The error that ends a training; its message is one line for the user."""


class EndOrGoOn(UserCallback):
    """A callback that ends the run on errors that would occur again, and says in a line what it survives.

    Args:
        stream: the name of the network.
        tries: how many failures the run survives; -1 for any number.
    """

    def __init__(self, stream: str, tries: int) -> None:
        self.stream, self.tries, self.survived = stream, tries, 0

    def after_exception(self, run_context: object, worker_exceptions: dict[int, Exception]) -> None:  # noqa: ARG002
        """See the class.

        Raises:
            ControllerError: a worker had such an error; Ray Train does not retry after this exception.
        """
        errors = {rank: _failure(error) for rank, error in worker_exceptions.items()}
        for rank, error in errors.items():
            if is_final(error):
                raise ray.train.ControllerError(worker_exceptions[rank])
        if self.tries < 0 or self.survived < self.tries:
            self.survived += 1
            console.say(f"{self.stream}: {_survived(worker_exceptions)}; all workers go on from the last checkpoint")


def save_tensors(value: object, path: Path) -> None:
    """Save with `torch.save`, and say so if the disk is full; torch itself only reports an unexpected position.

    Raises:
        OSError: the disk is full.
    """
    try:
        torch.save(value, path)
    except RuntimeError as error:
        if shutil.disk_usage(path.parent).free < 1 << 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def is_final(error: BaseException) -> bool:
    """Return whether the same error would occur again."""
    return isinstance(error, FINAL) or is_full(error) or UNSEEN in str(error)


def is_full(error: BaseException) -> bool:
    """Return whether the error is that a disk is full."""
    return getattr(error, "errno", None) in FULL or "No space left on device" in str(error)


def lost_to(error: BaseException) -> str:
    """Return in a few words why Ray has lost a process."""
    return "memory" if isinstance(error, ray.exceptions.OutOfMemoryError) else GONE


def starts_again(error: Exception) -> str | None:
    """Say what was lost that Ray Train itself does not start again; None if the error is not of this kind.

    Args:
        error: the error with which a whole training has ended.
    """
    if isinstance(error, LOST):
        return f"the process that controls the training was lost ({lost_to(error)}); it starts again"
    failure = getattr(error, "controller_failure", None)
    if isinstance(failure, ray.exceptions.OutOfMemoryError):  # a worker that dies at its start for another reason is
        return "a worker was lost as it started (memory); all workers start again"  # started again by Ray Train
    return None


def is_of_a_peer(error: BaseException) -> bool:
    """Return whether a rank failed because another process did not answer any more, as Ray, Gloo and NCCL say it."""
    network = isinstance(error, RuntimeError) and (isinstance(error, dist.DistError) or "/gloo/" in str(error))
    return network or isinstance(error, ray.exceptions.RayActorError)


def explained(
    error: ray.train.TrainingFailedError | ray.exceptions.RayError,
    config: Config,
    stream: str,
    folder: str,
    trial: bool = False,
) -> TrainingError:
    """Return an error whose message says in one line what happened, where, and what to do.

    Args:
        error: the error of Ray Train, or that of its controller, which was lost.
        config: the config of the training.
        stream: the name of the network.
        folder: where checkpoints go.
        trial: whether the training is a trial of an experiment, which goes on by its own command, without `--resume`.
    """
    cause = _cause(error)
    resume = "the same command tries it again" if trial else f"--resume {config.name} continues it"
    smaller = _smaller("" if trial else config.name, config.training)
    if is_full(cause):
        says = f"no space left on the disk of {folder}, or on that of temporary files; make some, then {resume}"
    elif UNSEEN in str(cause):
        says = f"{folder} is not there on the node of a worker; mount a folder that all nodes share, then {resume}"
    elif isinstance(cause, torch.OutOfMemoryError):
        says = (
            f"the GPU ran out of memory with training.batch_size {config.training.batch_size}, evaluation.batch_size "
            f"{config.evaluation.batch_size}; {smaller}"
        )
    elif isinstance(cause, MemoryError | ray.exceptions.OutOfMemoryError) or "running low on memory" in str(cause):
        says = (
            f"a node ran out of memory; {smaller}, more resources.worker_cpus and "
            "resources.loader_cpus put fewer processes on a node"
        )
    elif isinstance(cause, FloatingPointError):
        lower = f"--resume {config.name} --optimiser.lr {config.optimiser.lr / 10:g} goes on from before it"
        says = str(cause) if trial else f"{cause}; {lower}"  # another rate would be another trial
    elif isinstance(cause, NoRoomError):
        fewer = ", or set resources.min_workers to fewer" * (config.resources.least_workers > 1)
        says = f"{cause}; {resume} when there is{fewer}"
    elif is_of_a_peer(cause):
        tries = config.resources.max_failures
        says = f"workers or their nodes were lost more than {tries} times (resources.max_failures); {resume}"
    else:
        says = f"{_last_line(cause)}; {resume}"
    return TrainingError(says if says.startswith(f"{stream}:") else f"{stream}: {says}")


def _survived(exceptions: dict[int, Exception]) -> str:
    """Say which ranks were lost, and why. Ray's check of a worker finds it lost; until then, only the others tell."""
    errors = {rank: _failure(error) for rank, error in exceptions.items()}
    lost = {rank: errors[rank] for rank, error in exceptions.items() if errors[rank] is not error}
    ranks, one = ", ".join(map(str, sorted(lost or errors))), next(iter((lost or errors).values()))
    if not lost and is_of_a_peer(one):
        return f"rank{'s' * (len(errors) > 1)} {ranks} lost the connection to another ({GONE})"
    return f"lost rank {ranks} ({lost_to(one) if isinstance(one, LOST) else _last_line(one)})"


def _cause(error: ray.train.TrainingFailedError | ray.exceptions.RayError) -> BaseException:
    """Return the failure that caused the others: a final one, one for memory, one of Ray's, or else the first."""
    failures = list(getattr(error, "worker_failures", {}).values())
    failures = [_failure(one) for one in failures or [getattr(error, "controller_failure", error)]]
    of_memory, of_ray = ray.exceptions.OutOfMemoryError, ray.exceptions.RayError
    for is_cause in (is_final, lambda one: isinstance(one, of_memory), lambda one: isinstance(one, of_ray)):
        for failure in failures:
            if is_cause(failure):
                return failure
    return failures[0]


def _failure(error: Exception) -> Exception:
    """Return what Ray's check of a worker has found, or else the error itself."""
    return getattr(error, "health_check_failure", error)


def _smaller(name: str, training: TrainingConfig) -> str:
    """Say how a run, or a trial, which has no name, can continue with less memory and the same clips in a step."""
    size, accumulate = training.batch_size, training.accumulate
    if not name:
        return "less training.batch_size and more training.accumulate make the same steps"
    if size == 1:
        return f"--resume {name} --evaluation.batch_size 1 validates in less"
    factor = next(factor for factor in range(2, size + 1) if size % factor == 0)
    return (
        f"--resume {name} --training.batch_size {size // factor} --training.accumulate {accumulate * factor} "
        "makes the same steps, --evaluation.batch_size 1 validates in less"
    )


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
