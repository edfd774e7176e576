"""The limiter: its rate, its circuit, and that all tasks of a cluster share one."""

import threading

import pytest
import ray

from pipeline.config import FetchConfig
from pipeline.ingest.clip_errors import RateLimited
from pipeline.ingest.fetch.limiter import (
    FULL_PAUSES,
    PROBE_S,
    Circuits,
    ClusterLimiter,
    cluster_limiter,
)
from tests.ingest.fetch.local_limiter import LocalLimiter

SETTINGS = FetchConfig(youtube_per_hour=240, youtube_pause_s=3600)  # one every 15 s


class Clock:
    """Seconds that pass only where somebody sleeps."""

    def __init__(self):
        self.now, self.slept = 1000.0, []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        assert seconds > 0
        self.slept.append(seconds)
        self.now += seconds


def limiter(settings=SETTINGS):
    clock = Clock()
    return LocalLimiter(settings, clock, clock.sleep), clock


def test_requests_of_an_egress_are_as_far_apart_as_the_rate_says():
    ours, clock = limiter()
    times = []
    for _ in range(4):
        ours.acquire("direct")
        times.append(clock.now - 1000)
    assert times == [0, 15, 30, 45]


def test_time_in_which_nobody_asked_is_not_made_up_for():
    ours, clock = limiter()
    ours.acquire("direct")
    clock.now += 3600
    ours.acquire("direct")
    ours.acquire("direct")
    assert clock.slept == [15]


def test_each_egress_has_a_rate_and_a_circuit_of_its_own():
    ours, clock = limiter()
    for egress in ("direct", "10.0.0.1:3128", "10.0.0.2:3128"):
        ours.acquire(egress)
    ours.refused("direct", "429")
    clock.now += 15
    ours.acquire("10.0.0.1:3128")
    assert clock.slept == []


def test_whoever_asks_and_never_comes_back_holds_up_nobody():
    clock = Clock()
    circuits = Circuits(SETTINGS, clock)
    assert circuits.ask("direct").wait_s == 0
    assert [circuits.ask("direct").wait_s for _ in range(500)] == [15] * 500  # 500 tasks wait and die
    clock.now += 15
    assert circuits.ask("direct").wait_s == 0


def test_a_refusal_pauses_all_and_then_one_probe_goes():
    clock = Clock()
    circuits = Circuits(SETTINGS, clock)
    circuits.ask("direct")
    circuits.refused("direct", "429")
    assert circuits.ask("direct").wait_s == 3600
    clock.now += 3600
    assert circuits.ask("direct").wait_s == 0  # the probe
    assert circuits.ask("direct").wait_s == 15  # all others ask again and again
    clock.now += 100
    assert circuits.ask("direct").wait_s == 15
    circuits.succeeded("direct")
    assert circuits.ask("direct").wait_s == 0
    assert circuits.ask("direct").wait_s == 15  # the old rate


def test_the_next_request_after_a_quick_probe_keeps_the_rate():
    clock = Clock()
    circuits = Circuits(SETTINGS, clock)
    circuits.refused("direct", "429")
    clock.now += 3600
    circuits.ask("direct")
    clock.now += 5
    circuits.succeeded("direct")
    assert circuits.ask("direct").wait_s == 10


def test_a_probe_that_is_never_heard_of_again_is_followed_by_another():
    clock = Clock()
    circuits = Circuits(SETTINGS, clock)
    circuits.refused("direct", "429")
    clock.now += 3600
    assert circuits.ask("direct").wait_s == 0
    clock.now += PROBE_S - 1
    assert circuits.ask("direct").wait_s == 1
    clock.now += 1
    assert circuits.ask("direct").wait_s == 0


def test_each_refused_probe_doubles_the_pause_and_a_success_halves_it_back():
    ours, clock = limiter()
    for _ in range(3):
        ours.acquire("direct")
        ours.refused("direct", "429")
    ours.acquire("direct")
    assert clock.slept == [3600, 7200, 14400]
    ours.succeeded("direct")
    ours.refused("direct", "429")
    ours.acquire("direct")
    assert clock.slept[3:] == [3600]


def test_answers_to_requests_under_way_neither_close_nor_lengthen_a_pause():
    clock = Clock()
    circuits = Circuits(SETTINGS, clock)
    for _ in range(8):
        circuits.refused("direct", "429")
    circuits.succeeded("direct")
    assert circuits.ask("direct").wait_s == 3600


def test_after_three_full_pauses_in_vain_nobody_waits_any_more():
    ours, clock = limiter()
    for _ in range(FULL_PAUSES + 1):
        ours.acquire("direct")
        ours.refused("direct", "HTTP Error 429: Too Many Requests")
    slept = len(clock.slept)
    message = r"refused direct 4 times.*youtube_cookies.*youtube_proxies.*--retry RateLimited.*Too Many Requests"
    for _ in range(100):
        with pytest.raises(RateLimited, match=message):
            ours.acquire("direct")
    assert len(clock.slept) == slept == FULL_PAUSES
    ours.acquire("10.0.0.1:3128")
    clock.now += 8 * 3600
    ours.acquire("direct")  # a later run may probe again


def test_threads_share_it():
    ours, clock = limiter()
    threads = [threading.Thread(target=ours.acquire, args=("direct",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.now >= 1000 + 7 * 15


class WaitedError(Exception):
    pass


def refuse_to_wait(seconds):
    assert seconds > 3000  # of an hour, of which the test takes little
    raise WaitedError


@ray.remote(num_cpus=0)
def taken(limiter, egress):
    """Whether a task gets its turn at once."""
    try:
        limiter.acquire(egress)
    except WaitedError:
        return False
    return True


@ray.remote(num_cpus=0)
def refused(limiter, egress):
    limiter.refused(egress, "not a bot")


@pytest.mark.ray
def test_tasks_of_a_cluster_share_the_rate_and_the_circuit(cluster):
    settings = FetchConfig(youtube_per_hour=1, youtube_pause_s=3600)
    ours = ClusterLimiter(settings, sleep=refuse_to_wait)
    try:
        assert sorted(ray.get([taken.remote(ours, "a"), taken.remote(ours, "a")], timeout=60)) == [False, True]
        ray.get(refused.remote(ours, "b"), timeout=60)
        other = cluster_limiter(settings)  # as another run on the cluster finds it
        assert ray.get(taken.remote(ours, "b"), timeout=60) is False
        assert ray.get(other.actor.ask.remote("b")).wait_s > 3000
    finally:
        ray.kill(ours.actor)
    assert ray.get(taken.remote(ours, "b"), timeout=60)  # the other run has ended: begun anew
