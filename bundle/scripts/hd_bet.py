"""HD-BET (Isensee 2019, doi:10.1002/hbm.24750), used where it is installed with its weights.

The weights are a pickle that others publish under a licence that could not be verified: they are
never downloaded here, and opened only when the folder's checkpoint has the sha256 that the user
has pinned in ``HDBET_SHA256``.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from scripts.checksums import compute_sha256

# Where HD-BET 2 itself looks; HDBET_WEIGHTS names another folder.
DEFAULT_FOLDER = Path("~/hd-bet_params/release_2.0.0")
CHECKPOINT = Path("fold_all/checkpoint_final.pth")


def find_weights() -> Path:
    """Folder in which the weights are looked for."""
    return Path(os.environ.get("HDBET_WEIGHTS", DEFAULT_FOLDER)).expanduser()


def is_available() -> bool:
    """Whether HD-BET is installed, has weights, and their checksum is pinned."""
    return (
        find_spec("HD_BET") is not None
        and (find_weights() / CHECKPOINT).is_file()
        and bool(os.environ.get("HDBET_SHA256"))
    )


def verify_weights(folder: Path) -> None:
    """Compare the checkpoint's sha256 with the pinned one, before anything opens it.

    Raises:
        FileNotFoundError: no weights there.
        ValueError: no checksum is pinned, or it differs.
    """
    checkpoint = folder / CHECKPOINT
    if not checkpoint.is_file():
        raise FileNotFoundError(
            f"HD-BET: no weights at {checkpoint}. Put the folder release_2.0.0 there, name another "
            "in HDBET_WEIGHTS, or use brain_extraction deepbet."
        )
    expected = os.environ.get("HDBET_SHA256", "").lower()
    found = compute_sha256(checkpoint)
    if found != expected:
        raise ValueError(
            f"HD-BET: {CHECKPOINT.name} has sha256 {found}. Expected {expected or 'a pinned one'}: "
            "set HDBET_SHA256 to the checksum of weights that you trust; they are a pickle, which "
            "can run any code."
        )


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Restore what importing and building the predictor change: standard output and threads."""
    stdout, threads = sys.stdout, torch.get_num_threads()
    try:
        yield
    finally:
        sys.stdout = stdout
        torch.set_num_threads(threads)


@lru_cache(maxsize=1)
def load_predictor() -> Any:
    """HD-BET's predictor, built once a process (10 s)."""
    if find_spec("HD_BET") is None:
        raise ValueError(
            "HD-BET is not installed. Install the extra hdbet as the README says, or use "
            "brain_extraction deepbet."
        )
    verify_weights(find_weights())
    with _undisturbed():
        from HD_BET import hd_bet_prediction

        hd_bet_prediction.folder_with_parameter_files = str(find_weights())
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return hd_bet_prediction.get_hdbet_predictor(use_tta=False, device=device)


def extract_brain(image: nib.Nifti1Image) -> NDArray[np.bool_]:
    """Mask by HD-BET of a volume (x, y, z) in RAS+; about 2 minutes on a CPU (read)."""
    predictor = load_predictor()
    # SimpleITK's order: (channel, z, y, x), spacing along the same axes.
    voxels = np.transpose(np.asarray(image.dataobj, dtype=np.float32))[np.newaxis]
    spacing = [float(value) for value in image.header.get_zooms()[:3]][::-1]
    with _undisturbed():
        labels = predictor.predict_single_npy_array(voxels, {"spacing": spacing}, None, None, False)
    return np.transpose(np.asarray(labels)) > 0
