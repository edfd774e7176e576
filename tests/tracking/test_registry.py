"""The registry: whose model is meant when none is named."""

import pytest
from mlflow.tracking import MlflowClient

from pipeline.tracking.registry import RegistryError, newest


def test_the_newest_candidate_is_meant_whatever_its_name(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    with pytest.raises(RegistryError, match=r"no model is registered as candidate in sqlite:.*see --model"):
        newest(uri)
    for name in ("b", "a", "c"):
        client.create_registered_model(name)
        version = client.create_model_version(name, str(tmp_path)).version
        if name != "c":
            client.set_registered_model_alias(name, "candidate", version)
    assert newest(uri) == "models:/a@candidate"
    version = client.create_model_version("b", str(tmp_path)).version
    client.set_registered_model_alias("b", "candidate", version)
    assert newest(uri) == "models:/b@candidate"
