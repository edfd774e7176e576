"""Three workers that start again in the middle learn what three workers learn that were never stopped."""

import json
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.config import Config, OptimiserConfig
from pipeline.training.bucket_order import fix_bucket_order
from pipeline.training.checkpoints import State
from pipeline.training.optimisers import build_optimiser
from pipeline.training.precision import distributed_options
from pipeline.training.rank import Rank
from pipeline.training.step import train_step
from tests.training.test_step import batch

WORKERS, STEPS, STOP = 3, 4, 2


def network() -> nn.Sequential:
    """Nine layers, eight with batch norm, 3 MB; its gradients lie in other places after DDP's first step."""
    torch.manual_seed(0)
    layers = [layer for _ in range(8) for layer in (nn.Linear(300, 300), nn.BatchNorm1d(300), nn.ReLU())]
    return nn.Sequential(nn.AdaptiveAvgPool3d((4, 5, 5)), nn.Flatten(), *layers, nn.Linear(300, 5))


def steps(state: State, here: Rank, until: int, fixed: bool) -> None:
    """Train from the step at which the state stands."""
    model = DistributedDataParallel(state.model, **distributed_options())
    config, first = Config(), state.step
    for step in range(first, until):
        mine = batch(4, seed=10 * step + here.rank)
        if fixed and step == first:
            fix_bucket_order(model, state.model, mine, ("rgb",), here)
        train_step(config.training, config.seed, model, [mine], ("rgb",), here, state)


def begun() -> State:
    """A state before its first step."""
    one = network()
    return State(one, build_optimiser(OptimiserConfig(lr=0.01), one))


def restarted(here: Rank, fixed: bool) -> bool:
    """Train once in one piece and once with a restart, and return whether both have the same weights."""
    whole = begun()
    steps(whole, here, STEPS, fixed)
    first = begun()
    steps(first, here, STOP, fixed)
    again = begun()
    again.model.load_state_dict(first.model.state_dict())
    again.optimiser.load_state_dict(first.optimiser.state_dict())
    again.step = first.step
    steps(again, here, STEPS, fixed)
    other = again.model.state_dict()
    return all(torch.equal(value, other[name]) for name, value in whole.model.state_dict().items())


def worker(rank: int, port: int, file: Path) -> None:
    """Write what rank 0 finds with and without the order that is fixed."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=WORKERS)
    here = Rank(rank, WORKERS, torch.device("cpu"), None)
    found = {f"fixed {fixed}": restarted(here, fixed) for fixed in (True, False)}
    if rank == 0:
        file.write_text(json.dumps(found))
    dist.destroy_process_group()


@pytest.mark.slow
def test_a_restart_changes_no_digit(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(worker, (port, tmp_path / "same.json"), nprocs=WORKERS)
    assert json.loads((tmp_path / "same.json").read_text()) == {"fixed True": True, "fixed False": False}
