"""From shards to batches: temporal windows, spatial crops, decoding in Ray tasks, normalisation.

index      the clips of a split as arrays
streams    the streams of a clip: RGB and flow
windows    selection of frames
crops      selection of pixels
order      the order of clips, and their division among ranks
sampling   one decoded window of one clip
planes     RGB windows as luma and chroma
pairs      windows of two clips, for supervision transfer
decoding   a batch of windows, decoded in tasks that do not import torch
loader     batches as torch tensors, in order
dataset    batches as a Ray Data dataset
normalise  uint8 to [-1, 1], on the device
"""
