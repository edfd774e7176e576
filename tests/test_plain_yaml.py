"""YAML of strangers: values, or one line that says why not."""

import tracemalloc

import pytest
import yaml

from pipeline import plain_yaml
from pipeline.command_line import override
from pipeline.config import Config, ConfigError, load

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(9 * [f'*{before}'])}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "an alias": BOMB,
    "nested too deeply": "[" * 1_000,
    "longer than": "x" * (plain_yaml.MOST + 1),
    "month must be in": "2001-13-45",
    "could not determine a constructor": "!!python/object/apply:os.system ['true']",
    "expected": "a: [",
}


@pytest.mark.parametrize("says", HOSTILE)
def test_what_is_no_plain_value_is_refused_in_one_line(says, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(HOSTILE[says])
    tracemalloc.start()
    with pytest.raises(yaml.YAMLError, match=says):
        plain_yaml.parse(HOSTILE[says])
    with pytest.raises(ConfigError, match=r"^--config \S+config\.yaml: not YAML: [^\n]*$"):
        load(Config, file, "--config")
    assert tracemalloc.get_traced_memory()[1] < 300 << 20
    tracemalloc.stop()


def test_an_alias_on_the_command_line_is_refused():
    with pytest.raises(ConfigError, match=r"--model\.options .*: not YAML"):
        override(Config(), {"model.options": "{a: &a [1], b: *a}"})


def test_plain_values_are_read():
    assert plain_yaml.parse("a: [1, 2.5, true, null, 'x']") == {"a": [1, 2.5, True, None, "x"]}
