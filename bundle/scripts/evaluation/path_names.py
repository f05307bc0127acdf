"""Short labels of models and evaluations, from the paths that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path


def name_paths(paths: Sequence[Path]) -> list[str]:
    """Name paths by their last parts; if these are not unique, by what tells them apart.

    That is the shortest end of each path that no other has, without the end that all share.
    """
    paths = [path.resolve() for path in paths]
    for path in paths:
        if paths.count(path) > 1:
            raise ValueError(f"{path}: named twice; expected different ones.")
    names = [path.name for path in paths]
    if len(set(names)) == len(names):
        return names
    shared = _count_shared([path.parts[::-1] for path in paths])
    parts = [path.parts[: len(path.parts) - shared] for path in paths]
    return [_find_unique_end(own, parts) for own in parts]


def _count_shared(paths: Sequence[tuple[str, ...]]) -> int:
    """Number of first parts that all paths have."""
    shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))
    return len(list(shared))


def _find_unique_end(own: tuple[str, ...], everyone: Sequence[tuple[str, ...]]) -> str:
    length = 1
    while sum(each[-length:] == own[-length:] for each in everyone) > 1:
        length += 1
    return "/".join(own[-length:])
