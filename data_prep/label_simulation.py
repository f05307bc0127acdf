"""One session of one labelled head: a T1w and a T2w as a scanner might have acquired them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from data_prep.acquisition import acquire
from data_prep.head_space import (
    Array,
    Grid,
    draw_displacement,
    draw_pose,
    locate_anatomy,
    locate_voxels,
    make_grid,
)
from data_prep.label_maps import LabelledHead
from data_prep.label_protocols import Protocol, compute_signal, draw_protocols
from data_prep.label_relaxation import draw_relaxation, draw_smooth_field
from data_prep.label_tissues import MATERIAL_NAMES, MATERIALS
from data_prep.mr_signal import InversionSpinEcho, SpinEcho, Tissue, average_over_voxels

SIZE_SD, SHAPE_SD = 0.05, 0.03  # of the head relative to the one that was labelled
FIELD_OF_VIEW_MM = 25.0  # about the brain: as far as the scalp
EDGE_MM = 0.5  # a label's edge is known to a voxel; the Gaussian that it is smoothed with
BLOOD_FLOWS_TO = 0.15  # signal left of flowing blood in a spin echo
INFLOW = (0.6, 1.6)  # and in a gradient echo, where fresh blood may be bright


@dataclass(frozen=True)
class Depth:
    """How far something reaches beyond the brain's surface, which varies smoothly along it."""

    mean_mm: float
    sd_mm: float
    smoothness_mm: float
    range_mm: tuple[float, float]


# Where a brain mask ends, in mm beyond the brain's surface: in the subarachnoid space, here and
# there in bone, as brain extraction programs err.
RIM = Depth(mean_mm=1.0, sd_mm=0.8, smoothness_mm=12.0, range_mm=(0.0, 3.5))

# The fluid about the brain, which the maps carry on to the skull, ends at the dura mater, so far
# beyond the brain's surface in mm.
FLUID = Depth(mean_mm=0.5, sd_mm=0.8, smoothness_mm=12.0, range_mm=(0.0, 4.0))

# Vessels about the brain: where two smooth fields are near zero at once, which is along curves.
# These are some 2 mm thick and fill a fifteenth of the fluid.
VESSEL_SMOOTHNESS_MM, VESSEL_LEVEL = 3.0, 0.33

SUBARACHNOID_CSF, DURA, VESSEL = (
    np.uint8(MATERIAL_NAMES.index(name)) for name in ("subarachnoid CSF", "dura", "vessel")
)


@dataclass(frozen=True)
class LabelScan:
    """What simulating a session gives; truth lies on the T1w's grid.

    Attributes:
        t1w: stored values.
        t2w: stored values.
        grids: of the T1w and of the T2w.
        protocols: of the T1w and of the T2w.
        brain_mask: 1 inside.
        dseg: 1 CSF, 2 GM, 3 WM, 0 not of the brain.
        labels: the map's ids.
        t1w_from_t2w: (4, 4), T2w scanner points to the same anatomy's T1w scanner points.
    """

    t1w: NDArray[np.int16]
    t2w: NDArray[np.int16]
    grids: tuple[Grid, Grid]
    protocols: tuple[Protocol, Protocol]
    brain_mask: NDArray[np.uint8]
    dseg: NDArray[np.uint8]
    labels: NDArray[np.int32]
    t1w_from_t2w: Array


@dataclass(frozen=True)
class Deformed:
    """A head in another shape: where its anatomy is in the labelled one."""

    head: LabelledHead
    displacement: Array
    scale: Array

    def sample(self, volume: NDArray[np.generic], points: Array, *, order: int) -> Array:
        """Values of a volume on the label map's grid at points (3, ...) of the deformed head."""
        located = locate_anatomy(self.displacement, self.scale, points)
        shape = (3, 1, 1, 1)
        where = located - self.head.corner_mm.reshape(shape)
        where /= self.head.spacing_mm.reshape(shape)
        values: Array = map_coordinates(volume, where, order=order, mode="constant")
        return values


