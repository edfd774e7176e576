"""The ledger of a run: one small actor, to which tasks report the clips that they begin and end.

The driver asks it every second for the figures of the progress line and for listed files that a node did not find. It
counts the workers that were killed at a clip, and tells all tasks to stop. If it is lost, figures are lost and counts
begin anew, but no clip is lost: what is done is what lies in the folder of the set.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.ingest.nodes import node_id
from pipeline.ingest.progress_report import Figures

Row = dict[str, Any]

ANSWER_S = 60.0
"""Longest time in seconds that a task waits for the ledger before it goes on without it."""


class HaltedError(Exception):
    """The driver has told all tasks to stop."""


@dataclass
class News:
    """What the driver has not heard of yet.

    Attributes:
        figures: the figures of the clips that ended.
        unseen: the id and the source of each clip whose listed file a worker did not find.
        within: the seconds that are done of each long clip at work, by its id.
    """

    figures: Figures = field(default_factory=Figures)
    unseen: list[tuple[str, str]] = field(default_factory=list)
    within: dict[str, float] = field(default_factory=dict)


class Ledger:
    """The actor; as an object of its own it does the same without Ray."""

    def __init__(self) -> None:
        self._opened: set[str] = set()
        self._begun: Counter[str] = Counter()
        self._within: dict[str, tuple[str, float]] = {}  # id and seconds done, by the key of the clip
        self._news = News()
        self._halted = False

    def open(self, task: str) -> bool:
        """Return whether a task has been begun before, by a worker that was killed."""
        again = task in self._opened
        self._opened.add(task)
        return again

    def turn(self, ended: list[tuple[str, Row | None]], begun: str | None = None) -> tuple[int, bool]:
        """Note which clips ended, and which one begins.

        Args:
            ended: key of each clip that ended, and its status row if its figures are to be counted.
            begun: key of the clip that begins.

        Returns:
            The number of workers that have been killed at the clip, and whether to stop.
        """
        for clip, status in ended:
            self._begun.pop(clip, None)
            self._within.pop(clip, None)
            if status is None:
                continue
            if status["provisional"]:
                self._news.unseen.append((status["clip_id"], status["source"]))
            else:
                self._news.figures.add(status)
        killed = 0
        if begun is not None and not self._halted:
            killed = self._begun[begun]
            self._begun[begun] += 1
        return killed, self._halted

    def within(self, clip: str, name: str, seconds: float) -> None:
        """Note how far a long clip is.

        Args:
            clip: key of the clip.
            name: id of the clip.
            seconds: seconds of it that are done.
        """
        self._within[clip] = name, seconds

    def news(self) -> News:
        """Return what happened since the last call, and how far the long clips are."""
        told, self._news = self._news, News()
        told.within = dict(self._within.values())
        return told

    def halt(self) -> None:
        """Tell all tasks to stop at their next clip."""
        self._halted = True


def start_ledger() -> Any:
    """Start the ledger of a run on the node of this process; it ends with its last handle."""
    here = NodeAffinitySchedulingStrategy(str(node_id()), soft=False)
    return ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy=here)(Ledger).remote()


class Reporter:
    """A task's view of the ledger. It tells the end of a clip together with the beginning of the next one."""

    def __init__(self, ledger: Any, figures: bool = True) -> None:
        """Report to an actor.

        Args:
            ledger: the actor.
            figures: whether the ledger counts the figures of clips; if not, the driver counts them itself.
        """
        self._ledger, self._figures, self._ended = ledger, figures, list[tuple[str, Row | None]]()

    def open(self, task: str) -> bool:
        """Return whether a worker may have been killed at this task."""
        try:
            return bool(ray.get(self._ledger.open.remote(task), timeout=ANSWER_S))
        except (ray.exceptions.RayError, TimeoutError):
            return True

    def begin(self, clip: str) -> int:
        """Return the number of workers that have been killed at a clip, which begins now.

        Raises:
            HaltedError: the driver has told all tasks to stop.
        """
        ended, self._ended = self._ended, []
        try:
            killed, halted = ray.get(self._ledger.turn.remote(ended, clip), timeout=ANSWER_S)
        except (ray.exceptions.RayError, TimeoutError):
            return 0
        if halted:
            raise HaltedError
        return int(killed)

    def within(self, clip: str, name: str, seconds: float) -> None:
        """Tell how many seconds of a long clip are done, without waiting for an answer."""
        self._ledger.within.remote(clip, name, seconds)

    def end(self, clip: str, status: Row) -> None:
        """Note the status row of a clip that ended."""
        self._ended.append((clip, status if self._figures else None))

    def flush(self) -> None:
        """Tell what was noted, without waiting for an answer."""
        if self._ended:
            self._ledger.turn.remote(self._ended)
            self._ended = []
