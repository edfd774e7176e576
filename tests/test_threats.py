"""The page of threats: each line names the tests that stand behind it, and they are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES = [
    line
    for line in (ROOT / "pipeline" / "threats.md").read_text().splitlines()
    if line.startswith("| ") and "what could happen" not in line
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: " ".join(line.split("|")[2].split()[:6]))
def test_a_line_of_the_page_has_tests(line):
    *_, named, _ = line.split("|")
    tests = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", named)
    assert tests
    for file, name in tests:
        text = (ROOT / file).read_text()
        assert f"def {name or 'test_'}" in text, (file, name)


def test_what_the_page_says_of_files_is_there():
    page = (ROOT / "pipeline" / "threats.md").read_text()
    for name in re.findall(r"`((?:infra|ingest|models|shards)/[\w/]+\.(?:py|sh)|\w+\.py)`", page):
        assert (ROOT / "pipeline" / name).exists() or (ROOT / name).exists(), name
