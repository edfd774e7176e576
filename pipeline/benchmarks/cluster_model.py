"""A model of an ingest on a cluster: how long it takes, and which share of the cores' time is work on clips.

    python -m pipeline.benchmarks.cluster_model

Rows of clips are handed out as ingest does it: each row of a round of one row for each core has half of what is left
for a core, down to a few clips. One driver hands them out one after the other. A core that is free takes the next row.
Nothing is started: the costs of a clip and of a row are measured elsewhere and given.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.table import table

LARGEST, SMALLEST = 1024, 64
"""Bounds of the clips of a row; the smallest rows have fewer clips where there are many cores."""


@dataclass(frozen=True)
class Costs:
    """Seconds that parts of an ingest take.

    Attributes:
        clips: seconds of one core for a clip; each clip draws one of them with equal probability.
        row: seconds of the driver for a row of clips.
        start: seconds before the first row, for the start of the workers.
        join: seconds of one core to join the parts of a shard, after all rows; 0 if no shard is cut.
        nodes: relative standard deviation of the speed of nodes.
    """

    clips: Sequence[float]
    row: float
    start: float = 5.0
    join: float = 0.0
    nodes: float = 0.05


def rows(clips: int, cores: int) -> Iterator[int]:
    """Yield the number of clips of each row, in the order in which they are handed out."""
    least = max(1, min(SMALLEST, clips // (8 * cores)))
    while clips:
        size = max(least, min(LARGEST, clips // (2 * cores)))
        for _ in range(cores):
            yield min(size, clips)
            clips -= min(size, clips)
            if not clips:
                return


def simulate(clips: int, shards: int, nodes: int, cores: int, costs: Costs, seed: int = 0) -> tuple[float, float]:
    """Return the hours of an ingest, and the share of the cores' time that is work on clips.

    Args:
        clips: number of clips.
        shards: number of shards.
        nodes: number of nodes.
        cores: cores of a node.
        costs: seconds of each part.
        seed: seed of the clips' and nodes' draws.
    """
    rng = np.random.default_rng(seed)
    slowness = np.maximum(1 + costs.nodes * rng.standard_normal(nodes), 0.5)
    free = [(costs.start, node) for node in range(nodes) for _ in range(cores)]
    heapq.heapify(free)
    handed, end, work = costs.start, costs.start, 0.0
    for size in rows(clips, nodes * cores):
        handed += costs.row
        ready, node = heapq.heappop(free)
        seconds = float(rng.choice(np.asarray(costs.clips), size).sum() * slowness[node])
        done = max(ready, handed) + seconds
        work += seconds
        end = max(end, done)
        heapq.heappush(free, (done, node))
    end += -(-shards // (nodes * cores)) * costs.join
    return end / 3600, work / (end * nodes * cores)


KINETICS_400 = (260_000, 4063)
"""Clips and shards of 64 clips."""
WITH_FLOW = (11.5, 16.5, 17.6)
"""Seconds of a core for a clip of 10 s with flow: the three clips of the table in `pipeline/ingest/README.md`."""


def main() -> None:
    """Print the table of pipeline/ingest/scale.md."""
    lines: list[list[object]] = [["nodes", "cores", "driver ms a row", "hours", "ideal", "efficiency"]]
    for nodes in (10, 100, 1000):
        for row in (0.02, 0.0006):
            hours, efficiency = simulate(*KINETICS_400, nodes, 16, Costs(WITH_FLOW, row, join=7.0))
            ideal = KINETICS_400[0] * sum(WITH_FLOW) / len(WITH_FLOW) / 3600 / (16 * nodes)
            lines.append([nodes, 16 * nodes, f"{1000 * row:g}", f"{hours:.2f}", f"{ideal:.2f}", f"{efficiency:.2f}"])
    print(table(lines))


if __name__ == "__main__":
    main()
