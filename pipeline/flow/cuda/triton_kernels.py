"""Triton kernels of the solver's steps, each for a tile of one pair; `torch_steps` says what they compute.

In the kernels, a place is the index of a pixel in its plane, row by row; size is H x W, the floats in a plane.
"""

# mypy: disallow-untyped-defs=False
# ruff: noqa: N803 - compile-time constants are in capitals, as in Triton's own kernels

import triton
import triton.language as tl

from pipeline.flow.cuda.triton_median import median3, median5

FLT_EPSILON = tl.constexpr(2.0**-23)
CUBIC = tl.constexpr(-0.75)  # OpenCV's free coefficient of the bicubic kernel


@triton.jit
def _tile(width, TILE_H: tl.constexpr, TILE_W: tl.constexpr):
    """Return the rows and columns of the pixels of this program's tile; tiles are numbered along rows.

    Both are flat vectors with one element per pixel. Then a warp loads neighbours of one row in every version of
    Triton. With a column and a row vector, Triton's choice depends on what it can prove about clamped places.
    """
    tile = tl.program_id(0)
    across = tl.cdiv(width, TILE_W)
    pixel = tl.arange(0, TILE_H * TILE_W)
    y = (tile // across) * TILE_H + pixel // TILE_W
    x = (tile % across) * TILE_W + pixel % TILE_W
    return y, x


@triton.jit
def _running(error, pair, n, scaled_epsilon, batch, parts, PARTS: tl.constexpr):
    """Return whether the pair changed by more than epsilon in the iteration before n; all programs get the same."""
    part = tl.arange(0, PARTS)
    before = error + (((n + 1) % 2) * batch + pair) * parts
    return tl.sum(tl.load(before + part, mask=part < parts, other=0.0)) > scaled_epsilon


@triton.jit
def _cubic_weight(t, tap: tl.constexpr):
    """Return the bicubic weight of tap 0, 1, 2 or 3, at -1, 0, 1 or 2, for a position t between 0 and 1."""
    far = 1 - t
    if tap == 0:
        weight = CUBIC * t * far * far
    elif tap == 1:
        weight = ((CUBIC + 2) * t - (CUBIC + 3)) * t * t + 1
    elif tap == 2:
        weight = ((CUBIC + 2) * far - (CUBIC + 3)) * far * far + 1
    else:
        weight = CUBIC * far * t * t
    return weight


@triton.jit(do_not_specialize=["batch", "height", "width"])
def warp_kernel(
    flow, side, warped, images, first, batch, unknowns, height, width, TILE_H: tl.constexpr, TILE_W: tl.constexpr
):
    """Sample the second frame and its gradients where the flow points, bicubically, with zeros outside the frame."""
    pair = tl.program_id(1).to(tl.int64)
    y, x = _tile(width, TILE_H, TILE_W)
    inside = (y < height) & (x < width)
    size = height * width
    pixel = y * width + x
    u = flow + (tl.load(side + pair) * batch + pair) * unknowns * size + pixel
    u1 = tl.load(u, mask=inside, other=0.0)
    u2 = tl.load(u + size, mask=inside, other=0.0)
    frame = tl.load(first + pair).to(tl.int64) * 3 * size
    i0 = tl.load(images + frame + pixel, mask=inside, other=0.0)
    second = images + frame + 3 * size

    # clamping changes nothing: positions this far outside have no tap inside
    x_at = tl.minimum(tl.maximum(x + u1, -4.0), width + 3.0)
    y_at = tl.minimum(tl.maximum(y + u2, -4.0), height + 3.0)
    left, top = tl.floor(x_at), tl.floor(y_at)
    x_part, y_part = x_at - left, y_at - top
    column, row = left.to(tl.int32), top.to(tl.int32)
    i1w = tl.zeros_like(u1)
    i1wx = tl.zeros_like(u1)
    i1wy = tl.zeros_like(u1)
    for j in tl.static_range(4):
        line = tl.zeros_like(u1)
        line_x = tl.zeros_like(u1)
        line_y = tl.zeros_like(u1)
        tap_y = row + (j - 1)
        for i in tl.static_range(4):
            tap_x = column + (i - 1)
            there = inside & (tap_y >= 0) & (tap_y < height) & (tap_x >= 0) & (tap_x < width)
            tap = second + tap_y * width + tap_x
            weight = _cubic_weight(x_part, i)
            line += tl.load(tap, mask=there, other=0.0) * weight
            line_x += tl.load(tap + size, mask=there, other=0.0) * weight
            line_y += tl.load(tap + 2 * size, mask=there, other=0.0) * weight
        weight = _cubic_weight(y_part, j)
        i1w += line * weight
        i1wx += line_x * weight
        i1wy += line_y * weight

    out = warped + pair * 3 * size + pixel
    tl.store(out, i1wx, mask=inside)
    tl.store(out + size, i1wy, mask=inside)
    tl.store(out + 2 * size, i1w - i1wx * u1 - i1wy * u2 - i0, mask=inside)


@triton.jit
def _divergences(p, size, here, left, right, below, below_left, above, above_right):
    """Return a vector field's divergence at `here`, `right` and `below`, and the field itself at `here`.

    The field is in the two planes that start at p; the arguments after size are places in a plane.
    """
    p_x = tl.load(p + here)
    p_x_below = tl.load(p + below)
    of_x_right = tl.load(p + right) - p_x
    of_x_below = p_x_below - tl.load(p + below_left)
    of_x = p_x - tl.load(p + left)
    q = p + size
    p_y = tl.load(q + here)
    p_y_right = tl.load(q + right)
    of_y_right = p_y_right - tl.load(q + above_right)
    of_y_below = tl.load(q + below) - p_y
    of_y = p_y - tl.load(q + above)
    return of_x + of_y, of_x_right + of_y_right, of_x_below + of_y_below, p_x, p_y


@triton.jit
def _new_flow(u12, u3, warped, size, at, div1, div2, div3, l_t, theta, gamma, UNKNOWNS: tl.constexpr):
    """Compute the flow at a place after the data term and the divergence: u1, u2, u3, and their squared change."""
    u1 = tl.load(u12 + at)
    u2 = tl.load(u12 + size + at)
    i1wx = tl.load(warped + at)
    i1wy = tl.load(warped + size + at)
    rho = tl.load(warped + 2 * size + at) + (i1wx * u1 + i1wy * u2)
    old3 = u2
    if UNKNOWNS == 3:
        old3 = tl.load(u3 + at)
        rho += gamma * old3
    # this clamp covers OpenCV's three cases of rho against l_t * |grad|^2
    to_zero = tl.rsqrt(tl.maximum(i1wx * i1wx + i1wy * i1wy, FLT_EPSILON))
    step = tl.minimum(tl.maximum(-rho * (to_zero * to_zero), -l_t), l_t)
    new1 = u1 + step * i1wx + theta * div1
    new2 = u2 + step * i1wy + theta * div2
    moved = (new1 - u1) * (new1 - u1) + (new2 - u2) * (new2 - u2)
    new3 = new2
    if UNKNOWNS == 3:
        new3 = old3 + step * gamma + theta * div3
        moved += (new3 - old3) * (new3 - old3)
    return new1, new2, new3, moved


@triton.jit
def _update_dual(out, size, at, inside, p_x, p_y, g_x, g_y, taut):
    """Move a vector field one step along the gradient of the flow, and keep it within the unit disc."""
    within = 1 / (1 + taut * tl.sqrt(g_x * g_x + g_y * g_y))
    tl.store(out + at, (p_x + taut * g_x) * within, mask=inside)
    tl.store(out + size + at, (p_y + taut * g_y) * within, mask=inside)


@triton.jit(do_not_specialize=["n", "batch", "height", "width", "parts"])
def iterate_kernel(
    flow,
    dual,
    smooth,
    warped,
    error,
    side,
    iterations,
    pairs,
    n,
    scaled_epsilon,
    l_t,
    taut,
    theta,
    gamma,
    batch,
    height,
    width,
    parts,
    PARTS: tl.constexpr,
    UNKNOWNS: tl.constexpr,
    SMOOTHED: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
):
    """Run one iteration unless the pair has converged: update the flow, then the dual variables along its gradient."""
    tile = tl.program_id(0)
    pair = tl.load(pairs + tl.program_id(1)).to(tl.int64)
    part = pair * parts + tile
    if _running(error, pair, n, scaled_epsilon, batch, parts, PARTS):
        size = height * width
        now = (n + tl.load(side + pair)) % 2
        u = flow + (now * batch + pair) * UNKNOWNS * size
        p = dual + (now * batch + pair) * 2 * UNKNOWNS * size
        constant = warped + pair * 3 * size
        u12 = smooth + pair * 2 * size if SMOOTHED else u
        u3 = u + 2 * size

        # Every load is inside the frame, so none needs a mask. Before the first row and column the divergence needs
        # zeros. The last row and column have them, as the flow has no gradient across the border, so the places before
        # the first row and column wrap around to the last ones.
        y, x = _tile(width, TILE_H, TILE_W)
        inside = (y < height) & (x < width)
        x = tl.minimum(x, width - 1)
        y = tl.minimum(y, height - 1)
        has_right = x + 1 < width
        has_below = y + 1 < height
        x_left = tl.where(x > 0, x, width) - 1
        x_right = tl.where(has_right, x + 1, x)
        row = y * width
        row_above = (tl.where(y > 0, y, height) - 1) * width
        row_below = tl.where(has_below, row + width, row)
        here, left, right = row + x, row + x_left, row + x_right
        below, below_left = row_below + x, row_below + x_left
        above, above_right = row_above + x, row_above + x_right

        div1, div1_right, div1_below, p11, p12 = _divergences(
            p, size, here, left, right, below, below_left, above, above_right
        )
        div2, div2_right, div2_below, p21, p22 = _divergences(
            p + 2 * size, size, here, left, right, below, below_left, above, above_right
        )
        div3, div3_right, div3_below, p31, p32 = div2, div2_right, div2_below, p21, p22  # unused with two unknowns
        if UNKNOWNS == 3:
            div3, div3_right, div3_below, p31, p32 = _divergences(
                p + 4 * size, size, here, left, right, below, below_left, above, above_right
            )
        new1, new2, new3, moved = _new_flow(
            u12, u3, constant, size, here, div1, div2, div3, l_t, theta, gamma, UNKNOWNS
        )
        right1, right2, right3, _ = _new_flow(
            u12, u3, constant, size, right, div1_right, div2_right, div3_right, l_t, theta, gamma, UNKNOWNS
        )
        below1, below2, below3, _ = _new_flow(
            u12, u3, constant, size, below, div1_below, div2_below, div3_below, l_t, theta, gamma, UNKNOWNS
        )

        u_out = flow + ((1 - now) * batch + pair) * UNKNOWNS * size
        p_out = dual + ((1 - now) * batch + pair) * 2 * UNKNOWNS * size
        tl.store(u_out + here, new1, mask=inside)
        tl.store(u_out + size + here, new2, mask=inside)
        g_x = tl.where(has_right, right1 - new1, 0.0)
        g_y = tl.where(has_below, below1 - new1, 0.0)
        _update_dual(p_out, size, here, inside, p11, p12, g_x, g_y, taut)
        g_x = tl.where(has_right, right2 - new2, 0.0)
        g_y = tl.where(has_below, below2 - new2, 0.0)
        _update_dual(p_out + 2 * size, size, here, inside, p21, p22, g_x, g_y, taut)
        if UNKNOWNS == 3:
            tl.store(u_out + 2 * size + here, new3, mask=inside)
            g_x = tl.where(has_right, right3 - new3, 0.0)
            g_y = tl.where(has_below, below3 - new3, 0.0)
            _update_dual(p_out + 4 * size, size, here, inside, p31, p32, g_x, g_y, taut)
        tl.store(error + (n % 2) * batch * parts + part, tl.sum(tl.where(inside, moved, 0.0)))
        if tile == 0:
            tl.store(iterations + pair, n + 1)
    else:
        # copy the error that stopped the pair to where the next iteration looks for it
        stopped = tl.load(error + ((n + 1) % 2) * batch * parts + part)
        tl.store(error + (n % 2) * batch * parts + part, stopped)


@triton.jit(do_not_specialize=["n", "batch", "height", "width", "parts"])
def smooth_kernel(
    flow,
    side,
    smooth,
    error,
    pairs,
    n,
    scaled_epsilon,
    batch,
    unknowns,
    height,
    width,
    parts,
    PARTS: tl.constexpr,
    SIZE: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
):
    """Compute the median of u1 or u2 (axis 2 of the grid), unless the pair has converged."""
    pair = tl.load(pairs + tl.program_id(1)).to(tl.int64)
    channel = tl.program_id(2)
    if _running(error, pair, n, scaled_epsilon, batch, parts, PARTS):
        size = height * width
        y, x = _tile(width, TILE_H, TILE_W)
        now = (n + tl.load(side + pair)) % 2
        plane = flow + ((now * batch + pair) * unknowns + channel) * size
        median = median3(plane, y, x, height, width) if SIZE == 3 else median5(plane, y, x, height, width)
        out = smooth + (pair * 2 + channel) * size + y * width + x
        tl.store(out, median, mask=(y < height) & (x < width))
