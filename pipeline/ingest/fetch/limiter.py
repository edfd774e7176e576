"""How often YouTube is asked: one limiter for the whole cluster, with a circuit breaker for each egress address.

An egress is the address by which requests leave: a proxy's, or `direct` for all nodes without one. Nodes behind one
NAT share their public address, and no node can know it without asking somebody, so that all of them count as one.

    closed     a request every `3600 / youtube_per_hour` seconds
    open       after a refusal (429, bot check): none for `youtube_pause_s`, doubled from refusal to refusal
    half open  then one request, the probe; a success closes the circuit, a refusal opens it anew

Nobody queues and nothing is reserved, so nothing is lost with a task that dies while it waits: a task asks for its
turn, hears how long to sleep before it asks again, and sleeps in its own process.
"""

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import ray

from pipeline.config import FetchConfig
from pipeline.ingest.clip_errors import RateLimited

FULL_PAUSES = 3
"""Pauses without a success after which nobody waits through another: the egress is blocked, not busy."""

PROBE_S = 300.0
"""After so long without word from a probe, whose task may have died, another is sent."""

NAME, NAMESPACE = "youtube_limiter", "video-action-pipeline"
"""Of the cluster's actor: a namespace of our own, so that runs at the same time share it."""

_log = logging.getLogger(__name__)


class Limiter(Protocol):
    """What a fetching task asks before and tells after each request."""

    def acquire(self, egress: str) -> None:
        """Wait until a request may be made.

        Raises:
            RateLimited: the egress was refused so often that waiting is useless.
        """

    def refused(self, egress: str, reason: str) -> None:
        """The last request met a 429 or a bot check: all requests of the egress pause."""

    def succeeded(self, egress: str) -> None:
        """The last request was answered, with a video or with the reason why there is none."""


class Turn(NamedTuple):
    """A request may be made now (`wait_s` is 0), or is to be asked for again after so many seconds, or never."""

    wait_s: float
    refusal: str | None = None


@dataclass
class _Circuit:
    """Times in seconds of the clock."""

    next_s: float = -math.inf  # of the next request
    asked_s: float = -math.inf  # of the last request
    rests_until: float = -math.inf
    refusals: int = 0  # without a success between; above 0 the circuit is open or half open
    reason: str = ""  # of the last refusal


class Circuits:
    """The rates and circuits of all egress addresses; never waits, and is used by one thread at a time."""

    def __init__(self, settings: FetchConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = 3600 / settings.youtube_per_hour
        self._pause_s = settings.youtube_pause_s
        self._clock = clock
        self._circuits: defaultdict[str, _Circuit] = defaultdict(_Circuit)

    def ask(self, egress: str) -> Turn:
        """Ask for a turn; with `Turn(0)` it is taken."""
        circuit, now = self._circuits[egress], self._clock()
        if now < circuit.rests_until:
            if circuit.refusals > FULL_PAUSES:
                return Turn(math.inf, _hopeless(egress, circuit))
            return Turn(circuit.rests_until - now)
        if now < circuit.next_s:
            return Turn(min(circuit.next_s - now, self._interval_s))  # a probe may be answered soon
        circuit.next_s = now + (max(PROBE_S, self._interval_s) if circuit.refusals else self._interval_s)
        circuit.asked_s = now
        return Turn(0.0)

    def refused(self, egress: str, reason: str) -> None:
        """Open the circuit; what was under way as it opened opens it no further."""
        circuit, now = self._circuits[egress], self._clock()
        if now < circuit.rests_until:
            return
        circuit.refusals += 1
        circuit.reason = reason
        pause_s = self._pause_s * 2 ** (circuit.refusals - 1)
        circuit.rests_until = now + pause_s
        circuit.next_s = circuit.rests_until
        _log.warning(
            "YouTube refuses %s, refusal %d: no request for %.0f s (%s)", egress, circuit.refusals, pause_s, reason
        )

    def succeeded(self, egress: str) -> None:
        """Close the circuit; what was under way as it opened does not close it."""
        circuit = self._circuits[egress]
        if circuit.refusals and self._clock() >= circuit.rests_until:
            circuit.refusals = 0
            circuit.next_s = circuit.asked_s + self._interval_s


def _hopeless(egress: str, circuit: _Circuit) -> str:
    return (
        f"YouTube has refused {egress} {circuit.refusals} times in a row, each after a longer pause, so it is asked no "
        "more; give ingest.fetch.youtube_cookies or other ingest.fetch.youtube_proxies, or run again tomorrow with "
        f"--retry RateLimited; its last words: {circuit.reason}"
    )


class ClusterLimiter:
    """Of all tasks on a cluster, by way of one actor; pickled to the tasks that use it."""

    def __init__(self, settings: FetchConfig, sleep: Callable[[float], None] = time.sleep) -> None:
        self._settings = settings
        self._sleep = sleep
        self.actor = _actor(settings)

    def acquire(self, egress: str) -> None:
        """See `Limiter`. Sleeps in the task, not in the actor."""
        _wait_for_turn(lambda: self._call("ask", egress), self._sleep)

    def refused(self, egress: str, reason: str) -> None:
        """See `Limiter`."""
        self._call("refused", egress, reason)

    def succeeded(self, egress: str) -> None:
        """See `Limiter`."""
        self._call("succeeded", egress)

    def _call(self, method: str, *arguments: str) -> Any:
        try:
            return ray.get(getattr(self.actor, method).remote(*arguments))
        except ray.exceptions.ActorDiedError:  # it was another run's, which has ended
            self.actor = _actor(self._settings)
            _kept[NAME] = self.actor
            return ray.get(getattr(self.actor, method).remote(*arguments))


_kept: dict[str, Any] = {}  # an actor ends with the last handle where it was started, and tasks come and go


def cluster_limiter(settings: FetchConfig) -> ClusterLimiter:
    """The limiter of the cluster to which this process is connected, started where there is none.

    A run that comes while another fetches takes its limiter with it, whose rate and pause then hold for both.
    """
    return ClusterLimiter(settings)


def _actor(settings: FetchConfig) -> Any:
    options = {"name": NAME, "namespace": NAMESPACE, "get_if_exists": True}
    actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Circuits)
    return actor.options(**options).remote(settings)


def _wait_for_turn(ask: Callable[[], Turn], sleep: Callable[[float], None]) -> None:
    while True:
        turn = ask()
        if turn.refusal:
            raise RateLimited(turn.refusal)
        if not turn.wait_s:
            return
        sleep(turn.wait_s)
