"""Hyperparameter sweeps: search spaces, and Ray Tune runs of whole trainings.

space    the grid that the papers search: temporal depth x stride x resolution
search   runs the trials with Ray Tune and ASHA, each as an MLflow child run
summary  the table that a sweep prints at its end
"""
