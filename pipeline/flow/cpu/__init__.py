"""The `cpu` backend: OpenCV's TV-L1 on one core, in kernels of our own.

    engine       frames in, flow out
    solve        pyramid, warps, outer and inner iterations of every pair
    pyramid, warp, median, iteration      one step of it each
    vectors      SIMD vectors for Numba
    compiled     compilation, and its cache on disk

It equals OpenCV 5.0 up to rounding: the same arithmetic in float32, the same stops. Where the time goes: an inner
iteration of a pixel is 46 vector instructions for 16 pixels at once and reads 40 and writes 24 bytes; OpenCV makes ten
passes over memory of it. Here several iterations run in one pass over the rows, each a row behind the one before, so
that rows are met again while they are in the cache (`iteration`). Numba is imported with the first flow, not before.
"""
