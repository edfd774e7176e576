"""An ingest of clips that cost nothing, in a process of its own: what is left is the work of the driver.

See `test_scale`.

python -m tests.ingest.many_clips CLIPS FOLDER [SLOTS]
python -m tests.ingest.many_clips CLIPS FOLDER SLOTS again
"""

import hashlib
import json
import resource
import sys
import time
from dataclasses import replace

import pyarrow as pa
import ray

from pipeline.catalog.rows import CATALOG_SCHEMA
from pipeline.cluster import set_variables
from pipeline.command_line import override
from pipeline.config import Config
from pipeline.ingest import run
from pipeline.ingest.ray_pipeline import Pipeline


def catalog(clips: int) -> pa.Table:
    """Rows like those of Kinetics-700, of which the catalog says that they cannot be used."""
    ids = [hashlib.sha256(str(number).encode()).hexdigest()[:11] for number in range(clips)]
    columns = {
        "clip_id": [f"kinetics700.{name}.10-20" for name in ids],
        "dataset": ["kinetics700"] * clips,
        "split": ["train"] * clips,
        "label": [f"class {number % 700}" for number in range(clips)],
        "label_id": [number % 700 for number in range(clips)],
        "source": [f"/data/kinetics700/train/{name}_000010_000020.mp4" for name in ids],
        "start_s": [None] * clips,
        "end_s": [None] * clips,
        "error_class": ["FileNotFound"] * clips,
        "error_message": [f"train.csv: no video of {name}" for name in ids],
    }
    return pa.table(columns, schema=CATALOG_SCHEMA)


def main(clips: int, folder: str, slots: int | None, again: bool = False) -> None:
    """Ingest, and print what it cost the driver in seconds of processor time and in MB of memory.

    Args:
        clips: number of clips.
        folder: folder or address of the storage.
        slots: number of tasks for which the work is cut; None for those of this machine.
        again: whether to measure `--retry all` of the complete set as well.
    """
    set_variables(local=True)
    ray.init("local", num_cpus=2, logging_level="ERROR", log_to_driver=False, include_dashboard=False)
    changes = {"storage": folder, "ingest.max_failed": "1.0", "ingest.streams": "rgb", "model.streams": "rgb"}
    config, rows = override(Config(), changes).resolved(), catalog(clips)
    first, do = [], Pipeline._run

    def timed(self, *arguments):
        for row in do(self, *arguments):
            first.append(time.process_time())
            yield row

    Pipeline._run = timed  # type: ignore[method-assign]
    if slots is not None:
        begin = Pipeline.__init__

        def with_slots(self, *arguments):
            begin(self, *arguments)
            self.slots = slots

        Pipeline.__init__ = with_slots  # type: ignore[method-assign]
    ray.get(ray.remote(catalog).remote(1))
    catalog_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    start, began = time.process_time(), time.monotonic()
    manifest = run.ingest(config, rows, lambda line: None)
    assert manifest["splits"]["train"]["failed"] == {"FileNotFound": clips}
    figures = {
        "clips": clips, "rows": len(first), "first_s": first[0] - start, "driver_s": time.process_time() - start,
        "wall_s": time.monotonic() - began, "before_mb": catalog_mb,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }  # fmt: skip
    print(json.dumps(figures), flush=True)
    if again:
        start, began = time.process_time(), time.monotonic()
        done = run.ingest(replace(config, retry=("all",)), rows, lambda line: None)
        assert done["digest"] == manifest["digest"]
        print(json.dumps({"retry_driver_s": time.process_time() - start, "retry_wall_s": time.monotonic() - began}))
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else None, "again" in sys.argv[4:])
