"""What every figure demands of the images it is given."""

from __future__ import annotations

import torch
from torch import Tensor

RANGE_TOLERANCE = 1e-3  # of the data range; covers half precision and interpolation, not [-1, 1]


def check_shapes(**images: Tensor) -> None:
    """Refuse images that are not all of one shape (slices, 1, height, width)."""
    shapes = {name: tuple(image.shape) for name, image in images.items()}
    first = next(iter(shapes.values()))
    if len(set(shapes.values())) > 1 or len(first) != 4 or first[1] != 1:
        found = ", ".join(f"{shape} of the {name}" for name, shape in shapes.items())
        raise ValueError(f"Found shapes {found}; expected (slices, 1, height, width) of all.")


def check_ranges(*, data_range: float, **images: Tensor) -> None:
    """Refuse images with values outside [0, data_range] or that are no numbers."""
    tolerance = RANGE_TOLERANCE * data_range
    for name, image in images.items():
        low, high = (float(value) for value in torch.aminmax(image))
        if not (low >= -tolerance and high <= data_range + tolerance):  # also true of NaN
            raise ValueError(
                f"The {name} lies in [{low:g}, {high:g}]; expected [0, {data_range:g}]. Network "
                "images in [-1, 1] are mapped by (image + 1) / 2 first."
            )


def check_mask(mask: Tensor) -> None:
    """Refuse a mask without voxels."""
    if not mask.any():
        raise ValueError(f"The brain mask {tuple(mask.shape)} is empty; expected some voxels.")
