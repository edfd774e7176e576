"""Flow of clips on one device, in batches of pairs that fit a memory budget and span clips of the same size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from types import ModuleType

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.flow.cuda import pyramid, torch_steps
from pipeline.flow.cuda.solver import Parameters, solve
from pipeline.flow.cuda.state import planes_per_pair

MOST_PAIRS = 65535  # CUDA's limit for the second axis of a grid
Segment = tuple[int, int, int]  # index of a clip, its first pair, one past its last pair


@dataclass(frozen=True, kw_only=True)
class TVL1(Parameters):
    """TV-L1 on one device; create it once per process and call it for many clips.

    Attributes:
        device: `cuda`, `cuda:1`, `cpu`, or `auto`: the GPU if there is one, else the CPU.
        memory_gib: device memory in GiB that a batch may take with Triton's kernels (plain operations need some more
            for intermediate results). A GPU needs hundreds of pairs per batch to be busy.
        steps: `triton`, `torch` (plain operations, any device), or `auto`: Triton's kernels on a GPU.
    """

    device: str = "auto"
    memory_gib: float = 8.0
    steps: str = "auto"

    def __post_init__(self) -> None:
        """Refuse invalid values with an error that names the parameter.

        Raises:
            ValueError: a parameter is out of its range, or the machine has no such device.
        """
        super().__post_init__()
        if self.steps not in ("auto", "triton", "torch"):
            raise ValueError(f"steps: {self.steps!r}; expected auto, triton or torch")
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(f"device: {self.device!r}; torch {torch.__version__} sees no GPU on this machine")

    def __call__(
        self,
        clips: Sequence[NDArray[np.uint8]],
        initial_flows: Sequence[NDArray[np.float32]] | None = None,
    ) -> list[NDArray[np.float32]]:
        """Compute the flow of each clip.

        Args:
            clips: each (T, H, W) grey or (T, H, W, 3) RGB, uint8, T >= 2; lengths and sizes may differ.
            initial_flows: for each clip, the flow from which the search starts, (T - 1, H, W, 2) float32 in pixels;
                None starts from zero.

        Returns:
            For each clip, flow (T - 1, H, W, 2), float32, x before y, in pixels. On a GPU the results are in
            page-locked memory that the clips of a batch share: copy results that you keep for long.

        Raises:
            ValueError: a clip has another form, an initial flow has another shape, or a pair exceeds the memory budget.
        """
        for index, clip in enumerate(clips):
            colours = clip.shape[3:]
            if clip.dtype != np.uint8 or clip.ndim < 3 or colours not in ((), (3,)) or len(clip) < 2 or not clip.size:
                expected = "expected uint8 (T, H, W) or (T, H, W, 3), T >= 2"
                raise ValueError(f"clip {index}: {clip.dtype} of shape {clip.shape}; {expected}")
        shapes = [(len(clip) - 1, *clip.shape[1:3], 2) for clip in clips]
        if initial_flows is not None:
            for given, shape in zip(initial_flows, shapes, strict=True):
                if given.shape != shape:
                    raise ValueError(f"initial_flow: shape {given.shape}; expected {shape}")
        pieces: list[list[NDArray[np.float32]]] = [[] for _ in clips]
        for size in dict.fromkeys(shape[1:3] for shape in shapes):
            members = [index for index, shape in enumerate(shapes) if shape[1:3] == size]
            for batch in segments([shapes[index][0] for index in members], self.pairs_per_batch(*size)):
                spans = [(members[i], start, stop) for i, start, stop in batch]
                flow = self._solve(spans, clips, initial_flows)
                ends = np.cumsum([stop - start for _, start, stop in spans])
                for (index, _, _), piece in zip(spans, np.split(flow, ends[:-1]), strict=True):
                    pieces[index].append(piece)
        return [parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in pieces]

    def pairs_per_batch(self, height: int, width: int) -> int:
        """Return how many pairs of frames of this size fit the memory budget.

        Raises:
            ValueError: not even one pair fits.
        """
        needed = self.bytes_per_pair(height, width)
        pairs = int(self.memory_gib * 2**30) // needed
        if pairs < 1:
            raise ValueError(
                f"memory_gib: {self.memory_gib}; one pair of {width} x {height} pixels needs {needed / 2**30:.3g}"
            )
        return min(pairs, MOST_PAIRS)

    def bytes_per_pair(self, height: int, width: int) -> int:
        """Return the device memory in bytes for a pair: its unknowns, and two frames with their pyramids and gradients.

        Within a clip each frame serves two pairs; this is the worst case, clips of one pair.
        """
        scales = pyramid.sizes(height, width, self.nscales, self.scaleStep)
        pyramids = sum(h * w for h, w in scales)
        frame = pyramids + 5 * height * width  # two gradients, and the stack of frame and gradients
        flow = (2 + self.unknowns) * height * width  # flow of the coarser scale, and the result
        return 4 * (planes_per_pair(self.unknowns) * height * width + flow + 2 * frame)

    def _solve(
        self,
        batch: list[Segment],
        clips: Sequence[NDArray[np.uint8]],
        initial_flows: Sequence[NDArray[np.float32]] | None,
    ) -> NDArray[np.float32]:
        """Compute the flow (B, H, W, 2) of one batch, in host memory that is page-locked if the device is a GPU."""
        device = _device(self.device)
        frames: list[NDArray[np.uint8]] = []
        first: list[int] = []
        for clip, start, stop in batch:
            first += range(len(frames), len(frames) + stop - start)
            frames += [_grey(frame) for frame in clips[clip][start : stop + 1]]
        initial = None
        if initial_flows is not None:
            given = np.concatenate([initial_flows[clip][start:stop] for clip, start, stop in batch])
            initial = torch.from_numpy(given.astype(np.float32)).to(device).permute(0, 3, 1, 2)
        with torch.cuda.device(device if device.type == "cuda" else -1):  # for Triton's launches; -1 changes nothing
            solved = solve(
                torch.from_numpy(np.stack(frames)).to(device).float(),
                torch.tensor(first, dtype=torch.int32, device=device),
                self,
                _steps(self.steps, device),
                initial,
            )
            flow = solved.permute(0, 2, 3, 1).contiguous().to("cpu", non_blocking=True)
            if device.type == "cuda":
                torch.cuda.synchronize()
        return flow.numpy()


def tvl1(
    frames: NDArray[np.uint8],
    tau: float = Parameters.tau,
    lambda_: float = Parameters.lambda_,
    theta: float = Parameters.theta,
    nscales: int = Parameters.nscales,
    warps: int = Parameters.warps,
    epsilon: float = Parameters.epsilon,
    innerIterations: int = Parameters.innerIterations,  # noqa: N803 - OpenCV's names
    outerIterations: int = Parameters.outerIterations,  # noqa: N803
    scaleStep: float = Parameters.scaleStep,  # noqa: N803
    gamma: float = Parameters.gamma,
    medianFiltering: int = Parameters.medianFiltering,  # noqa: N803
    initial_flow: NDArray[np.float32] | None = None,
    device: str = TVL1.device,
    memory_gib: float = TVL1.memory_gib,
    steps: str = TVL1.steps,
) -> NDArray[np.float32]:
    """Compute the flow of one clip; see `pipeline.flow.tvl1`, and `TVL1` for the last three arguments."""
    named = {name: value for name, value in locals().items() if name not in ("frames", "initial_flow")}
    return TVL1(**named)([frames], None if initial_flow is None else [initial_flow])[0]


def tvl1_clips(clips: Sequence[NDArray[np.uint8]], **parameters: float | str) -> list[NDArray[np.float32]]:
    """Compute the flow of many clips; clips with the same frame size share batches. See `TVL1`.

    Raises:
        TypeError: a parameter is unknown.
    """
    known = {field.name for field in fields(TVL1)}
    if unknown := parameters.keys() - known:
        raise TypeError(f"TV-L1 parameter {min(unknown)!r}: unknown; one of {', '.join(sorted(known))}")
    return TVL1(**parameters)(clips)  # type: ignore[arg-type]


def version() -> str:
    """Return the version of the library that computes the flow, for the record."""
    return f"cuda {torch.__version__}"


def segments(lengths: Sequence[int], limit: int) -> Iterator[list[Segment]]:
    """Divide clips, given their numbers of pairs, into batches of nearly equal size, at most `limit` pairs each."""
    batches = -(-sum(lengths) // limit)
    room = full = -(-sum(lengths) // max(batches, 1))
    batch: list[Segment] = []
    for clip, pairs in enumerate(lengths):
        start = 0
        while start < pairs:
            stop = min(pairs, start + room)
            batch.append((clip, start, stop))
            room, start = room - (stop - start), stop
            if room == 0:
                yield batch
                batch, room = [], full
    if batch:
        yield batch


def _grey(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def _device(name: str) -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else torch.device(name)


def _steps(name: str, device: torch.device) -> ModuleType:
    if name == "torch" or (name == "auto" and device.type != "cuda"):
        return torch_steps
    from pipeline.flow.cuda import triton_steps

    return triton_steps
