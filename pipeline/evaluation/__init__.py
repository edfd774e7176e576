"""Tests of trained networks: every clip counted once, under the protocol of a paper.

protocols         the windows and crops of a clip that a paper averages over
view_cuts, views  what a protocol shows of a clip: cut from decoded frames; decoded from a shard set
scoring           a clip's scores from those of its views, in the test and in a registered model
score_clips       scores of a whole split, by a Ray Data job
scores            scores stored and read back          fusion        late fusion of stored scores
analysis          what scores are worth                log_analysis  the same, logged to an MLflow run
class_activation  where a network looks                example_clips single clips as small animations
"""
