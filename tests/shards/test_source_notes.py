"""How often each kind of note on a source comes."""

import pyarrow as pa

from pipeline.shards.source_notes import count_source_notes


def test_notes_are_counted_by_kind_once_a_clip():
    beyond = "ends before the clip (13 of 162 frames)"
    notes = ["turned, 3 damaged frames", "12 damaged frames", beyond, "", None, "turned"]
    assert count_source_notes(pa.chunked_array([notes, notes[:1]], pa.string())) == {
        "turned": 3,
        "damaged frames": 3,
        "ends before the clip": 1,
    }
    assert count_source_notes(pa.chunked_array([], pa.string())) == {}
