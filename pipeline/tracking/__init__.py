"""Everything that touches MLflow.

runs      one run a training: made by the driver, attached to by workers, ended with the right status
figures   curves, confusion matrices, sweep plots          registry  two-stream models, versions, aliases
video_classifier  the registered model's own code: video bytes in, actions out
"""
