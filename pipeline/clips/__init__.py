"""From shards to batches: temporal windows, spatial crops, normalisation, Ray to torch.

index     the clips of a split as arrays
windows   which frames            crops     which pixels            order     which clips, when and on which rank
sampling  one window of one clip, decoded             decoding  a batch of them: runs in tasks, which import no torch
loader    batches of torch tensors, in order           dataset   the same as a Ray Data dataset
pairs     windows of two clips, for supervision transfer           normalise uint8 to [-1, 1], on the device
"""
