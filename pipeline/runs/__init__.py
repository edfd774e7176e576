"""Whole jobs on a cluster, from a config to what a user is told.

prepare           find the clips, ingest what is missing        training_estimate  what a training would cost
run_name          new, used and resumed names                    run_lock    a run's folder is one process's at a time
pretrain          train each stream, test, fuse, register        supervision_transfer  a 3D network learns from a 2D one
trained_networks  networks by model URI, run or checkpoint       evaluate    test them, or fuse stored scores
summary           what is printed at the end
"""
