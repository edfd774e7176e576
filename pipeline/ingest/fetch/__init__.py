"""Fetching of videos: files from web servers and object stores, members of archives, videos from YouTube.

    request    one GET: redirects, errors by status, a time limit for the head
    http       a file of a web server as a stream that survives broken connections
    stores     any address (local, http(s) or object store) as a stream or as bytes
    tape, tar  an archive's bytes, read once and in order; the headers in them
    youtube    a video fetched by yt-dlp in its own process; `scratch` has the folder in which yt-dlp writes
    limiter    a limit for the requests of an address, shared by the whole cluster
    archives   the wanted members of an archive; the archives of a folder, prefix or list

Problems with a source are raised as `pipeline.ingest.clip_errors.ClipError`. No transfer runs forever: see `http`.
"""
