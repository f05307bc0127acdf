"""Which weights the metadata and the model card speak of, and what is left of both for others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.checksums import compute_sha256

WEIGHTS = "weights"  # in metadata.json: what the shipped models learned from, and their checksums
HEADING = "# Model overview\n"
MARKS = ("<!-- other weights -->", "<!-- end of other weights -->")


def are_described(metadata: Mapping[str, Any], models: Sequence[Path]) -> bool:
    """Whether metadata are of these very files."""
    known = metadata.get(WEIGHTS, {}).get("sha256", {}).values()
    return all(compute_sha256(path) in known for path in models)


def leave_out_weights(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata without what was said and measured of the shipped weights."""
    kept = {name: value for name, value in metadata.items() if name != WEIGHTS}
    return kept | {"eval_metrics": {}}


def mark_card(card: str, models: Sequence[Path]) -> str:
    """Say at the top of a model card that its figures are of other weights than these.

    Args:
        card: text of docs/README.md.
        models: files of the weights.

    Raises:
        ValueError: the card does not begin as expected.
    """
    if not card.startswith(HEADING):
        raise ValueError(f"docs/README.md: expected {HEADING.strip()!r} as its first line.")
    text = re.sub(f"\n{MARKS[0]}.*?{MARKS[1]}\n", "", card[len(HEADING) :], flags=re.DOTALL)
    lines = [f"| `models/{path.name}` | {compute_sha256(path)} |" for path in models]
    notice = (
        "**The weights here are not those that this card was written about.** What it says of the "
        "models in the box, their figures, pictures and checksums, is of the bundle that this one "
        "was made from. Say here what yours were trained on and what they were measured by.\n\n"
        "| file | sha256 |\n|---|---|\n" + "\n".join(lines)
    )
    return f"{HEADING}\n{MARKS[0]}\n{notice}\n{MARKS[1]}\n{text}"
