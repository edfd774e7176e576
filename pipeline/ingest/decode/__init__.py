"""A clip's frames from its encoded video, at a constant rate, in a process that may hang or crash.

child_process  decoding in a child process, with a time limit   clip           from bytes to frames
constant_rate  output frame k is what a viewer sees at k / rate  timestamps     presentation times, repaired
orientation    the display matrix                                seek           from the key frame before the clip
packet_digest  the compressed video as identity                  truncation     videos that end too early
"""
