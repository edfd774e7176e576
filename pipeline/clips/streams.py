"""The streams of a clip: RGB frames, and the flow between them."""

BLOB = {"rgb": "video", "flow": "flow"}
"""The shard column that holds each stream."""

CHANNELS = {"rgb": 3, "flow": 2}
