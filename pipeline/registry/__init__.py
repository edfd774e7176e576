"""Registered models: a video classifier, its requirements, and its registration in MLflow.

video_classifier  encoded video in, actions out
videos            decoding and flow of several videos at a time
model_folder      the classifier in a folder, as MLflow or `export` writes it
requirements      the packages that the classifier needs
summary           answers as text
pyfunc            the classifier as MLflow loads it
model_versions    logging, registration and look-up of versions
register          registration of the model of a finished run
model_card        description, data and limits of a registered model
descriptions      descriptions of runs in MLflow

The first five import neither Ray nor MLflow.
"""
