"""Search spaces and Tune runs over training.

space   the grid of the papers: temporal depth x stride x resolution      search  Ray Tune, ASHA, MLflow child runs
"""
