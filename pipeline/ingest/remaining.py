"""What an ingest has still to do, from its layout and from one listing of the staging folder."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ingest.candidates import place_of
from pipeline.ingest.layout import Layout
from pipeline.ingest.progress_report import Figures
from pipeline.ingest.staging import Staged, by_clip, part_name, rank_in, read_mark


class Remaining:
    """What is left of a set.

    Attributes:
        layout: the layout of the set.
        shards: numbers of the shards that are not finished.
        begun: numbers of those of which clips are staged.
        todo: for each clip, whether it is to be done: neither is it staged, nor says the catalog that it failed.
        ranks: the rank of the staged candidate for clips from archives that are to do, by the number of the clip.
    """

    def __init__(self, layout: Layout, staged: Staged) -> None:
        """Compare a layout with what is staged."""
        self.layout = layout
        self.shards = [number for number, name in enumerate(layout.names) if name not in staged.finished]
        self.begun = [number for number in self.shards if layout.names[number] in staged.files]
        self.ranks: dict[int, str] = {}
        open_ = np.isin(layout.shard_numbers(), self.shards)
        self._unusable = open_ & layout.failed()
        self.todo = open_ & ~self._unusable
        archived = layout.archived()
        for shard in self.begun:
            there = by_clip(staged.files[layout.names[shard]])
            clips = layout.of(shard).select(["clip_id", "source"]).to_pylist()
            for number, row in enumerate(clips, int(layout.starts[shard])):
                file = there.get(part_name(row["clip_id"]))
                rank = file and rank_in(file)
                if rank and archived[number] and read_mark(place_of(row["source"])) not in staged.marks:
                    self.ranks[number] = rank  # a better candidate may come
                elif file:
                    self.todo[number] = self._unusable[number] = False

    def done(self) -> int:
        """Return the number of clips that are done; a candidate that is staged counts, though a better one may come."""
        return len(self.layout) - int(self.todo.sum()) - int(self._unusable.sum()) + len(self.ranks)

    def unusable(self) -> Figures:
        """Return the figures of the clips of unfinished shards that cannot be used, as the catalog says."""
        figures = Figures()
        classes = self.layout.clips["error_class"].filter(pa.array(self._unusable))
        for found in pc.value_counts(classes).to_pylist():
            figures.clips["failed", found["values"]] = found["counts"]
        return figures
