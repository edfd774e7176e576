"""The `cpu` backend: OpenCV's TV-L1 on one core, with its own kernels.

    engine       entry point: computes the flow of frames
    solve        pyramid, warps, outer and inner iterations of every pair
    settle       the number of inner iterations
    pyramid, warp, median, iteration      one step of the computation each
    vectors      SIMD vectors for Numba
    compiled     compilation, and its cache on disk

It equals OpenCV 5.0 up to rounding: it uses the same arithmetic in float32 and the same stopping rule. Most of the time
goes into the inner iteration: it takes 46 vector instructions for 16 pixels at once, and it reads 40 and writes 24
bytes per pixel. OpenCV needs ten passes over memory for one iteration. Here several iterations run in one pass over the
rows, each one row behind the previous one, so that a row is still in the cache when the next iteration needs it
(`iteration`). Numba is imported when the first flow is computed, not before.
"""
