"""Decoding of a clip's frames at a constant rate, in a child process that may hang or crash without harm to the run.

child_process  decoding in a child process, with a time limit    clip              from a video file to frames
source         opening a file; what its errors mean              reading           packets, frames, signs of damage
timestamps     presentation times, repaired                      seek              from the key frame before the clip
constant_rate  output frame k is what a viewer sees at k / rate  orientation       the display matrix
wholeness      is this stream whole?                             stated_length     how long the header says it is
truncation     lengths in the file that go beyond its end        avi               the chunks of an AVI
encryption     marks of encryption                               transport_stream  the packets of an MPEG-TS
pixels         alpha, HDR, pixel aspect                          packet_digest     digest of the compressed video
jail           what a decoder is kept from
"""