def simulate_session(head: LabelledHead, *, name: str, seed: int, number: int) -> LabelScan:
    """Simulate session `number` of a head; it depends on these arguments and on nothing else."""
    key = (zlib.crc32(name.encode()), number)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    protocols = draw_protocols(rng)
    field_strength_t = protocols[0].field_strength_t
    head = draw_vessels(draw_dura(head, rng), rng)
    relaxation = draw_relaxation(head, field_strength_t=field_strength_t, rng=rng)
    size = 1 + SIZE_SD * np.clip(rng.standard_normal(), -2, 2)
    shape = 1 + SHAPE_SD * np.clip(rng.standard_normal(3), -2, 2)
    deformed = Deformed(head, draw_displacement(rng), 1 / (size * shape))
    brain = head.distance_mm <= draw_rim(head, rng)
    head_from_t1w, t1w_from_t2w = draw_pose(rng), draw_pose(rng)
    poses = (head_from_t1w, head_from_t1w @ t1w_from_t2w)
    grids = tuple(_make_grid(deformed, protocol) for protocol in protocols)
    t1w, t2w = (
        _simulate_image(deformed, relaxation, protocol, grid, pose, rng)
        for protocol, grid, pose in zip(protocols, grids, poses, strict=True)
    )
    points = locate_voxels(grids[0], head_from_t1w)
    in_mask = deformed.sample(brain.astype(np.float32), points, order=1) >= 0.5
    labels = deformed.sample(head.labels, points, order=0).astype(np.int32)
    classes = deformed.sample(head.classes, points, order=0).astype(np.uint8)
    return LabelScan(
        t1w=t1w,
        t2w=t2w,
        grids=(grids[0], grids[1]),
        protocols=protocols,
        brain_mask=in_mask.astype(np.uint8),
        dseg=np.where(in_mask, classes, 0).astype(np.uint8),
        labels=labels,
        t1w_from_t2w=t1w_from_t2w,
    )


def draw_dura(head: LabelledHead, rng: np.random.Generator) -> LabelledHead:
    """The head whose fluid gives way to dura mater some way beyond the brain's surface."""
    beyond = head.distance_mm > _draw_depth(head, FLUID, rng)
    beyond &= head.materials == SUBARACHNOID_CSF
    return replace(
        head,
        materials=np.where(beyond, DURA, head.materials),
        classes=np.where(beyond, np.uint8(0), head.classes),
    )


def draw_vessels(head: LabelledHead, rng: np.random.Generator) -> LabelledHead:
    """The head with vessels along curves through the fluid about the brain, whose class stays."""
    near = np.ones(head.labels.shape, dtype=bool)
    for _ in range(2):
        field = draw_smooth_field(head, VESSEL_SMOOTHNESS_MM, rng)
        near &= np.abs(field) < VESSEL_LEVEL
    near &= head.materials == SUBARACHNOID_CSF
    return replace(head, materials=np.where(near, VESSEL, head.materials))


def draw_rim(head: LabelledHead, rng: np.random.Generator) -> NDArray[np.float32]:
    """How far beyond the brain its mask reaches in each direction, (x, y, z) in mm."""
    return _draw_depth(head, RIM, rng)


def _draw_depth(head: LabelledHead, depth: Depth, rng: np.random.Generator) -> NDArray[np.float32]:
    field = draw_smooth_field(head, depth.smoothness_mm, rng)
    drawn: NDArray[np.float32] = np.clip(depth.mean_mm + depth.sd_mm * field, *depth.range_mm)
    return drawn


def _make_grid(deformed: Deformed, protocol: Protocol) -> Grid:
    """The brain in its new size and any pose, and the scalp about it; T2w runs right to left."""
    head = deformed.head
    filled = np.argwhere(head.distance_mm <= RIM.mean_mm)
    low = (filled.min(0) * head.spacing_mm + head.corner_mm) / deformed.scale - FIELD_OF_VIEW_MM
    high = (filled.max(0) * head.spacing_mm + head.corner_mm) / deformed.scale + FIELD_OF_VIEW_MM
    spacing = np.array(protocol.spacing_mm)
    return make_grid(low, high - low, spacing, flip_x=protocol.contrast == "T2w")


def _simulate_image(
    deformed: Deformed,
    relaxation: Tissue,
    protocol: Protocol,
    grid: Grid,
    head_from_scanner: Array,
    rng: np.random.Generator,
) -> NDArray[np.int16]:
    """One image: each voxel the mean signal of what is in it, as a scanner acquires it."""
    head = deformed.head
    signal = np.asarray(compute_signal(relaxation, protocol.sequence), np.float32)
    flows = np.array([MATERIALS[name].flows for name in MATERIAL_NAMES])[head.materials]
    is_spin_echo = isinstance(protocol.sequence, (SpinEcho, InversionSpinEcho))
    signal[flows] *= BLOOD_FLOWS_TO if is_spin_echo else rng.uniform(*INFLOW)
    grey = float(np.abs(np.median(signal[head.materials == MATERIAL_NAMES.index("cortex")])))
    signal = gaussian_filter(signal, EDGE_MM / head.spacing_mm)
    # what scales the head also scales its voxels
    seen = np.array(protocol.spacing_mm) * deformed.scale / head.spacing_mm
    signal = average_over_voxels(signal, voxel_mm=np.maximum(seen, 1).tolist())
    points = locate_voxels(grid, head_from_scanner)
    return acquire(deformed.sample(signal, points, order=1), grid, grey=grey, rng=rng)
