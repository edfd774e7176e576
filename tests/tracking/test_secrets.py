"""A run whose config holds secrets: none is in MLflow's database, in an artifact, or in a file that is kept of it."""

import sys

from pipeline.command_line import override
from pipeline.config import Config, save, to_dict
from pipeline.tracking.runs import tracked_run

SHARDS = "s3://AKIAHUNTER:hunter2@clips/set?endpoint_override=host:9000&session_token=hunter3"
SECRETS = ("AKIAHUNTER", "hunter2", "hunter3", "hunter4", "hunter5")


def test_no_stored_byte_of_a_run_holds_a_secret(tmp_path, monkeypatch):
    given = {
        "ingest.shards": SHARDS,
        "catalog.videos": "https://hunter4@host/k400?X-Amz-Signature=hunter5",
        "ingest.fetch.youtube_proxies": "me:hunter2@proxy:3128,socks5://me:hunter3@proxy:1080",
        "model.weights": "{rgb: 's3://AKIAHUNTER:hunter2@models/rgb.pt'}",
    }
    config = override(Config(), given)
    monkeypatch.setattr(
        sys, "argv", ["jobs/pretrain_kinetics.py", *(f"--{name}={text}" for name, text in given.items())]
    )
    with tracked_run(f"sqlite:///{tmp_path}/mlflow.db", "e", "a", artifacts=str(tmp_path / "artifacts")) as run:
        run.log_config(to_dict(config))
        manifest = {"dataset": "kinetics400", "digest": "0", "splits": {"train": {"present": 1}}}
        run.log_shards(SHARDS, manifest, {"train": "training"})
        run.set_tags({"source": SHARDS})
        run.log_json("a.json", {"weights": [config.model.weights]})
    save(config, tmp_path / "config.yaml")  # of a checkpoint
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {"mlflow.db", "config.yaml", "a.json"} <= {file.name for file in files}
    assert [(file, one) for file in files for one in SECRETS if one.encode() in file.read_bytes()] == []
    assert b"s3://***@clips/set?endpoint_override=host:9000&session_token=***" in (tmp_path / "mlflow.db").read_bytes()
