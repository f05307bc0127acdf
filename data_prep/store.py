"""Files of a slice dataset: each appears whole or not at all, and holds no time and no path."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from data_prep.slices import SliceStack, describe_slices

FORMAT_VERSION = 1
UNFINISHED = ".unfinished-"  # prefix of files that a killed run leaves behind
SHARDS, SESSIONS, SOURCES = Path("shards"), Path("sessions"), Path("sources")
SHARD_ENDS = (".npy", "_mask.npy", "_dseg.npy", ".json")  # of the files that a shard may have
RAW, DOWNLOADS = Path("raw"), Path("downloads")  # scans fetched from a server, and their checksums
VOLUMES = Path("volumes")  # the same images at their own resolution, where they were asked for


def write_bytes(path: Path, content: bytes) -> None:
    """Write under a temporary name in the same folder, flush to disk, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON with sorted keys: the same content makes the same bytes."""
    write_bytes(path, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def write_tsv(path: Path, table: pd.DataFrame) -> None:
    """Write a tab-separated table; booleans as true and false."""
    text = table.copy()
    for column in text.select_dtypes("bool").columns:
        text[column] = text[column].map({True: "true", False: "false"})
    write_bytes(path, text.to_csv(sep="\t", index=False, lineterminator="\n").encode())


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a Parquet table whose bytes depend on its content only."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, compression="zstd")
    write_bytes(path, buffer.getvalue())


def write_array(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Write a ``.npy`` file without pickles."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def encode_nifti(image: nib.Nifti1Image) -> bytes:
    """A compressed NIfTI file whose bytes hold no time."""
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def compute_sha256(path: Path) -> str:
    """Checksum of a file's content, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_shard(output_dir: Path, stem: Path, stack: SliceStack, facts: dict[str, Any]) -> None:
    """Write one shard: images, masks, truth, and last the JSON that vouches for them.

    Args:
        output_dir: of the slice dataset.
        stem: ``<dataset>/<full BIDS stem>``.
        stack: the slices.
        facts: what the JSON says beside the slices' own figures.
    """
    base = output_dir / SHARDS / stem
    write_array(base.with_name(f"{base.name}.npy"), stack.images)
    write_array(base.with_name(f"{base.name}_mask.npy"), stack.masks)
    truth = base.with_name(f"{base.name}_dseg.npy")
    truth.unlink(missing_ok=True)  # of an earlier run that had one
    if stack.dseg is not None:
        write_array(truth, stack.dseg)
    description = {
        **facts,
        "affine": np.round(stack.affine, 6).tolist(),
        "slice_indices": stack.slice_indices.tolist(),
        "slices": describe_slices(stack),
    }
    write_json(base.with_name(f"{base.name}.json"), description)


def read_json(path: Path) -> Any:
    """Read JSON; ValueError that names the file when it is damaged."""
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name}: damaged ({error}). Delete it and run again.") from error
