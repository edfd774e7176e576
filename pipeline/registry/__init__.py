"""Registered models: a video classifier, its requirements, and its registration in MLflow.

video_classifier  encoded video in, actions out
videos            decoding and flow of several videos at a time
requirements      the packages that the classifier needs
summary           answers as text
pyfunc            the classifier as MLflow loads it
model_versions    logging, registration and look-up of versions
register          registration of the model of a finished run
model_card        description, data and limits of a registered model
descriptions      descriptions of runs in MLflow

The first four import neither Ray nor MLflow.
"""
