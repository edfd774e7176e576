"""Training, from a shard set to networks with exact numbers.

loop        what one DDP worker runs        trainer     the Ray Train run around it, started by the driver
networks    the network of one stream       checkpoints what a run needs to go on
metrics     sums over clips and workers     evaluation  every clip of a split once, by a Ray Data job
pretrain    both streams, their fusion, the registered model
"""
