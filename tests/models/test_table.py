import json

import pytest

from pipeline.models import list_models
from pipeline.models.table import PUBLISHED, main, measure, render


def test_every_network_has_a_row():
    assert list(PUBLISHED) == [info.name for info in list_models()]
    lines = render(list_models(), {"one core": {"i3d": 0.25}}).splitlines()
    assert len(lines) == 2 + len(list_models())
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| `i3d` | [1705.07750](https://arxiv.org/abs/1705.07750), Table 1 (e)")
    assert "64x224x224x3 | 12.70 M | 111.2 | RGB 71.1 / 89.3, flow 63.4 / 84.9" in lines[2]
    assert lines[2].endswith("| 0.25 |")


def test_rates_of_another_machine_are_shown(tmp_path, capsys):
    rates = tmp_path / "rates.json"
    rates.write_text(json.dumps({"a GPU": {"resnet3d18": 1234.5}}))
    main(["--pattern", "resnet3d18", "--rates", str(rates)])
    assert capsys.readouterr().out.strip().endswith("| 1,234 |")
    with pytest.raises(SystemExit):
        main(["--pattern", "nothing"])


def test_rate_is_measured():
    (info,) = list_models("two_stream")
    assert measure(info, "cpu", seconds=0) > 0
