"""Registered models: a video classifier, what it needs where it is served, and how it comes into MLflow's registry.

video_classifier  encoded video in, actions out         videos        decoding and flow of several videos at a time
requirements      the packages that it needs            summary       answers as text
pyfunc            the classifier as MLflow loads it     model_versions log, register and find versions
register          the model of a finished run           model_card    what it is, stands on, and was not tested for
descriptions      what runs and models say of themselves in MLflow

The first four import neither Ray nor MLflow: they are what a served model runs.
"""
