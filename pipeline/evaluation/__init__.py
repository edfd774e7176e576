"""Tests of trained networks under a published protocol; every clip counts once.

protocols         the windows and crops of a clip over which a paper averages
view_cuts         the views of a clip, cut from decoded frames
views             the views of a stored clip
scoring           a clip's scores from its views, in the test and in a registered model
score_clips       scores of a whole split, computed by a Ray Data job
scores            storage of scores
fusion            late fusion of stored scores
analysis          accuracy, confusion and calibration
log_analysis      the analysis, logged to an MLflow run
class_activation  where a network looks
example_clips     single clips as small animations
"""
