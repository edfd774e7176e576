"""Everything that touches MLflow.

runs      one run a training: made by the driver, attached to by workers, ended with the right status
figures   curves, confusion matrices, sweep plots          registry  models, versions, aliases
pyfunc    the registered model as MLflow loads it
"""
