"""A head of nested ellipsoids with FreeSurfer's ids, as a label map."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

SPACING_MM = 1.5
SHAPE = (120, 136, 120)


def draw_labels(*, scale: float = 1.0) -> NDArray[np.int16]:
    """Skin, bone, fluid, cortex, white matter, two ventricles, a pallidum and a lesion."""
    axes = np.ogrid[tuple(slice(size) for size in SHAPE)]
    points = [(axis - (size - 1) / 2) * SPACING_MM for axis, size in zip(axes, SHAPE, strict=True)]

    def inside(
        radii: tuple[float, ...], centre: tuple[float, ...] = (0, 0, 0)
    ) -> NDArray[np.bool_]:
        parts = zip(points, centre, radii, strict=True)
        return sum(((p - c) / (scale * r)) ** 2 for p, c, r in parts) < 1

    labels = np.zeros(SHAPE, np.int16)
    for label, shape in (
        (511, inside((82, 95, 82))),
        (515, inside((76, 89, 76))),
        (24, inside((70, 83, 70))),
        (3, inside((66, 79, 66))),
        (2, inside((60, 73, 60))),
        (4, inside((7, 24, 9), (-12, 0, 5))),
        (43, inside((7, 24, 9), (12, 0, 5))),
        (13, inside((6, 8, 6), (24, 0, -8))),
        (77, inside((5, 5, 5), (-30, 20, 25))),
    ):
        labels[shape] = label
    return labels


def write_label_map(path: Path, labels: NDArray[np.generic] | None = None) -> Path:
    """Write a map as FreeSurfer orients it (LIA)."""
    labels = draw_labels() if labels is None else labels
    affine = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    image = nib.Nifti1Image(labels, affine)
    ornt = nib.orientations.axcodes2ornt("LIA")
    start = nib.orientations.io_orientation(affine)
    turned = image.as_reoriented(nib.orientations.ornt_transform(start, ornt))
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(turned, path)
    return path
