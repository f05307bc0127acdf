"""Maps of relaxation times and water content of one labelled head, as no two subjects have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from data_prep.label_maps import LabelledHead
from data_prep.label_tissues import MATERIAL_NAMES, MATERIALS, WHITE, Material
from data_prep.mr_signal import TISSUES, Tissue

Map = NDArray[np.floating[Any]]

# What others than TISSUES' sources found in living brains at 3 T, in seconds: publications differ
# by a fourth, and a subject's lie anywhere between them. T1 is one of TISSUES or that of Wansapura
# et al. 1999 (J Magn Reson Imaging 9:531). T2 is none of TISSUES, which is of excised tissue and
# makes grey matter brighter than scans show it: Wansapura et al.; Gelman et al. 1999 (Radiology
# 210:759; 14.4 and 18.0 per second); Cox and Gowland 2010 (Magn Reson Med 64:1440; frontal and
# occipital cortex averaged).
T1_S = {"GM": (TISSUES["GM"][0].t1_s, 1.331), "WM": (TISSUES["WM"][0].t1_s, 0.832)}
T2_S = {"GM": (0.110, 1 / 14.4, 0.072), "WM": (0.080, 1 / 18.0, 0.071)}
SUBJECT_SD = 0.04  # between subjects, relative, beside that

# T1 grows with the cube root of the field in most tissues (Bottomley et al. 1984, Med Phys 11:425);
# fluid does not, and T2 hardly. TISSUES are those of 3 T.
FIELD_EXPONENT, FIELD_OF_TISSUES_T = 1 / 3, 3.0
FLUID = "CSF"

# Spread within a tissue, relative: of T1, T2 and water, which follow one field of myelin by 0.8
# and one of their own by 0.6, so that neither image tells all of the other.
TEXTURE_SD = {"t1": 0.05, "t2": 0.06, "water": 0.015}
FOLLOWS_MYELIN, OWN = 0.8, 0.6
TEXTURE_SMOOTHNESS_MM = {0.7: 0.6, 3.0: 0.6, 12.0: 0.53}  # of each part: its share of the field
COARSE_FROM_MM = 6.0  # parts as smooth as this are drawn on every fourth voxel

# Lesions: how many, their radius, and how far their centre is from a healthy white matter's
# relaxation. At 1 the tissue's T1 is twice, its T2 two and a half times as long.
LESION_PROBABILITY, MOST_LESIONS, LESION_RADIUS_MM = 0.5, 15, (1.5, 6.0)
LESION_T1, LESION_T2, LESION_WATER = 2.0, 2.5, 1.15


def draw_relaxation(
    head: LabelledHead, *, field_strength_t: float, rng: np.random.Generator
) -> Tissue:
    """Draw maps (x, y, z) of T1 and T2 in seconds and of proton density for one subject.

    Args:
        head: where which material is.
        field_strength_t: 1.5 or 3.
        rng: of the subject.
    """
    tissues = draw_tissues(field_strength_t, rng)
    table = np.array([_mix(MATERIALS[name], tissues) for name in MATERIAL_NAMES], np.float32)
    rate_1, rate_2, water = (table[:, column][head.materials] for column in range(3))
    myelin = draw_texture(head, rng)
    t1 = _vary(1 / rate_1, "t1", head, myelin, rng)
    t2 = _vary(1 / rate_2, "t2", head, myelin, rng)
    water = _vary(water, "water", head, myelin, rng)
    damage = draw_lesions(head, rng)
    return Tissue(
        t1_s=t1 * (1 + (LESION_T1 - 1) * damage),
        t2_s=t2 * (1 + (LESION_T2 - 1) * damage),
        proton_density=water * (1 + (LESION_WATER - 1) * damage),
    )


def draw_tissues(field_strength_t: float, rng: np.random.Generator) -> dict[str, Tissue]:
    """Draw relaxation times and water content of one subject's tissues, by their names."""
    tissues = {}
    t1_shares, t2_shares = rng.dirichlet(np.ones(2)), rng.dirichlet(np.ones(3))
    field = (field_strength_t / FIELD_OF_TISSUES_T) ** FIELD_EXPONENT
    for name, (mean, _) in TISSUES.items():
        longer = 1 + SUBJECT_SD * np.clip(rng.standard_normal(2), -2, 2)
        t1_s = longer[0] * float(np.dot(t1_shares, T1_S.get(name, (mean.t1_s,) * 2)))
        t2_s = longer[1] * float(np.dot(t2_shares, T2_S.get(name, (mean.t2_s,) * 3)))
        t1_s *= 1 if name == FLUID else field
        tissues[name] = Tissue(t1_s, t2_s, mean.proton_density)
    return tissues


