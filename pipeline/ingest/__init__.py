"""From a catalog to shards: Ray Data stages that decode, compute flow, encode and write.

catalog  which clips      decode, encode  one clip's frames and bytes     stages  rows in, rows out
run      the plan, the stages in Ray Data, the shards, the manifest       errors  what can be wrong with a clip
"""
