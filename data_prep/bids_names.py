"""What the name of an image says: its contrast, whether it is a plain one, and its rank."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from bids2table import format_bids_path, get_column_names, parse_bids_entities

NIFTI_EXTENSIONS = (".nii", ".nii.gz")
CONTRASTS = ("T1w", "T2w")

PLAIN_ENTITIES = frozenset({"sub", "ses", "task", "acq", "rec", "run"})
"""What BIDS allows in the name of a whole anatomical image, but for `ce-`, a contrast agent. Of the
others `part-`, `echo-`, `inv-`, `flip-` and `chunk-` mark one of several images, `space-` and
`desc-` a derivative."""


def explain_rejection(name: str, subject: str, session: str | None) -> str:
    """Why a file of an anat folder is no T1w or T2w to use; "" when it is one.

    Args:
        name: of the file.
        subject: folder that it lies in, `sub-01`.
        session: folder below that, `ses-1`, or None.
    """
    entities = parse_bids_entities(name)
    *parts, last = name.removesuffix(".gz").removesuffix(".nii").split("_")
    if last not in CONTRASTS:
        return f"{last} is neither T1w nor T2w"
    if unnamed := [part for part in parts if "-" not in part]:
        return f"not a BIDS name: {unnamed[0]} is no key-value pair"
    place = {"sub": subject.removeprefix("sub-")}
    if session is not None:
        place["ses"] = session.removeprefix("ses-")
    if {key: entities[key] for key in ("sub", "ses") if key in entities} != place:
        return f"the name disagrees with its folder {'/'.join(filter(None, (subject, session)))}"
    if "ce" in entities:
        return f"ce-{entities['ce']}: taken with a contrast agent, which the models do not know"
    if others := sorted(set(entities) - PLAIN_ENTITIES - {"suffix", "ext", "datatype"}):
        key = others[0]
        return f"{key}-{entities[key]} marks a part or a derivative, not a whole raw {last} image"
    return ""


def as_text(name: str) -> str:
    """A file's name as tables hold it: bytes that are no UTF-8 are spelt out."""
    return name.encode("utf-8", "backslashreplace").decode()


def read_contrast(name: str) -> str:
    """The suffix of a BIDS name, `T1w` or another."""
    return str(parse_bids_entities(name)["suffix"])


def rank_candidate(name: str) -> tuple[int, list[str | int]]:
    """Sorts the images of a session: the fewest entities first, then natural order."""
    return len(parse_bids_entities(name)), natural_key(name)


def natural_key(name: str) -> list[str | int]:
    """Numbers by value, so that run-2 comes before run-10; text and numbers alternate."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def shard_stem(path_name: str, *, space: str | None) -> str:
    """The shard's name: the image's entities in the order of BIDS, with `space-` where given.

    `parse_bids_entities` is the inverse.
    """
    return format_stem(path_name, **({} if space is None else {"space": space}))


def format_stem(path_name: str, **changed: str) -> str:
    """A BIDS name without extension: that of an image, with other entities or another suffix.

    Raises:
        ValueError: the image has no BIDS name.
    """
    entities = parse_bids_entities(Path(path_name).name)
    if "sub" not in entities or "suffix" not in entities:
        raise ValueError(f"{path_name}: not a BIDS name; expected sub-*_T1w.nii.gz or the like.")
    entities.pop("ext", None)
    entities |= changed
    order = _entity_order()
    ordered = sorted(entities, key=lambda key: order.get(key, order["desc"]))
    return str(format_bids_path({key: entities[key] for key in ordered}).name)


@cache
def _entity_order() -> dict[str, int]:
    """The rank of each entity in a BIDS name."""
    return {column.name: rank for rank, column in enumerate(get_column_names())}
