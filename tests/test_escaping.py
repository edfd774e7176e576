"""Names from outside are text and nothing else, wherever they are shown."""

import csv
import io
import re

import numpy as np
import pytest

from pipeline import console
from pipeline.escaping import as_code, for_csv, for_markdown, one_line, printable
from pipeline.figures import charts, overlays
from pipeline.table import csv_text, table
from pipeline.training.classes import some

TITLE = "\x1b]0;pwned\x07"
CLEAR = "a\x1b[2Jb\r\x9bc\u202ed"
SPELLED = r"a\x1b[2Jb\r\x9bc\u202ed"


# ---------------------------------------------------------------- terminals
def test_control_sequences_are_spelled_out():
    assert printable(CLEAR) == SPELLED
    assert printable(TITLE) == r"\x1b]0;pwned\x07"
    assert printable("two\nlines\tand a tab") == "two\nlines\tand a tab"
    for name in ("ÄÖ é", "日本語", "مثال", "می\u200cروم", "👩\u200d🦰"):
        assert printable(name) == name


def test_one_line_is_one_line_of_a_length():
    assert one_line("a\n\x85b\u2028c   d") == "a b c d"
    assert one_line("x" * 20_000) == "x" * 119 + "…"
    assert one_line(" " * 20_000) == ""


def test_what_a_command_prints_is_spelled_out(capsys):
    with console.logged():
        print(f"class {CLEAR}")
        print(table([["class", "clips"], [CLEAR, 3], ["y" * 20_000, 4]]))
    printed = capsys.readouterr().out
    assert f"class {SPELLED}\n" in printed
    assert {one for one in printed if not one.isprintable()} == {"\n"}
    assert max(map(len, printed.splitlines())) < 140


@pytest.mark.parametrize("logged", [True, False])
def test_messages_progress_and_errors_are_spelled_out(capsys, tmp_path, monkeypatch, logged):
    monkeypatch.delenv(console.VERBOSE, raising=False)
    with console.logged():
        path = console.log_to(str(tmp_path), "job") if logged else None
        console.say(f"warning: {CLEAR}")
        console.show(console.Update(CLEAR, CLEAR, 0.5))
        print(f"printed {CLEAR}")
    shown = "".join(capsys.readouterr())
    assert shown.count(SPELLED) == 4
    assert not set(shown) & set("\x1b\x9b\u202e\r")
    if path:
        assert not set(path.read_text()) & set("\x1b\x9b\u202e\r")


def test_a_bar_is_one_line_of_plain_text():
    bar = console.Update(CLEAR, "x\ny", 0.5).bar(79)
    assert bar.isprintable()
    assert len(bar) <= 79


def test_class_names_in_sentences_are_cut():
    assert len(some(["x" * 20_000], ["x" * 20_001])) < 300
    assert some([CLEAR]) == repr(CLEAR)


# ---------------------------------------------------------------- pages
MARKUP = [
    "![x](https://evil.example/p.png)",
    "[x](javascript:alert(1))",
    "<img src=//evil.example>",
    "<script>alert(1)</script>",
    "https://evil.example/x",
    "www.evil.example",
    "mailto:me@evil.example",
    "<https://evil.example>",
    "x\n# head\n\n- item",
    "| a | b |",
    "`code` **bold** ~~gone~~",
    "&lt;img src=x&gt; &#x3c;img&#x3e;",
    "evil.example",
]


@pytest.mark.parametrize("name", MARKUP)
def test_a_name_in_markdown_is_the_same_text_and_no_markup(name):
    text = for_markdown(name)
    assert re.findall(r"(?<!\\)[`*_\[\]<>|#~&!]|\n", text) == []
    assert re.findall(r"(?i)https?://|www\.|@\w|\w\.[a-z]", text) == []  # which some renderers make links of
    assert re.sub(r"\\(.)", r"\1", text).replace("\u2060", "") == " ".join(name.split())


@pytest.mark.parametrize("name", MARKUP)
def test_a_name_in_a_code_span_does_not_end_it(name):
    text = as_code(name)
    assert text[0] == text[-1] == "`"
    assert text.count("`") == 2
    assert "\n" not in text
    assert text[1:-1] == " ".join(name.split()).replace("`", "'")


def test_what_a_name_in_markdown_looks_like():
    assert for_markdown("<b>run | fast_x</b>\n# 2") == r"\<b\>run \| fast\_x\</b\> \# 2"
    assert for_markdown("version 1.2 of 3.5") == "version 1.2 of 3.5"


# ---------------------------------------------------------------- spreadsheets
@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-walking", "@SUM(A1)", "\t=1", "\n=1", " =1", "\uff1d1"])
def test_a_text_that_begins_like_a_formula_is_a_text(text):
    assert for_csv(text) == f"'{text}"
    ((cell, number),) = csv.reader(io.StringIO(csv_text([[text, -3]])))
    assert (cell, number) == (f"'{text}", "-3")


@pytest.mark.parametrize("value", [-0.5, 3, None, "-0.5", "+1e3", "run - fast", "a=b", ""])
def test_numbers_and_other_texts_stay_as_they_are(value):
    assert for_csv(value) == value


# ---------------------------------------------------------------- figures
NAMES = ["$\\frac{", "$\\x$", "a$b$c", "$$", "\\$x\\$", "_^{}", "x" * 20_000, CLEAR, "two\nlines", ""]


def test_figures_are_drawn_of_any_names():
    count = len(NAMES)
    for figure in (
        charts.confusion(np.eye(count, dtype=np.int64), NAMES, "$\\x$"),
        charts.class_accuracy(NAMES, [0.5] * count, [2] * count, "$\\x$"),
        charts.reliability([0.5], [0.5], [1], 0.1, "$\\x$"),
    ):
        file = io.BytesIO()
        figure.savefig(file, dpi=60, bbox_inches="tight")
        assert file.getvalue().startswith(b"\x89PNG")
        assert max(int.from_bytes(file.getvalue()[place : place + 4], "big") for place in (16, 20)) < 3000


def test_an_animation_is_drawn_of_any_names():
    row = overlays.Row("x" * 20_000, np.zeros((2, 8, 8, 3), np.uint8), np.ones((1, 2, 4, 4), np.float32))
    assert overlays.attention_animation(["y" * 20_000, CLEAR], [row], [CLEAR]).startswith(b"GIF")
