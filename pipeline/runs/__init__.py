"""Whole jobs on a cluster, from a config to the printed result.

prepare               finds the clips and ingests those that are missing
training_estimate     estimates the cost of a training
run_name              checks new and resumed names of runs
run_lock              keeps a run's folder for one process at a time
pretrain              trains each stream, tests, fuses and registers
splits_in_turn        trains and tests on each published split, or on each fold, for their mean
supervision_transfer  trains a 3D network on the features of a 2D network
trained_networks      finds networks by model URI, run or checkpoint
evaluate              tests networks, or fuses stored scores
summary               formats the printed result
"""
