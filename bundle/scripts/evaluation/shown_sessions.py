"""The sessions that a report shows: the best, the median and the worst by one figure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from scripts.evaluation.evaluator import COMPARISONS
from scripts.evaluation.measured import SessionTranslator
from scripts.evaluation.session_volume import SessionVolume
from scripts.evaluation.trivial_rows import DIRECTIONS
from scripts.nifti_output import write_atomically
from scripts.shard_volumes import place_slices

SHOWN_FIGURE = "ssim"


@dataclass(frozen=True)
class ShownSession:
    """One session that is shown, and why.

    Attributes:
        comparison: "t2w" or "t1w".
        rank: "best", "median" or "worst"; "only" where there is one session.
        number: of the session.
        value: of `SHOWN_FIGURE`.
    """

    comparison: str
    rank: str
    number: int
    value: float


def select_shown(sessions: pd.DataFrame) -> list[ShownSession]:
    """Choose sessions of each direction by the model's rows, in the order of the sessions."""
    shown = []
    models = sessions[sessions["kind"] == "model"]
    for comparison in DIRECTIONS:
        values = models.loc[models["comparison"] == comparison, SHOWN_FIGURE].tolist()
        order = sorted(range(len(values)), key=values.__getitem__, reverse=True)
        shown += [
            ShownSession(comparison, rank, order[place], values[order[place]])
            for rank, place in _list_places(len(order))
        ]
    return shown


def _list_places(count: int) -> list[tuple[str, int]]:
    if count == 1:
        return [("only", 0)]
    places = [("best", 0), ("median", count // 2), ("worst", count - 1)]
    return [place for place in places if count > 2 or place[0] != "median"]


def save_shown(
    translator: SessionTranslator, sessions: pd.DataFrame, folder: Path
) -> list[dict[str, Any]]:
    """Write the volumes of the shown sessions, uint8 on the network's grid.

    Args:
        translator: of the same sessions.
        sessions: rows of `measure_sessions`.
        folder: of the evaluation; the volumes go to `volumes` in it.

    Returns:
        What the report needs of each: why it is shown, and its files relative to the folder.
    """
    return [
        _save_one(translator.translate(shown.number, target=shown.comparison), shown, folder)
        for shown in select_shown(sessions)
    ]


def _save_one(volume: SessionVolume, shown: ShownSession, folder: Path) -> dict[str, Any]:
    files = {}
    for name, image in _list_volumes(volume, shown.comparison):
        path = Path("volumes") / f"{shown.comparison}_{shown.rank}_{name}.nii.gz"
        write_atomically(_make_nifti(volume, image), folder / path)
        files[name] = path.as_posix()
    return {
        "comparison": shown.comparison,
        "rank": shown.rank,
        "dataset": volume.dataset,
        "subject_id": volume.subject_id,
        "session": volume.session,
        "figure": SHOWN_FIGURE,
        "value": shown.value,
        "files": files,
    }


def _list_volumes(volume: SessionVolume, comparison: str) -> Iterator[tuple[str, Tensor]]:
    source, target = DIRECTIONS[comparison]
    synthetic = volume.images[COMPARISONS[comparison][0]]
    yield "source", volume.images[source]
    yield "real", volume.images[target]
    yield "synthetic", synthetic
    yield "error", (synthetic - volume.images[target]).abs()
    yield "cycle", volume.images[source.replace("real", "reconstructed")]


def _make_nifti(volume: SessionVolume, image: Tensor) -> nib.Nifti1Image:
    """Put slices (slices, 1, i, j) where they were in the head; absent ones are 0."""
    side = json.loads(volume.shard.with_suffix(".json").read_text(encoding="utf-8"))
    affine = np.asarray(side["affine"], dtype=float)
    slices: NDArray[np.uint8] = (image[:, 0] * 255).round().byte().numpy()
    return place_slices(slices, np.asarray(volume.slice_indices), affine)
