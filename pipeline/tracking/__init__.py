"""Tracking of runs with MLflow; `pipeline.registry` handles models.

runs         runs, which the driver creates and ends and to which workers attach
outages      behaviour while the MLflow server does not answer
moved        repair of a database that was moved or copied with its storage
notes        descriptions of runs, in Markdown
addresses    addresses of MLflow's pages
source       tags with user, command, commit and code digest
environment  versions and hardware of a run, and system metrics
decoration   artifacts that a run can do without
"""
