"""What a clip is made of: pictures, and the flow between them."""

BLOB = {"rgb": "video", "flow": "flow"}
"""The column of a shard that holds a stream."""

CHANNELS = {"rgb": 3, "flow": 2}
