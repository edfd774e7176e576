"""Training, from a shard set to the checkpoints of one network.

trainer           the Ray Train run, which the driver starts
loop              what each DDP worker runs
job               the config, run and network name that a worker gets
rank              a worker's place among the others, and its device
tasks             classification of actions, or matching of pairs
matching_network  supervision transfer from a 2D to a 3D network
initial_weights   fresh, inflated or trained weights
provenance        the classes, data and input of weights
train_epoch       the steps of an epoch
step              forward pass, backward pass, update
micro_batches     division of a step among any number of workers
losses            cross-entropy
mixup             clips and labels mixed in pairs
optimisers        SGD, AdamW
learning_rate     warm-up, steps, cosine, plateau
ema               moving average of the weights
batch_norm        statistics averaged over workers, or recomputed
precision         bf16, memory format, compilation
precision_check   self-test of 3D convolutions against float32
prefetch          batches copied to the device, one ahead
consensus         the loss of several windows of a clip (TSN)
validation        every clip of the split, exactly once
metrics           sums over clips and workers
reporting         checkpoints and metrics of an epoch
step_progress     progress lines and bar during an epoch
metric_points     points of the MLflow curves, sent by a thread
checkpoints       the files from which a run resumes
failures          which errors end a run, and which are retried
crash_cleanup     repair of the folder after a crash
wait_for_workers  waiting for room in the cluster, with a time limit
input_check       check that a network accepts its windows
classes           comparison of classes by name
splits            comparison of the classes of the splits
"""
