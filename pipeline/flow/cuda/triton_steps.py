"""The three steps of the solver as Triton kernels, with one launch per step for any number of pairs.

They compute the same as `torch_steps`. A program processes one tile of one pair. The pairs are given as a list, so
converged pairs cost nothing. Every plane is H x W floats, row by row. An iteration is one kernel that reads 9 floats
and writes 6 per pixel (60 bytes). A pixel's dual variables need the new flow to its right and below. The kernel
computes it again instead of exchanging it between programs; this costs only arithmetic, which is not the bottleneck.
"""

import triton
from torch import Tensor

from pipeline.flow.cuda.state import State, Weights
from pipeline.flow.cuda.triton_kernels import iterate_kernel, smooth_kernel, warp_kernel

TILE_H = 8
TILE_W = 64
FUSED = {"enable_fp_fusion": True}  # multiply-adds round once; Triton's default differs between versions


def tiles(height: int, width: int) -> int:
    """Return the number of tiles of a frame; errors are summed per tile, in a fixed order and without atomics."""
    return triton.cdiv(height, TILE_H) * triton.cdiv(width, TILE_W)


def warp(state: State, images: Tensor, first: Tensor) -> None:
    """Do the same as `torch_steps.warp`."""
    pairs, unknowns, height, width = state.flow.shape[1:]
    grid = (tiles(height, width), pairs)
    warp_kernel[grid](
        state.flow, state.side, state.warped, images, first, pairs, unknowns, height, width, TILE_H, TILE_W, **FUSED
    )


def smooth(state: State, pairs: Tensor, n: int, size: int, scaled_epsilon: float) -> None:
    """Do the same as `torch_steps.smooth`."""
    batch, unknowns, height, width = state.flow.shape[1:]
    parts = state.error.shape[-1]
    grid = (parts, len(pairs), 2)
    smooth_kernel[grid](
        state.flow,
        state.side,
        state.smoothed,
        state.error,
        pairs,
        n,
        scaled_epsilon,
        batch,
        unknowns,
        height,
        width,
        parts,
        triton.next_power_of_2(parts),
        size,
        TILE_H,
        TILE_W,
        **FUSED,
    )


def iterate(state: State, pairs: Tensor, n: int, smoothed: bool, weights: Weights) -> None:
    """Do the same as `torch_steps.iterate`."""
    batch, unknowns, height, width = state.flow.shape[1:]
    parts = state.error.shape[-1]
    grid = (parts, len(pairs))
    iterate_kernel[grid](
        state.flow,
        state.dual,
        state.smoothed,
        state.warped,
        state.error,
        state.side,
        state.iterations,
        pairs,
        n,
        weights.scaled_epsilon,
        weights.l_t,
        weights.taut,
        weights.theta,
        weights.gamma,
        batch,
        height,
        width,
        parts,
        triton.next_power_of_2(parts),
        unknowns,
        smoothed,
        TILE_H,
        TILE_W,
        **FUSED,
    )
