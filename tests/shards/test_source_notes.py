"""How often each kind of note on a source comes."""

from pipeline.shards.source_notes import count_source_notes


def test_notes_are_counted_by_kind_once_a_clip():
    beyond = "ends before the clip (13 of 162 frames)"
    notes = ["turned, 3 damaged frames", "12 damaged frames", beyond, "", None, "turned"]
    assert count_source_notes(notes) == {"turned": 2, "damaged frames": 2, "ends before the clip": 1}
    assert count_source_notes([]) == {}
