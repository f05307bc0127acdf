"""Check one shard of a slice dataset against its rows in slices.parquet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

TISSUES = (0, 1, 2, 3)  # background, CSF, grey matter, white matter
WAY_OUT = "remove this shard with its side files and run the build again"
Rows = npt.NDArray[np.bool_]


def check_shard(dataset_dir: Path, shard: str, rows: pd.DataFrame) -> Iterator[str]:
    """Yield what is wrong with a shard, its mask, its truth and its JSON.

    Args:
        dataset_dir: folder of the dataset.
        shard: path of the shard in that folder, as in slices.parquet.
        rows: the shard's rows of slices.parquet, sorted by row.
    """
    if rows["row"].to_list() != list(range(len(rows))):
        yield f"{shard}: slices.parquet does not list every row from 0 to {len(rows) - 1} once"
        return
    stem = (dataset_dir / shard).with_suffix("")
    truth = stem.with_name(f"{stem.name}_dseg.npy")
    try:
        image = load_array(dataset_dir / shard, dtype="uint16", slices=len(rows))
        mask = load_array(stem.with_name(f"{stem.name}_mask.npy"), "uint8", slices=len(rows))
        dseg = load_array(truth, "uint8", slices=len(rows)) if truth.is_file() else None
        side = json.loads(stem.with_name(f"{stem.name}.json").read_text())
    except (ValueError, OSError) as error:  # JSONDecodeError is a ValueError
        yield f"{shard}: {describe(error, dataset_dir)}; {WAY_OUT}"
        return
    yield from check_images(shard, image, rows)
    yield from check_masks(shard, image, mask, rows)
    if dseg is not None and (dseg.shape != image.shape or not np.isin(dseg, TISSUES).all()):
        yield (
            f"{shard}: the truth beside it is {dseg.shape} of {np.unique(dseg)}, "
            f"expected {image.shape} of {TISSUES}"
        )
    yield from check_side(shard, side, rows)


def load_array(file: Path, dtype: str, slices: int) -> npt.NDArray[Any]:
    """Map an array of (slices, height, width); ValueError where it is another or none."""
    try:
        array: npt.NDArray[Any] = np.load(file, mmap_mode="r")
    except EOFError as error:
        raise ValueError(f"{file.name} is empty, expected {dtype} with {slices} slices") from error
    if array.ndim != 3 or len(array) != slices or array.dtype != dtype:
        raise ValueError(
            f"{file.name} is {array.dtype} {array.shape}, expected {dtype} with {slices} slices"
        )
    return array


def describe(error: Exception, dataset_dir: Path) -> str:
    """Say what happened without the place where the dataset lies."""
    if isinstance(error, FileNotFoundError):
        return f"{Path(str(error.filename)).name} is missing"
    return f"cannot be read ({error})".replace(f"{dataset_dir}/", "")


def format_rows(wrong: Rows) -> str:
    """Name the first few rows of many."""
    numbers = np.flatnonzero(wrong).tolist()
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"row{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers[:5]))}{more}"


def check_images(shard: str, image: npt.NDArray[Any], rows: pd.DataFrame) -> Iterator[str]:
    """Yield slices whose bytes are not those that were written."""
    hashes = [hashlib.sha256(one.tobytes()).hexdigest() for one in image]
    wrong = np.array(hashes) != rows["sha256"].to_numpy()
    if wrong.any():
        yield f"{shard}: {format_rows(wrong)} changed since the build (sha256); {WAY_OUT}"


def check_masks(
    shard: str, image: npt.NDArray[Any], mask: npt.NDArray[Any], rows: pd.DataFrame
) -> Iterator[str]:
    """Yield masks that are not 0 and 1 or do not belong to the images."""
    if image.shape != mask.shape:
        yield f"{shard}: images {image.shape} and masks {mask.shape} differ in shape; {WAY_OUT}"
        return
    if not np.isin(mask, (0, 1)).all():
        yield f"{shard}: the mask holds {np.unique(mask)}, expected 0 and 1; {WAY_OUT}"
        return
    outside = (np.where(mask, 0, image) != 0).any(axis=(1, 2))
    if outside.any():
        yield f"{shard}: {format_rows(outside)} not zero outside the mask; {WAY_OUT}"
    if not np.where(mask, image, 0).any():
        yield f"{shard}: blank, no intensity above 0 inside the mask; {WAY_OUT}"
    fraction = mask.mean(axis=(1, 2), dtype=np.float64)
    wrong = np.abs(fraction - rows["brain_fraction"].to_numpy(np.float64)) > 1e-6  # of a float32
    if wrong.any():
        yield f"{shard}: brain_fraction of {format_rows(wrong)} is not that of the mask"


def check_side(shard: str, side: dict[str, Any], rows: pd.DataFrame) -> Iterator[str]:
    """Yield where the JSON beside a shard disagrees with slices.parquet."""
    for name in ("subject_id", "session", "dataset", "contrast", "space"):
        others = sorted(set(rows[name]) - {side.get(name)})
        if others:
            yield f"{shard}: {name} is {side.get(name)!r} in its JSON, {others} in slices.parquet"
    if side.get("slice_indices") != rows["slice_index"].to_list():
        yield f"{shard}: slice_indices of its JSON are not those of slices.parquet"
    affine = np.asarray(side.get("affine"), dtype=object)
    if affine.shape != (4, 4) or not np.isfinite(affine.astype(float)).all():
        yield f"{shard}: the affine of its JSON is not a finite 4 x 4 matrix: {side.get('affine')}"
