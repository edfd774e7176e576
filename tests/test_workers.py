"""Workers on the machines that are there: a step has the recipe's clips on any of them, and refusals name what fits."""

import re

import pytest

from pipeline.command_line import override
from pipeline.config import Config, ConfigError
from pipeline.recipes import PRETRAIN
from pipeline.workers import Machines, fitted

LAPTOP, ONE_CORE = Machines(cpus=(2.0,)), Machines(cpus=(1.0,))


def asked(**fields: str) -> Config:
    return override(PRETRAIN["i3d_kinetics"](), {name.replace("__", "."): text for name, text in fields.items()})


def attempt(fields: dict[str, str], machines: Machines) -> Config | None:
    try:
        return fitted(asked(**fields), machines)
    except ConfigError:
        return None


def cut(config: Config) -> tuple[int, int, int]:
    return config.resources.number_of_workers, config.training.accumulate, config.training.batch_size


@pytest.mark.parametrize(
    ("machines", "workers", "accumulate"),
    [
        (ONE_CORE, 1, 64),
        (LAPTOP, 1, 64),
        (Machines(cpus=(64.0,)), 1, 64),  # DDP on the cores of one node only costs
        (Machines(cpus=(8.0, 8.0, 8.0, 8.0, 2.0)), 4, 16),  # the small node decodes
        (Machines(cpus=(8.0, 8.0, 8.0)), 2, 32),  # 3 do not divide 64 batches
        (Machines(cpus=(8.0,), gpus=1), 1, 64),
        (Machines(cpus=(32.0, 32.0), gpus=8), 8, 8),
        (Machines(cpus=(16.0,), gpus=5), 4, 16),
        (Machines(cpus=(512.0,), gpus=100), 64, 1),  # the paper's
    ],
)
def test_a_step_has_the_papers_384_clips_on_any_machine(machines, workers, accumulate):
    config = fitted(asked(), machines)
    assert cut(config) == (workers, accumulate, 6)
    assert config.clips_of_a_step == 384


@pytest.mark.parametrize(
    ("machines", "worker", "loader"),
    [
        (ONE_CORE, 0.75, 0.25),
        (LAPTOP, 1.75, 0.25),  # two threads; the loader takes turns with them
        (Machines(cpus=(8.0, 8.0)), 7.75, 0.25),
        (Machines(cpus=(8.0,), gpus=1), 1.0, 1.0),
        (Machines(cpus=(2.0,), gpus=2), 0.87, 0.25),
    ],
)
def test_there_is_always_room_for_a_loader(machines, worker, loader):
    resources = fitted(asked(), machines).resources
    assert (resources.worker_cpus, resources.loader_cpus) == (worker, loader)
    assert resources.workers * worker + loader <= sum(machines.cpus)


def test_workers_may_be_given_and_accumulation_follows():
    assert cut(fitted(asked(resources__workers="4"), Machines(cpus=(8.0,)))) == (4, 16, 6)
    assert cut(fitted(asked(training__batch_size="12"), LAPTOP)) == (1, 32, 12)
    assert cut(fitted(asked(training__clips_per_step="none", training__accumulate="3"), LAPTOP)) == (1, 3, 6)


def test_what_was_fitted_fits_again():
    once = fitted(asked(), Machines(cpus=(32.0, 32.0), gpus=8))
    assert fitted(once, Machines(cpus=(32.0, 32.0), gpus=8)) == once


def test_gpus_are_left_alone_where_they_are_not_wanted():
    assert cut(fitted(asked(resources__gpu="no"), Machines(cpus=(8.0,), gpus=8)))[0] == 1


def test_trials_share_the_machine():
    shared = fitted(asked(), LAPTOP, trials=2).resources
    assert 2 * shared.cpus_of_a_worker + shared.cpus_of_a_loader + 2 * 0.1 <= 2
    assert fitted(asked(), Machines(cpus=(64.0,), gpus=8), trials=4).resources.workers == 2


@pytest.mark.parametrize("cores", [1, 2, 3, 8])
@pytest.mark.parametrize(
    "fields",
    [
        {"resources__workers": "64"},
        {"resources__workers": "64", "resources__worker_cpus": "1"},
        {"resources__worker_cpus": "16"},
        {"resources__workers": "3", "resources__worker_cpus": "1", "resources__loader_cpus": "9"},
        {"resources__workers": "9", "training__clips_per_step": "none"},
        {"resources__workers": "5"},
        {"training__batch_size": "5"},
        {"training__batch_size": "7", "resources__workers": "64"},
        {"training__accumulate": "3"},
        {"resources__min_workers": "5", "resources__workers": "64", "resources__worker_cpus": "1"},
    ],
)
def test_who_does_what_the_message_says_is_served_the_first_time(fields, cores):
    machines = Machines(cpus=(float(cores),))
    refused = ""
    while not (config := attempt(fields, machines)):
        with pytest.raises(ConfigError) as caught:
            fitted(asked(**fields), machines)
        assert str(caught.value).partition(":")[0] != refused  # the same refusal never comes again
        refused, _, advice = str(caught.value).partition(":")
        advice = advice.rpartition("; ")[2]
        if "leave accumulate out" in advice:
            fields = {name: text for name, text in fields.items() if name != "training__accumulate"}
        else:
            fields = fields | {name.replace(".", "__"): text for name, text in re.findall(r"--(\S+) (\S+)", advice)}
    assert config.clips_of_a_step == config.resources.workers * config.training.accumulate * config.training.batch_size


def test_a_sweep_is_told_how_many_trials_fit():
    with pytest.raises(ConfigError, match=r"4 trials at a time, each of 1 workers of 0\.5 .*; --concurrent 2 fits$"):
        fitted(asked(resources__workers="1", resources__worker_cpus="0.5"), LAPTOP, trials=4, section="base.")
    with pytest.raises(ConfigError, match=r"; --base\.resources\.workers 1 --concurrent 1 fit$"):
        fitted(asked(resources__workers="8", resources__worker_cpus="0.5"), LAPTOP, trials=2, section="base.")