def _mix(material: Material, tissues: Mapping[str, Tissue]) -> tuple[float, float, float]:
    """R1 and R2 per second and proton density; rates add up by their share."""
    total = sum(material.shares.values())
    if total == 0:
        return 1.0, 1.0, 0.0
    parts = [(share / total, tissues[name]) for name, share in material.shares.items()]
    rate_1 = sum(share / tissue.t1_s for share, tissue in parts)
    rate_2 = sum(share / tissue.t2_s for share, tissue in parts)
    if material.relative_r2 is not None:
        rate_2 = material.relative_r2 / tissues["GM"].t2_s
    water = total * sum(share * tissue.proton_density for share, tissue in parts)
    return rate_1, rate_2, water


def _vary(values: Map, name: str, head: LabelledHead, myelin: Map, rng: np.random.Generator) -> Map:
    """Values that are larger where there is less myelin, in the brain's solid tissue."""
    own = draw_texture(head, rng)
    field = TEXTURE_SD[name] * (FOLLOWS_MYELIN * myelin + OWN * own)
    varied: Map = values * np.exp(np.where(head.classes > 1, field, 0))
    return varied


def draw_texture(head: LabelledHead, rng: np.random.Generator) -> Map:
    """A random field (x, y, z) of mean 0 and standard deviation 1, rough and smooth at once."""
    field = np.zeros(head.labels.shape, np.float32)
    for smoothness_mm, share in TEXTURE_SMOOTHNESS_MM.items():
        field += share * draw_smooth_field(head, smoothness_mm, rng)
    return field


def draw_smooth_field(head: LabelledHead, smoothness_mm: float, rng: np.random.Generator) -> Map:
    """White noise (x, y, z) after a Gaussian of that width, with standard deviation 1."""
    step = 4 if smoothness_mm >= COARSE_FROM_MM else 1
    shape = np.ceil(np.array(head.labels.shape) / step).astype(int)
    noise = rng.standard_normal(tuple(shape), dtype=np.float32)
    smooth: Map = gaussian_filter(noise, smoothness_mm / head.spacing_mm / step)
    smooth /= smooth.std()
    if step > 1:
        smooth = zoom(smooth, np.array(head.labels.shape) / shape, order=1)
    return smooth


def draw_lesions(head: LabelledHead, rng: np.random.Generator) -> Map:
    """How damaged the white matter is, (x, y, z) in [0, 1]: labelled lesions, and some more."""
    is_lesion = np.array([MATERIALS[name].is_lesion for name in MATERIAL_NAMES])
    labelled = is_lesion[head.materials].astype(np.float32) * rng.uniform(0.2, 0.7)
    damage = gaussian_filter(labelled, 0.8 / head.spacing_mm)
    if rng.random() < LESION_PROBABILITY:
        white = np.argwhere(head.classes == WHITE)
        for _ in range(int(rng.integers(1, MOST_LESIONS + 1))):
            centre = white[rng.integers(len(white))]
            _add_lesion(damage, head, centre, rng)
    damaged: Map = np.where(head.classes == WHITE, damage, 0).astype(np.float32)
    return damaged


def _add_lesion(
    damage: Map, head: LabelledHead, centre: NDArray[np.integer[Any]], rng: np.random.Generator
) -> None:
    """Raise the damage about a voxel: an ellipsoid whose edge is soft."""
    radii = rng.uniform(*LESION_RADIUS_MM) * rng.uniform(0.6, 1.0, size=3)
    strength = rng.uniform(0.3, 1.0)
    reach = np.ceil(1.5 * radii / head.spacing_mm).astype(int)
    low = np.maximum(centre - reach, 0)
    high = np.minimum(centre + reach + 1, damage.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    axes = np.ogrid[box]
    distance = np.sqrt(
        sum(
            ((axis - middle) * spacing / radius) ** 2
            for axis, middle, spacing, radius in zip(
                axes, centre, head.spacing_mm, radii, strict=True
            )
        )
    )
    lesion = strength * np.clip(1.5 - distance, 0, 1)
    damage[box] = np.maximum(damage[box], lesion)
