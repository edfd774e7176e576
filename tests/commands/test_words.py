"""Options of a command, fields of the config and files on one command line."""

from pipeline.commands.words import parsed, parser


def test_the_value_of_a_field_is_no_file():
    words = parser("extract", "doc")
    words.add_argument("videos", nargs="*")
    words.add_argument("--out")
    words.add_argument("--quiet", action="store_true")
    line = [
        "--catalog.videos",
        "folder",
        "a.mp4",
        "--out",
        "there",
        "--ingest.fps=5",
        "--quiet",
        "b.mp4",
        "--seed",
        "3",
    ]
    given, fields = parsed(words, line)
    assert (given.videos, given.out, given.quiet) == (["a.mp4", "b.mp4"], "there", True)
    assert fields == ["--catalog.videos", "folder", "--ingest.fps=5", "--seed", "3"]
