"""Training, from a shard set to networks with exact numbers.

loop        what one DDP worker runs          trainer     the Ray Train run around it, started by the driver
step        forward, backward, update         rank        a worker's place and device
optimisers  SGD, AdamW                        schedules   plateau, step, cosine, warm-up
mixup       clips and labels in pairs         average     moving average of the weights
statistics  batch norm over workers, precise  checkpoints what a run needs to go on
starts      inflated or trained weights, and what of them is trained
compute     what makes a step fast on its device
convolutions their self-test in low precision feed       batches on the device, and the wait for them
losses      the loss read while the GPU goes on
metrics     sums over clips and workers       evaluation  every clip of a split, by a Ray Data job
tasks       classification or matching        transfer    supervision transfer: pairs and network
supervision supervision transfer as a job
pretrain    every network of a run, their fusion, the registered model
"""
