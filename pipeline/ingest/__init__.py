"""From a catalog to shards: Ray Data stages that fetch, decode, compute flow, encode and write.

catalog       the clips that a config names        run              plan, stages, shards, manifest, in that order
estimate      what an ingest would cost            plan             the settings that decide a set's content
videos        the videos that hold the clips       ray_pipeline     the stages in Ray Data, and their settings
fetch/        bring videos here                    stages           what each stage does: rows in, rows out
decode/       a clip's frames from its video       encode           a clip's frames to bytes
gpu_flow      flow by actors with a GPU            write_shards     from the results of clips to shards
retry         failed clips that are tried again    leaks            one video, or the same packets, in two splits
clip_errors   what can be wrong with a clip        run_errors       what stops a run
stored        a shard set that is enough by itself progress_report, summary  lines while it runs, and at its end
"""
