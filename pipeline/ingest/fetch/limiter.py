"""Limit for requests to YouTube: one limiter for the whole cluster, with a circuit breaker for each egress address.

An egress is the address from which requests leave: that of a proxy, or `direct` for all nodes without a proxy. All
nodes without a proxy count as one egress, because nodes behind one NAT share a public address, and a node cannot know
its public address without asking another server.

    closed     one request every `3600 / youtube_per_hour` seconds
    open       after a refusal (429, bot check): no request for `youtube_pause_s`, doubled at every further refusal
    half open  after this pause: one request, the probe; a success closes the circuit, a refusal opens it again

There is no queue and no reservation, so nothing is lost if a task dies while it waits: a task asks for its turn, gets
the seconds to sleep before it asks again, and sleeps in its own process.
"""

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import ray
from ray.util import metrics

from pipeline.config import FetchConfig
from pipeline.ingest.clip_errors import RateLimited
from pipeline.masking import masked

FULL_PAUSES = 3
"""Number of pauses without a success after which tasks no longer wait: the egress then counts as blocked."""

PROBE_S = 300.0
"""Seconds without a result of the probe after which another probe is sent, because its task may have died."""

NAME, NAMESPACE = "youtube_limiter", "video-action-pipeline"
"""Name and namespace of the cluster's actor; the namespace is fixed, so that simultaneous runs share the actor."""

_log = logging.getLogger(__name__)


class Limiter(Protocol):
    """The interface that a fetching task calls before and after each request."""

    def acquire(self, egress: str) -> None:
        """Wait until a request may be made.

        Raises:
            RateLimited: requests of the egress were refused so often that waiting is useless.
        """

    def refused(self, egress: str, reason: str) -> None:
        """Report that the last request met a 429 or a bot check; all requests of the egress then pause."""

    def succeeded(self, egress: str) -> None:
        """Report that the last request was answered, with a video or with a reason why there is none."""


class Turn(NamedTuple):
    """The answer to a request for a turn.

    Attributes:
        wait_s: 0 if a request may be made now, else the seconds after which to ask again.
        refusal: reason why it is useless to ask again; None if it is not.
    """

    wait_s: float
    refusal: str | None = None


@dataclass
class _Circuit:
    """The state of one egress; times are in seconds of the clock."""

    next_s: float = -math.inf  # earliest time of the next request
    asked_s: float = -math.inf  # time of the last request
    rests_until: float = -math.inf  # end of the pause after the last refusal
    refusals: int = 0  # number since the last success; above 0 the circuit is open or half open
    reason: str = ""  # reason of the last refusal


class Circuits:
    """The rates and circuits of all egress addresses. Its methods do not wait; only one thread may use it at a time."""

    def __init__(self, settings: FetchConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = 3600 / settings.youtube_per_hour
        self._pause_s = settings.youtube_pause_s
        self._clock = clock
        self._circuits: defaultdict[str, _Circuit] = defaultdict(_Circuit)
        self._rests = metrics.Counter("youtube_rests", "Pauses after a refusal by YouTube.", ("egress",))
        self._rest_seconds = metrics.Counter("youtube_rest_seconds", "Seconds of these pauses.", ("egress",))

    def ask(self, egress: str) -> Turn:
        """Ask for a turn; `Turn(0)` means that the caller has the turn now."""
        circuit, now = self._circuits[egress], self._clock()
        if now < circuit.rests_until:
            if circuit.refusals > FULL_PAUSES:
                return Turn(math.inf, _hopeless(egress, circuit))
            return Turn(circuit.rests_until - now)
        if now < circuit.next_s:
            return Turn(min(circuit.next_s - now, self._interval_s))  # ask again early: a probe may be answered soon
        circuit.next_s = now + (max(PROBE_S, self._interval_s) if circuit.refusals else self._interval_s)
        circuit.asked_s = now
        return Turn(0.0)

    def refused(self, egress: str, reason: str) -> None:
        """Open the circuit; refusals of requests that were under way when it opened are ignored."""
        circuit, now = self._circuits[egress], self._clock()
        if now < circuit.rests_until:
            return
        circuit.refusals += 1
        circuit.reason = reason
        pause_s = self._pause_s * 2 ** (circuit.refusals - 1)
        circuit.rests_until = now + pause_s
        circuit.next_s = circuit.rests_until
        self._rests.inc(1, {"egress": masked(egress)})
        self._rest_seconds.inc(pause_s, {"egress": masked(egress)})
        _log.warning(
            "YouTube refuses %s, refusal %d: no request for %.0f s (%s)", egress, circuit.refusals, pause_s, reason
        )

    def succeeded(self, egress: str) -> None:
        """Close the circuit; successes of requests that were under way when it opened are ignored."""
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
    """A limiter for all tasks on a cluster, which calls one actor; it is pickled to the tasks that use it."""

    def __init__(self, settings: FetchConfig, sleep: Callable[[float], None] = time.sleep) -> None:
        self._settings = settings
        self._sleep = sleep
        self.actor = _actor(settings)

    def acquire(self, egress: str) -> None:
        """See `Limiter`; the task sleeps, not the actor."""
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
        except ray.exceptions.ActorDiedError:  # the actor belonged to another run, which has ended
            self.actor = _actor(self._settings)
            _kept[NAME] = self.actor
            return ray.get(getattr(self.actor, method).remote(*arguments))


_kept: dict[str, Any] = {}  # an actor ends with the last handle of the process that started it


def cluster_limiter(settings: FetchConfig) -> ClusterLimiter:
    """Return the limiter of the cluster to which this process is connected; start its actor if there is none.

    A run that starts while another run fetches uses the same actor, so the rate and pause of the first hold for both.
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
