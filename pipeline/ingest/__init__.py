"""Ingest: Ray Data stages that turn a catalog into shards (fetch, decode, compute flow, encode, write).

catalog       the clips that a config names        run              plan, stages, shards, manifest, in that order
estimate      what an ingest would cost            plan             the settings that decide a set's content
layout        which clips go into which shard      units            the rows of Ray Data
remaining     what is still to do                  ray_pipeline     the stages in Ray Data, and their settings
shard_task    what one task does                   archived         clips from archives
ledger, watch what tasks report to the driver      staging, lists   files from which a killed run goes on
videos        the videos that hold the clips       attempts         clips that kill their workers
fetch/        download of videos and archives      stages           what each stage does to a row
decode/       a clip's frames from its video       encode           a clip's frames and flow to bytes
gpu_flow      flow computed by actors with a GPU   write_shards     staged clips to shards
retry         new attempts for failed clips        leaks            one video, or the same packets, in two splits
clip_errors   what can be wrong with a clip        run_errors       what stops a run
stored        use of a shard set without a catalog progress_report, summary  output during a run and at its end
child_environment  the variables that child processes get
"""
