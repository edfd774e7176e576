"""Training, from a shard set to the checkpoints of one network.

trainer          the Ray Train run, started by the driver  loop            what one DDP worker runs in it
job              what a worker is told                     rank            a worker's place and device
train_epoch      the steps of an epoch                     validation      every clip of the split, exactly once
step             forward, backward, update                 micro_batches   how a step is cut over any number of workers
losses           cross-entropy                             mixup           clips and labels in pairs
optimisers       SGD, AdamW                                learning_rate   warm-up, steps, cosine, plateau
ema              moving average of the weights             batch_norm      statistics over workers, precise ones
initial_weights  fresh, inflated or trained weights        provenance      what weights are of: classes, data, input
checkpoints      what a run needs to go on                 failures        what ends a run, and what is tried again
crash_cleanup    what crashes leave behind                 wait_for_workers  aloud, and not for ever
precision        bf16, memory format, compilation          precision_check   3D convolutions tried beside fp32
prefetch         batches on the device, one ahead          metrics         sums over clips and workers
step_progress    lines and a bar while steps go on         metric_points   points of curves, sent by a thread
reporting        checkpoints and metrics, when and where   input_check     windows that a network does not take
tasks            classification, or matching of pairs      matching_network  supervision transfer from 2D to 3D
classes, splits  classes compared by name; in the splits
"""
