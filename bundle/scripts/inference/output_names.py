"""Names of what inference writes, as BIDS names derivatives."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from scripts.directions import SOURCE_OF_DIRECTION, TARGET_OF_DIRECTION, check_direction

# Entities that BIDS puts behind space (its entity table).
AFTER_SPACE = ("split", "recording", "chunk", "atlas", "seg", "scale", "res", "den", "label")
DESCRIPTIONS = ("synthetic", "uncertainty", "brain")
OUR_OUTPUTS = r"_desc-(synthetic_|uncertainty_|brain(T[12]w)?_mask)"
ENDINGS = (".nii.gz", ".nii", ".npy")


def remove_ending(name: str) -> str:
    """Return a file's name without the ending of an image."""
    for ending in ENDINGS:
        if name.endswith(ending):
            return name.removesuffix(ending)
    return name


def format_output_stem(source: str, direction: str, *, description: str) -> PurePosixPath:
    """Path of one output without its ending, below the output folder.

    ``sub-01/anat/sub-01_T1w.nii.gz`` becomes ``sub-01/anat/sub-01_space-T1w_desc-synthetic_T2w``.
    A space that the input's name states already is kept, a description is replaced.

    Args:
        source: path of the input below the input folder.
        direction: of the translation.
        description: "synthetic" or "uncertainty" of the target contrast, or "brain" for the mask.
    """
    if description not in DESCRIPTIONS:
        raise ValueError(f"description {description!r}; expected one of {DESCRIPTIONS}.")
    contrast = SOURCE_OF_DIRECTION[check_direction(direction)]
    path = PurePosixPath(source)
    stem = remove_ending(path.name).removesuffix(f"_{contrast}")
    parts = [part for part in stem.split("_") if not part.startswith("desc-")]
    if not any(part.startswith("space-") for part in parts):
        parts.insert(_find_place_of_space(parts), f"space-{contrast}")
    if description != "brain":
        return path.parent / "_".join(
            [*parts, f"desc-{description}", TARGET_OF_DIRECTION[direction]]
        )
    # Of T1w and T2w in one stated space the masks may differ.
    name = "brain" if f"space-{contrast}" in parts else f"brain{contrast}"
    return path.parent / "_".join([*parts, f"desc-{name}", "mask"])


def _find_place_of_space(parts: list[str]) -> int:
    for place, part in enumerate(parts):
        if "-" in part and part.partition("-")[0] in AFTER_SPACE:
            return place
    return len(parts)


def is_our_output(name: str) -> bool:
    """Whether a file is named as inference names its own."""
    return re.search(OUR_OUTPUTS, name) is not None
