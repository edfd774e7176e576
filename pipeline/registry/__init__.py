"""Registered models: a video classifier, and what it needs where it is served. No Ray, no MLflow, no shards.

video_classifier  encoded video in, actions out          videos  decoding and flow of several videos at a time
requirements      the packages that it needs, with their versions      summary  answers as text
"""
