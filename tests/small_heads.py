"""Small brain-extracted heads in BIDS folders, quick enough to run every stage on them."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter

BUNDLE = Path(__file__).resolve().parents[1] / "bundle"
SHAPE = (52, 62, 44)
SPACING_MM = 3.0


def make_head(seed: int, contrast: str) -> nib.Nifti1Image:
    """An ellipsoid of about 1300 cm3 with folded tissue, dark or bright by contrast."""
    generator = np.random.default_rng(seed)
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    offset = (index - (np.array(SHAPE) - 1) / 2) * SPACING_MM
    radius = np.sqrt(((offset / (63.0, 78.0, 62.0)) ** 2).sum(axis=-1))
    folds = gaussian_filter(generator.normal(size=SHAPE), 2)
    tissue = np.select([folds > 0.03, folds > -0.02], [3, 2], 1) * (radius < 1)
    values = {"T1w": (0, 80, 300, 400), "T2w": (0, 900, 420, 250)}[contrast]
    voxels = np.take(values, tissue) + generator.normal(0, 6, SHAPE) * (tissue > 0)
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = -(np.array(SHAPE) - 1) / 2 * SPACING_MM
    image = nib.Nifti1Image(np.maximum(voxels, 0).astype(np.float32), affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    return image


def save_head(root: Path, subject: str, contrast: str, seed: int, session: str = "") -> Path:
    """Write one image where BIDS wants it."""
    folder = root / subject / session / "anat"
    folder.mkdir(parents=True, exist_ok=True)
    name = "_".join(filter(None, (subject, session, contrast)))
    path = folder / f"{name}.nii.gz"
    nib.save(make_head(seed, contrast), path)
    return path


@cache
def make_quick_bundle() -> Path:
    """The bundle without N4, which takes more than half of the time of a small head."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    shutil.copytree(BUNDLE / "configs", folder / "configs")
    (folder / "scripts").symlink_to(BUNDLE / "scripts")
    config = folder / "configs" / "inference.json"
    text = config.read_text()
    assert text.count('"bias_correction": true') == 1
    config.write_text(text.replace('"bias_correction": true', '"bias_correction": false'))
    return folder


def save_dataset(root: Path, *, pairs: int = 0, t1w_only: int = 0, t2w_only: int = 0) -> Path:
    """Write a BIDS dataset of subjects with both contrasts, T1w only and T2w only."""
    root.mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "Small heads", "License": "CC0"}')
    for number in range(pairs + t1w_only + t2w_only):
        subject = f"sub-{number + 1:02d}"
        if number < pairs + t1w_only:
            save_head(root, subject, "T1w", seed=number)
        if number < pairs or number >= pairs + t1w_only:
            save_head(root, subject, "T2w", seed=number)
    return root
