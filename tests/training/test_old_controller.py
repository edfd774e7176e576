"""A resumed run begins only when the controller of the killed one is dead."""

import pytest
import ray

from pipeline.storage import write_json
from pipeline.training import old_controller
from pipeline.training.old_controller import FILE, StillThereError, ended, wait_for_its_end

pytestmark = pytest.mark.ray


@ray.remote(num_cpus=0)
class Controller:
    """An actor that stands for a controller."""

    def actor_id(self) -> str:
        return ray.get_runtime_context().get_actor_id()


def test_a_run_waits_for_the_death_of_the_controller_that_signed_the_folder(cluster, tmp_path, monkeypatch):
    controller = Controller.remote()
    actor = ray.get(controller.actor_id.remote())
    write_json(f"{tmp_path}/{FILE}", {"actor": actor})
    with monkeypatch.context() as patched:
        patched.setattr(old_controller, "LONGEST_S", 0.0)
        with pytest.raises(StillThereError, match=f"actor {actor}, still trains in {tmp_path}; end it"):
            wait_for_its_end(str(tmp_path))
    ray.kill(controller)
    wait_for_its_end(str(tmp_path))


def test_a_controller_of_another_cluster_and_one_that_ended_are_not_waited_for(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(old_controller, "LONGEST_S", 0.0)
    wait_for_its_end(str(tmp_path))
    write_json(f"{tmp_path}/{FILE}", {"actor": "0" * 24 + "01000000"})
    wait_for_its_end(str(tmp_path))
    ended(str(tmp_path))
    assert not (tmp_path / FILE).exists()
    ended(str(tmp_path))
