"""One synthetic subject: a head of its own in T1w and T2w, with the truth that no scan has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from data_prep.acquisition import acquire
from data_prep.head_model import CORNER_MM, HeadModel, average_head, build_head_model
from data_prep.head_space import (
    Array,
    Grid,
    draw_displacement,
    draw_pose,
    locate_anatomy,
    locate_voxels,
    make_grid,
)
from data_prep.mr_signal import (
    Mprage,
    SpinEcho,
    Tissue,
    compute_mprage_signal,
    compute_spin_echo_signal,
    draw_tissues,
    mix_signals,
)

# ADNI-3's T1w protocol for Siemens scanners (echo spacing and readouts: usual values for it).
MPRAGE = Mprage(
    repetition_time_s=2.3,
    inversion_time_s=0.9,
    echo_time_s=0.00298,
    echo_spacing_s=0.007,
    flip_angle_deg=9,
    readouts=176,
)
SPIN_ECHO = SpinEcho(repetition_time_s=5.0, echo_time_s=0.09)  # usual for T2w at 3 T

# Field of view (low corner and size in scanner RAS mm): the head in any pose, down to the neck.
T1W_CORNER_MM, T1W_SIZE_MM = (-96, -122, -82), (192, 224, 184)
T2W_CORNER_MM, T2W_SIZE_MM = (-100, -126, -84), (200, 232, 190)
T2W_SLICE_FACTOR = 1.25  # slice thickness over in-plane spacing

# The template is larger than the average adult: 1886 cm3 inside its mask, where intracranial
# volumes are near 1500 (0.93 cubed is 0.80). Standard deviations of the head's size and its shape.
MEAN_SCALE, SIZE_SD, SHAPE_SD = 0.93, 0.025, 0.015


@dataclass(frozen=True)
class Subject:
    """One head and how it lay in the scanner.

    Attributes:
        scale: (3,), size of the template relative to the head along x, y, z.
        displacement: (3, x, y, z), in mm of template space, on the lattice in the head's space.
        head_from_t1w: (4, 4), T1w scanner points to the head's own.
        t1w_from_t2w: (4, 4), T2w scanner points to the same anatomy's T1w scanner points.
    """

    tissues: dict[str, Tissue]
    scale: Array
    displacement: Array
    head_from_t1w: Array
    t1w_from_t2w: Array


@dataclass(frozen=True)
class Scan:
    """What simulating a subject gives: both images, their grids and the truth on the T1w's."""

    t1w: NDArray[np.int16]
    t2w: NDArray[np.int16]
    t1w_grid: Grid
    t2w_grid: Grid
    dseg: NDArray[np.uint8]  # 1 CSF, 2 GM, 3 WM, 0 else
    brain_mask: NDArray[np.uint8]


def simulate_subject(*, seed: int, index: int, spacing_mm: float) -> tuple[Subject, Scan]:
    """Simulate one subject; what it is depends on its own number and the seed, not on others."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    subject = draw_subject(rng)
    t1w_head, t2w_head = load_heads(spacing_mm)
    t1w_grid, t2w_grid = make_grids(spacing_mm)
    t1w_signals = [compute_mprage_signal(part, MPRAGE) for part in subject.tissues.values()]
    t2w_signals = [compute_spin_echo_signal(part, SPIN_ECHO) for part in subject.tissues.values()]
    pose = subject.head_from_t1w
    t1w = _simulate_image(subject, t1w_head, t1w_signals, t1w_grid, pose, rng)
    pose = pose @ subject.t1w_from_t2w
    t2w = _simulate_image(subject, t2w_head, t2w_signals, t2w_grid, pose, rng)
    dseg, brain_mask = _sample_truth(subject, t1w_head, t1w_grid)
    return subject, Scan(t1w, t2w, t1w_grid, t2w_grid, dseg, brain_mask)


def make_grids(spacing_mm: float) -> tuple[Grid, Grid]:
    """The T1w's grid, RAS, and the T2w's, LAS with thicker slices."""
    spacing = np.full(3, spacing_mm)
    t1w = make_grid(T1W_CORNER_MM, T1W_SIZE_MM, spacing, flip_x=False)
    spacing = spacing * (1, 1, T2W_SLICE_FACTOR)
    return t1w, make_grid(T2W_CORNER_MM, T2W_SIZE_MM, spacing, flip_x=True)


@cache
def load_heads(spacing_mm: float) -> tuple[HeadModel, HeadModel]:
    """The head as the T1w's voxels and as the T2w's see it; it is the same for all subjects."""
    head = build_head_model()
    t1w, t2w = (np.abs(np.diag(grid.affine)[:3]).tolist() for grid in make_grids(spacing_mm))
    return average_head(head, voxel_mm=t1w), average_head(head, voxel_mm=t2w)


def draw_subject(rng: np.random.Generator) -> Subject:
    """Draw tissues, size, shape and poses of one subject."""
    size = MEAN_SCALE + SIZE_SD * np.clip(rng.standard_normal(), -2, 2)
    shape = 1 + SHAPE_SD * np.clip(rng.standard_normal(3), -2, 2)
    displacement = draw_displacement(rng)
    return Subject(
        tissues=draw_tissues(rng),
        scale=1 / (size * shape),
        displacement=displacement,
        head_from_t1w=draw_pose(rng),
        t1w_from_t2w=draw_pose(rng),
    )


def _sample_head(volume: NDArray[np.float32], points: Array) -> Array:
    """Values at template points; beyond the model there is air."""
    where = points - CORNER_MM.reshape(3, 1, 1, 1)
    values: Array = map_coordinates(volume, where, output=np.float64, order=1, mode="constant")
    return values


def _simulate_image(
    subject: Subject,
    head: HeadModel,
    signals: Sequence[float],
    grid: Grid,
    head_from_scanner: Array,
    rng: np.random.Generator,
) -> NDArray[np.int16]:
    """One image: anatomy where the voxels are, as a scanner acquires it."""
    located = locate_voxels(grid, head_from_scanner)
    points = locate_anatomy(subject.displacement, subject.scale, located)
    signal = _sample_head(mix_signals(head.fractions, signals), points)
    grey = signals[list(subject.tissues).index("GM")]
    return acquire(signal, grid, grey=grey, rng=rng)


def _sample_truth(
    subject: Subject, head: HeadModel, grid: Grid
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The tissue with the greatest share in each voxel of the brain, and the brain mask."""
    located = locate_voxels(grid, subject.head_from_t1w)
    points = locate_anatomy(subject.displacement, subject.scale, located)
    brain = _sample_head(head.brain, points) >= 0.5
    shares = [_sample_head(part, points) for part in head.fractions[:3]]
    classes = 1 + np.argmax(shares, axis=0)
    return np.where(brain, classes, 0).astype(np.uint8), brain.astype(np.uint8)
