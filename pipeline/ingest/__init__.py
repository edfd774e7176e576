"""Ingest: Ray Data stages that turn a catalog into shards (fetch, decode, compute flow, encode, write).

catalog       the clips that a config names        run              plan, stages, shards, manifest, in that order
estimate      what an ingest would cost            plan             the settings that decide a set's content
videos        the videos that hold the clips       ray_pipeline     the stages in Ray Data, and their settings
fetch/        download of videos and archives      stages           what each stage does to a row
decode/       a clip's frames from its video       encode           a clip's frames and flow to bytes
gpu_flow      flow computed by actors with a GPU   write_shards     staged clips to shards
retry         new attempts for failed clips        leaks            one video, or the same packets, in two splits
clip_errors   what can be wrong with a clip        run_errors       what stops a run
stored        use of a shard set without a catalog progress_report, summary  output during a run and at its end
child_environment  the variables that child processes get
"""
