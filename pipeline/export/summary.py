"""An export as text."""

from pipeline.export.run import Exported
from pipeline.table import size, table


def text(done: Exported) -> str:
    """Return what was written, what each input takes, and how far the files agree with their networks."""
    lines = [f"exported to {done.folder}"]
    facts = {file: one for network in done.report["networks"].values() for file, one in network["files"].items()}
    rows: list[tuple[object, ...]] = [
        ("file", "size", "clips checked", "same action", "largest difference", "largest logit")
    ]
    rows += [
        (
            each.file,
            size(facts[each.file]["bytes"]),
            each.clips,
            each.same,
            f"{each.difference:.1e}",
            f"{each.largest:.3g}",
        )
        for each in done.agreements
    ]
    lines.append(table(rows))
    for network in done.report["networks"].values():
        for stream, shape in network["inputs"].items():
            lines.append(f"  input {stream}: uint8 ({', '.join(map(str, shape))})")
        lines.append(f"  axes: {'; '.join(network['axes'])}")
    lines += [f"  not used for the check: {video}: {error}" for video, error in done.failed.items()]
    return "\n".join(lines)
