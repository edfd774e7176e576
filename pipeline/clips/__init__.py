"""From shards to batches: temporal windows, spatial crops, normalisation, Ray Data to torch.

index     the clips of a split as arrays
windows   which frames            crops     which pixels            order     which clips, when and on which rank
sampling  one window of one clip, decoded: runs in Ray Data tasks, which import no torch
loader    Ray Data to batches of torch tensors         normalise  uint8 to [-1, 1], on the device
"""
