"""Plain-text tables, CSV, and readable sizes; cells from outside are escaped."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from pipeline.escaping import for_csv, one_line


def table(rows: Sequence[Sequence[object]]) -> str:
    """Format rows as a table with aligned columns; the first row is the heading, and numbers are right-aligned."""
    texts = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    right = [all(not isinstance(row[column], str) for row in rows[1:]) for column in range(len(widths))]
    lines = [
        "  ".join(
            cell.rjust(width) if r else cell.ljust(width) for cell, width, r in zip(row, widths, right, strict=True)
        )
        for row in texts
    ]
    return "\n".join(
        "  " + line.rstrip() for line in [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]
    )


def shown(figures: Iterable[Any], note: str) -> list[dict[str, Any]]:
    """Print dataclass instances as a table, followed by a note on its columns, and return them as dicts."""
    rows = [asdict(line) for line in figures]
    cells = [[f"{cell:.4g}" if isinstance(cell, float) else cell or "" for cell in row.values()] for row in rows]
    print(f"{table([[name.replace('_', ' ') for name in rows[0]], *cells])}\n  {note}\n", flush=True)
    return rows


def size(count: float) -> str:
    """Format a number of bytes, such as `12.3 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Format rows as CSV, for people who open it in a spreadsheet: no cell is a formula (`escaping.for_csv`)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([for_csv(cell) for cell in row] for row in rows)
    return text.getvalue()
