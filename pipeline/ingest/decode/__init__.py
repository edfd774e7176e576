"""Decoding of a clip's frames at a constant rate, in a child process that may hang or crash without harm to the run.

child_process  decoding in a child process, with a time limit    clip           from a video file to frames
constant_rate  output frame k is what a viewer sees at k / rate  timestamps     presentation times, repaired
orientation    the display matrix                                seek           from the key frame before the clip
packet_digest  digest of the compressed video                    truncation     videos that end too early
jail           what a decoder is kept from
"""
