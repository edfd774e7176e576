"""The driver's view of its tasks: a thread asks the ledger for figures and for nodes that do not see the files."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import ray
import ray.exceptions

from pipeline.ingest.ledger import ANSWER_S
from pipeline.ingest.nodes import blind_nodes
from pipeline.ingest.progress_report import Tally

LOOK_S = 1.0
"""Seconds between two looks into the ledger."""


class Watch(threading.Thread):
    """A thread that looks until `end` is called.

    Attributes:
        blind: ids of the nodes that do not see a file which this process sees; empty if there are none.
        source: the file.
        unseen: ids of the clips whose listed file a worker did not find.
    """

    def __init__(self, ledger: Any, tally: Tally, cpus: float) -> None:
        """Prepare to look.

        Args:
            ledger: the actor.
            tally: what counts the figures.
            cpus: CPUs that a node must have to be asked for a file.
        """
        super().__init__(daemon=True)
        self._ledger, self._tally, self._cpus, self._ended = ledger, tally, cpus, threading.Event()
        self.blind: list[str] = []
        self.source = ""
        self.unseen: list[str] = []

    def run(self) -> None:
        """Look again and again."""
        while not self._ended.wait(LOOK_S):
            self._look()

    def end(self) -> None:
        """Look for the last time."""
        self._ended.set()
        self.join()
        self._look()

    def _look(self) -> None:
        with contextlib.suppress(ray.exceptions.RayError, TimeoutError):  # figures are lost, and no clip
            news = ray.get(self._ledger.news.remote(), timeout=ANSWER_S)
            self._tally.add(news.figures)
            self._tally.within(news.within)
            for clip, source in news.unseen:
                self.unseen.append(clip)
                if not self.blind and (blind := blind_nodes(source, self._cpus)):
                    self.source, self.blind = source, blind
                    self._ledger.halt.remote()


@contextlib.contextmanager
def watched(ledger: Any, tally: Tally, cpus: float) -> Iterator[Watch]:
    """Watch the tasks inside the context; see `Watch`."""
    watch = Watch(ledger, tally, cpus)
    watch.start()
    try:
        yield watch
    finally:
        watch.end()
