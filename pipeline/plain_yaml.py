"""Reading of YAML that strangers may have written: plain values, without aliases, of limited size.

A few lines of aliases can stand for more values than a machine has memory ("billion laughs"), and nobody needs them
in a file that a program has saved.
"""

from typing import Any

import yaml

MOST = 1 << 20
"""Largest number of characters that are read: a thousand times a whole config."""


def parse(text: str) -> Any:
    """Return the value of a YAML text.

    Raises:
        yaml.YAMLError: the text is not YAML, has aliases, is too long or too deeply nested.
    """
    if len(text) > MOST:
        raise yaml.YAMLError(f"longer than {MOST:,} characters")
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a safe loader
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None
    except (ValueError, TypeError, OverflowError) as error:  # a date that does not exist, a number that is too long
        raise yaml.YAMLError(str(error)) from None


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*name) stands in for a value; write the value")
        return super().compose_node(parent, index)
