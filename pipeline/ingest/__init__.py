"""From a catalog to shards: Ray Data stages that fetch, decode, compute flow, encode and write.

catalog   which clips                         run        the order of it all: plan, stages, shards, manifest
estimate  what it would come to               plan       what decides the content of a set
videos    the videos that hold the clips      staging    the stages in Ray Data, and their settings
fetch/    bringing them here                  groups     from staged clips to shards
stages    rows in, rows out                   again      which failures are forgotten and tried again
child     decoding where it can be killed     leaks      one video, or the same pictures, in two splits
decode    one clip's pictures out of a file   tally      how it is doing
encode    one clip's bytes                    faults     what stops a run; errors, what is wrong with a clip

`decode` uses clock (when), constant_rate (which), view (how they are seen), seek (from where) and packets (whose).
"""
