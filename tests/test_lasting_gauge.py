"""A gauge of which Ray's nodes hear as long as its work goes on."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline import lasting_gauge
from pipeline.lasting_gauge import LastingGauge


@pytest.fixture
def heard(monkeypatch):
    """The values that a gauge named `left` was set to, and an event for the third of them."""
    values, third = [], threading.Event()

    def note(value, tags):
        assert tags == {"run": "a"}
        values.append(value)
        if len(values) == 3:
            third.set()

    monkeypatch.setattr(lasting_gauge, "EVERY_S", 0.01)
    gauge = LastingGauge("left", "Clips to do.", {"run": "a"})
    monkeypatch.setattr(gauge._gauge, "set", note)
    return gauge, values, third


def test_a_value_is_said_again_until_the_work_is_over(heard):
    gauge, values, third = heard
    with gauge.heard():
        gauge.set(7.0)
        assert third.wait(60)
    assert set(values) == {7.0}
    count = len(values)
    assert [thread for thread in threading.enumerate() if thread.name == "lasting-gauge"] == []
    assert len(values) == count


def test_nothing_is_said_before_there_is_a_value_and_a_failure_ends_it_too(heard):
    gauge, values, _ = heard
    with pytest.raises(ZeroDivisionError), gauge.heard():
        raise ZeroDivisionError
    assert values == []
    assert [thread for thread in threading.enumerate() if thread.name == "lasting-gauge"] == []


NODE = """
import sys, time, urllib.request
import ray
from ray.util import metrics
from pipeline.lasting_gauge import LastingGauge

ray.init("local", num_cpus=1, _metrics_export_port=int(sys.argv[1]), log_to_driver=False, logging_level="ERROR")

def told():
    lines = urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/metrics", timeout=10).read().decode().splitlines()
    return {line.split("{")[0].removeprefix("ray_") for line in lines if "{" in line} & {"once", "lasting"}

def wait_for(names):
    end = time.monotonic() + 90
    while (found := told()) != names and time.monotonic() < end:
        time.sleep(1)
    return found

metrics.Gauge("once", "Set once.").set(1.0)
lasting = LastingGauge("lasting", "Set again and again.")
with lasting.heard():
    lasting.set(7.0)
    print(sorted(wait_for({"once", "lasting"})), sorted(wait_for({"lasting"})))
print(sorted(wait_for(set())))
"""


@pytest.mark.slow
def test_a_node_of_ray_tells_a_lasting_gauge_until_the_end_and_forgets_another():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", NODE, str(port)], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["['lasting', 'once'] ['lasting']", "[]"], done.stderr
