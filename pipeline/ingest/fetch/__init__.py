"""Bringing here what is elsewhere: files of web servers and object stores, members of archives.

    request    one GET: redirects, status to error, a head in time
    http       a file of a web server as a stream that survives broken connections
    stores     any address, local, http(s) or object store, as a stream or as bytes
    tape, tar  an archive's bytes once from first to last; the headers among them
    youtube    a video by yt-dlp, in a process of its own; scratch, where that writes
    limiter    how often an address may ask, over the whole cluster
    archives   the wanted members of an archive; the archives of a folder, prefix or list

Whatever is wrong with a source is a `pipeline.ingest.clip_errors.ClipError`, and every transfer ends: see `http`.
"""
