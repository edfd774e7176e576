"""Pictures of what happens when in videos."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pipeline.escaping import MESSAGE, for_figure
from pipeline.figures.charts import INK, RULE

COLOURS = (
    "#c2410c", "#1d4ed8", "#15803d", "#7c3aed", "#b45309", "#0e7490", "#be185d", "#4d7c0f", "#475569", "#92400e",
)  # fmt: skip
OTHERS = "#cbd5e1"


class Bar(NamedTuple):
    """A segment of a timeline."""

    start_s: float
    end_s: float
    action: str
    confidence: float


def timelines(videos: Sequence[tuple[str, Sequence[Bar]]], title: str) -> Figure:
    """Plot a row for each video: its segments over time, in the colour of their action and as high as its confidence.

    Args:
        videos: name and segments of each video.
        title: title of the figure.
    """
    lengths: dict[str, float] = {}
    for _, bars in videos:
        for bar in bars:
            lengths[bar.action] = lengths.get(bar.action, 0.0) + bar.end_s - bar.start_s
    often = sorted(lengths, key=lambda action: (-lengths[action], action))
    colours = dict(zip(often, COLOURS, strict=False))
    figure = Figure(figsize=(10, 1.4 + 1.0 * len(videos)))
    rows = figure.subplots(len(videos), 1, squeeze=False)[:, 0]
    for axes, (name, bars) in zip(rows, videos, strict=True):
        for bar in bars:
            colour = colours.get(bar.action, OTHERS)
            axes.bar(bar.start_s, bar.confidence, bar.end_s - bar.start_s, align="edge", color=colour, linewidth=0)
        axes.set_ylim(0, 1)
        axes.set_xlim(min((bar.start_s for bar in bars), default=0), max((bar.end_s for bar in bars), default=1))
        axes.set_yticks([0, 1], ["0", "1"], fontsize=7)
        axes.tick_params(axis="x", labelsize=7)
        axes.set_title(for_figure(name, 80), fontsize=8, color=INK, loc="left")
        axes.grid(axis="y", color=RULE, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    rows[-1].set_xlabel("seconds; height: confidence", fontsize=8)
    patches = [Patch(color=colours[action], label=for_figure(action)) for action in often[: len(COLOURS)]]
    if len(often) > len(COLOURS):
        patches.append(Patch(color=OTHERS, label=f"{len(often) - len(COLOURS)} others"))
    if patches:
        figure.legend(handles=patches, loc="lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(for_figure(title, MESSAGE), color=INK, fontsize=10)
    lines = -(-len(patches) // 4)
    figure.tight_layout(rect=(0, 0.16 * (1 + lines) / figure.get_figheight(), 1, 1))
    return figure
