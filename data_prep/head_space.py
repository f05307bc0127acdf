"""Where a simulated head lies: grids of scanners, poses, and smooth deformations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]

MAX_SHIFT_MM, MAX_TURN_DEG = 5.0, 5.0  # between the poses of T1w and T2w, and of T1w in the scanner

# Displacement: standard deviation and smoothness (of the Gaussian kernel) in mm. The gradient's
# deviation is sd / (sqrt(2) smoothness), together 0.11: folding would need -1, nine deviations.
WARPS = ((3.0, 24.0), (1.0, 10.0))

LATTICE_STEP_MM = 4.0
LATTICE_CORNER_MM, LATTICE_SHAPE = np.array([-120.0, -150.0, -130.0]), (61, 67, 63)


@dataclass(frozen=True)
class Grid:
    """Voxels of an image: shape, and affine to scanner RAS mm."""

    shape: tuple[int, int, int]
    affine: Array


def make_grid(
    corner_mm: Sequence[float], size_mm: Sequence[float], spacing: Array, *, flip_x: bool
) -> Grid:
    """A grid along the scanner's axes, RAS, or LAS with `flip_x`."""
    x, y, z = (int(size) for size in np.ceil(np.array(size_mm) / spacing))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = np.array(corner_mm) + spacing / 2
    if flip_x:
        affine[0] = [-affine[0, 0], 0, 0, affine[0, 3] + (x - 1) * affine[0, 0]]
    return Grid((x, y, z), affine)


def locate_voxels(grid: Grid, matrix: Array) -> Array:
    """Points (3, x, y, z) of a grid's voxel centres after a matrix on scanner mm."""
    full = matrix @ grid.affine
    i, j, k = np.ogrid[tuple(slice(size) for size in grid.shape)]
    return np.stack([row[0] * i + row[1] * j + row[2] * k + row[3] for row in full[:3]])


def draw_pose(rng: np.random.Generator) -> Array:
    """A rigid matrix: any direction and axis, up to the greatest shift and turn."""
    direction, axis = rng.standard_normal((2, 3))
    shift_mm, turn_deg = rng.uniform(0, (MAX_SHIFT_MM, MAX_TURN_DEG))
    pose = np.eye(4)
    turn = np.deg2rad(turn_deg) * axis / np.linalg.norm(axis)
    pose[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    pose[:3, 3] = shift_mm * direction / np.linalg.norm(direction)
    return pose


def draw_displacement(rng: np.random.Generator) -> Array:
    """A smooth displacement (3, x, y, z) in mm on the lattice, by ``WARPS``."""
    return np.stack(
        [
            sum(draw_smooth_lattice(rng, sd=sd, smoothness_mm=width) for sd, width in WARPS)
            for _ in range(3)
        ]
    )


def draw_smooth_lattice(rng: np.random.Generator, *, sd: float, smoothness_mm: float) -> Array:
    """A smooth random field on the lattice; it wraps around, so that no border is special."""
    noise = rng.standard_normal(LATTICE_SHAPE)
    smooth = gaussian_filter(noise, smoothness_mm / LATTICE_STEP_MM, mode="wrap")
    field: Array = sd * (smooth - smooth.mean()) / smooth.std()
    return field


def sample_lattice(lattice: Array, points: Array) -> Array:
    """Values of a lattice at points (3, ...) in mm, linear in between."""
    corner = LATTICE_CORNER_MM.reshape(3, 1, 1, 1)
    where = (points - corner) / LATTICE_STEP_MM
    values: Array = map_coordinates(lattice, where, order=1, mode="nearest")
    return values


def locate_anatomy(displacement: Array, scale: Array, points: Array) -> Array:
    """Points (3, ...) of the undeformed anatomy that lie at points of a head."""
    moved = [sample_lattice(part, points) for part in displacement]
    located: Array = points * scale.reshape(3, 1, 1, 1) + np.stack(moved)
    return located
