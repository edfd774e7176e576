"""The three steps of the solver in plain torch operations: the reference and the substitute for the Triton kernels.

The algorithm is that of Zach, Pock and Bischof 2007, with the names of OpenCV's CPU implementation.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.flow.cuda.state import State, Weights

FLT_EPSILON = 2.0**-23
CUBIC = -0.75  # OpenCV's free coefficient of the bicubic kernel


def tiles(height: int, width: int) -> int:  # noqa: ARG001 - the kernels need them
    """Return the number of parts of a frame whose errors are summed separately: one."""
    return 1


def warp(state: State, images: Tensor, first: Tensor) -> None:
    """Sample each pair's second frame and its gradients where the flow points; fill `state.warped`.

    Args:
        state: the state of B pairs.
        images: (frames, 3, H, W): each frame and its gradients in x and y.
        first: (B,) int32, index of the first frame of each pair; the second is the next frame.
    """
    height, width = images.shape[-2:]
    flow = state.current_flow()
    x = torch.arange(width, device=flow.device) + flow[:, 0]
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
    columns, rows = _cubic_taps(x, width), _cubic_taps(y, height)
    frame = (first.long() + 1)[:, None, None]
    sampled = []
    for plane in images.unbind(1):
        total = torch.zeros_like(x)
        for row, row_weight in rows:
            line = torch.zeros_like(x)
            for column, column_weight in columns:
                line = line + plane[frame, row, column] * column_weight
            total = total + line * row_weight
        sampled.append(total)
    i1w, i1wx, i1wy = sampled
    rho_c = i1w - i1wx * flow[:, 0] - i1wy * flow[:, 1] - images[first.long(), 0]
    state.warped.copy_(torch.stack([i1wx, i1wy, rho_c], 1))


def smooth(state: State, pairs: Tensor, n: int, size: int, scaled_epsilon: float) -> None:
    """Before iteration n, median-filter u1 and u2 of the pairs that still run; fill `state.smoothed`."""
    pairs = pairs.long()
    pairs = pairs[_running(state, pairs, n, scaled_epsilon)]
    flow = state.flow[(state.side[pairs] + n) % 2, pairs, :2]
    padded = F.pad(flow, [size // 2] * 4, mode="replicate")
    windows = padded.unfold(2, size, 1).unfold(3, size, 1).flatten(-2)
    state.smoothed[pairs] = windows.median(-1).values


def iterate(state: State, pairs: Tensor, n: int, smoothed: bool, weights: Weights) -> None:
    """Run iteration n since the warp for those of the pairs that have not converged before.

    Args:
        state: the state, which is updated.
        pairs: int32 indices into the batch.
        n: number of the iteration, counted from 0 at each warp.
        smoothed: whether u1 and u2 are read from `state.smoothed`.
        weights: the constants of the iteration.
    """
    pairs = pairs.long()
    running = _running(state, pairs, n, weights.scaled_epsilon)
    state.error[n % 2, pairs] = state.error[(n + 1) % 2, pairs]  # a pair that stops keeps the error that stopped it
    pairs = pairs[running]
    side = (state.side[pairs] + n) % 2
    flow, dual = state.flow[side, pairs], state.dual[side, pairs]
    if smoothed:
        flow[:, :2] = state.smoothed[pairs]
    i1wx, i1wy, rho_c = state.warped[pairs].unbind(1)
    u1, u2, *u3 = flow.unbind(1)

    # v: the data term, solved by thresholding
    grad = i1wx * i1wx + i1wy * i1wy
    rho = rho_c + (i1wx * u1 + i1wy * u2)
    if u3:
        rho = rho + weights.gamma * u3[0]
    threshold = weights.l_t * grad
    step = torch.where(grad > FLT_EPSILON, -rho / grad.clamp(min=FLT_EPSILON), 0)
    step = torch.where(rho > threshold, -weights.l_t, step)
    step = torch.where(rho < -threshold, weights.l_t, step)
    derivatives = [i1wx, i1wy, torch.full_like(i1wx, weights.gamma)]

    new_flow, new_dual = torch.empty_like(flow), torch.empty_like(dual)
    for c, u in enumerate(flow.unbind(1)):
        p_x, p_y = dual[:, 2 * c], dual[:, 2 * c + 1]
        new = u + step * derivatives[c] + weights.theta * _divergence(p_x, p_y)
        g_x, g_y = F.pad(new.diff(dim=2), (0, 1)), F.pad(new.diff(dim=1), (0, 0, 0, 1))
        norm = 1 + weights.taut * (g_x * g_x + g_y * g_y).sqrt()
        new_flow[:, c] = new
        new_dual[:, 2 * c] = (p_x + weights.taut * g_x) / norm
        new_dual[:, 2 * c + 1] = (p_y + weights.taut * g_y) / norm
    state.flow[1 - side, pairs] = new_flow
    state.dual[1 - side, pairs] = new_dual
    state.iterations[pairs] = n + 1
    # Summed in double precision, so that the order of the sum, which may depend on the batch, does not matter.
    state.error[n % 2, pairs, 0] = (new_flow - flow).double().square().sum((1, 2, 3)).float()


def _running(state: State, pairs: Tensor, n: int, scaled_epsilon: float) -> Tensor:
    return state.error[(n + 1) % 2, pairs].sum(-1) > scaled_epsilon


def _divergence(p_x: Tensor, p_y: Tensor) -> Tensor:
    return (p_x - F.pad(p_x, (1, -1))) + (p_y - F.pad(p_y, (0, 0, 1, -1)))


def _cubic_taps(position: Tensor, length: int) -> list[tuple[Tensor, Tensor]]:
    """Return index and weight of the four taps around each position on an axis; taps outside it have weight 0."""
    position = position.clamp(-4, length + 3)  # changes nothing: this far outside no tap is inside
    low = position.floor()
    t = position - low
    far = 1 - t
    weights = [
        CUBIC * t * far * far,
        ((CUBIC + 2) * t - (CUBIC + 3)) * t * t + 1,
        ((CUBIC + 2) * far - (CUBIC + 3)) * far * far + 1,
        CUBIC * far * t * t,
    ]
    taps = [low.long() + offset for offset in (-1, 0, 1, 2)]
    return [
        (tap.clamp(0, length - 1), torch.where((tap >= 0) & (tap < length), weight, 0))
        for tap, weight in zip(taps, weights, strict=True)
    ]
