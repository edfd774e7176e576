"""From a catalog to shards: Ray Data stages that decode, compute flow, encode and write.

catalog  which clips                      run     the plan, the stages in Ray Data, the shards, the manifest
stages   rows in, rows out                errors  what can be wrong with a clip, and what may come of trying again
child    decoding where it can be killed  decode  one clip's pictures out of a file, by
encode   one clip's bytes                         clock (when), constant_rate (which) and view (how they are seen)
"""
