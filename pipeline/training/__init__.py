"""Training, from a shard set to networks with exact numbers.

loop        what one DDP worker runs          trainer     the Ray Train run around it, started by the driver
job         what a worker is told             rank        a worker's place and device
epochs      steps, statistics, validation     portions    how a step is cut over any number of workers
step        forward, backward, update         reporting   checkpoints, metrics, a line an epoch; when
checkpoints what a run needs to go on         position    the same inside an epoch, of each rank
faults      what ends a run, what is retried  leftovers   what crashes leave behind
names       new, used, resumed                claims      a run's folder is one process's
optimisers  SGD, AdamW                        schedules   plateau, step, cosine, warm-up
mixup       clips and labels in pairs         average     moving average of the weights
statistics  batch norm over workers, precise  starts      inflated or trained weights, what of them is trained
compute     what makes a step fast on its device
convolutions their self-test in low precision feed       batches on the device, and the wait for them
losses      the loss read while the GPU goes on
steps       what is told of steps inside an epoch  points  of curves, on their way to MLflow
metrics     sums over clips and workers       evaluation  every clip of a split, by a Ray Data job
tasks       classification or matching        transfer    supervision transfer: pairs and network
supervision supervision transfer as a job
pretrain    every network of a run, their fusion, the registered model
"""
