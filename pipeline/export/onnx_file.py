"""Exported programs as ONNX files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram


def write_onnx(
    program: ExportedProgram, path: str | Path, names: Mapping[str, Mapping[int, str]], about: Mapping[str, str]
) -> None:
    """Write a program as one ONNX file, with its weights in it.

    Args:
        program: a program of `pipeline.export.program`.
        path: the file.
        names: names of the open axes of each input, from `pipeline.export.dimensions.axis_names`.
        about: texts that become metadata of the file, by their names.
    """
    made: Any = torch.onnx.export(
        program, (), dynamo=True, output_names=["logits"], dynamic_shapes=_each_once(names), verbose=False
    )
    made.model.metadata_props.update(about)
    made.save(path, external_data=False)


def _each_once(names: Mapping[str, Mapping[int, str]]) -> dict[str, dict[int, str]]:
    """Return the names without those that an earlier input has; the exporter knows that these axes are the same."""
    seen = set[str]()
    once: dict[str, dict[int, str]] = {}
    for stream, axes in names.items():
        once[stream] = {place: name for place, name in axes.items() if name not in seen}
        seen |= set(axes.values())
    return once
