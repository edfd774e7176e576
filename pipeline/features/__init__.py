"""Features and predictions of any amount of video: windows through any layer of any network.

windows     where windows begin and end                 layers      the output of any layer, by its name
frames      frames and flow of a clip as a stream       scorer      windows to features, on CPUs or GPUs
extraction  one clip, in memory that does not grow      results     files, exactly once
loading     networks with their weights                 videos      the videos that a user names
request     from a command line to a run                plan        what decides the features
run         the whole run on Ray                        summary     what is printed
"""
