"""What the labels of a segmented head consist of: FreeSurfer's ids, and those beyond the brain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CSF, GREY, WHITE = 1, 2, 3  # tissue classes of a dseg
SUBARACHNOID = 24  # FreeSurfer's CSF, which in these maps fills all space around the brain


@dataclass(frozen=True)
class Material:
    """Tissues in one voxel, and what distinguishes a structure from them.

    Attributes:
        shares: of the tissues of ``TISSUES``; what is missing to 1 gives no signal.
        relative_r2: transverse relaxation rate relative to the cortex; None for that of the shares.
        tissue_class: in a dseg: 1 CSF, 2 grey matter, 3 white matter, 0 not of the brain.
        flows: blood in large vessels, which leaves the slice before the spin echo.
        is_lesion: white matter whose water is less bound than elsewhere.
    """

    shares: Mapping[str, float]
    relative_r2: float | None = None
    tissue_class: int = 0
    flows: bool = False
    is_lesion: bool = False


def _grey(white_share: float, *, iron: float | None = None) -> Material:
    """Grey matter with some myelin and iron.

    R2 = 12.7 + 0.615 [Fe] per second at 3 T: the intercept is that of Gelman et al. 1999
    (Radiology 210:759), the slope leads to their 25.8 in the pallidum. Iron in mg per 100 g is
    that of Hallgren and Sourander 1958 (J Neurochem 3:41), 2.9 in the cortex.
    """
    shares = {"GM": 1 - white_share, "WM": white_share}
    relative = None if iron is None else (12.7 + 0.615 * iron) / (12.7 + 0.615 * 2.9)
    return Material(shares, relative, GREY)


def _white(grey_share: float = 0.0, **facts: bool) -> Material:
    return Material({"WM": 1 - grey_share, "GM": grey_share}, None, WHITE, **facts)


# The share of white matter in a nucleus sets its T1 and water content; the shares are ours, in the
# order in which T1 maps show the nuclei: cortex, caudate, putamen, thalamus, pallidum.
FLUID = Material({"CSF": 1.0}, None, CSF)
MATERIALS: Mapping[str, Material] = {
    "air": Material({}),
    "CSF": FLUID,
    "subarachnoid CSF": FLUID,
    "choroid plexus": Material({"CSF": 0.4, "GM": 0.6}, None, CSF),
    "perivascular space": Material({"CSF": 0.5, "GM": 0.5}, None, CSF),
    "cortex": _grey(0.0),
    "white matter": _white(),
    "lesion": _white(is_lesion=True),
    "cerebellar cortex": _grey(0.1),
    "cerebellar white matter": _white(0.1),
    "thalamus": _grey(0.45, iron=4.8),
    "caudate": _grey(0.2, iron=9.3),
    "putamen": _grey(0.35, iron=13.3),
    "pallidum": _grey(0.75, iron=21.3),
    "hippocampus or amygdala": _grey(0.05),
    "accumbens": _grey(0.15, iron=9.3),
    "ventral diencephalon": _white(0.35),
    "brain stem": _white(0.3),
    "optic pathway": Material({"WM": 0.8, "CSF": 0.2}),
    "spinal cord": Material({"WM": 0.6, "GM": 0.4}),
    "vessel": Material({"muscle": 1.0}, flows=True),
    "dura": Material({"muscle": 0.5}),
    "eye": Material({"CSF": 1.0}),
    "soft tissue": Material({"muscle": 0.7, "fat": 0.3}),
    "orbital tissue": Material({"muscle": 0.3, "fat": 0.7}),
    "skin": Material({"muscle": 0.5, "fat": 0.5}),
    "mucosa": Material({"GM": 1.0}),
    "bone": Material({}),
    "marrow": Material({"fat": 0.4, "muscle": 0.1}),
}

# FreeSurfer's FreeSurferColorLUT.txt up to 255 and from 1000 on. The others, from 502 to 530 and
# 136, 137, 163, 164, are those of the label maps that SynthSeg is trained with; where in the head
# they lie says what they are.
_LABELS: Mapping[str, tuple[int, ...]] = {
    "air": (0,),
    "CSF": (4, 5, 14, 15, 43, 44, 72),
    "subarachnoid CSF": (SUBARACHNOID, 257),
    "choroid plexus": (31, 63, 136, 137, 163, 164),
    "cortex": (3, 19, 42, 55),
    "white matter": (2, 41, 192, *range(250, 256), 5001, 5002),
    "lesion": (25, 57, 77, 78, 79),
    "cerebellar cortex": (8, 47, 172),
    "cerebellar white matter": (7, 46),
    "thalamus": (9, 10, 48, 49),
    "caudate": (11, 50),
    "putamen": (12, 51, 80),
    "pallidum": (13, 52),
    "hippocampus or amygdala": (17, 18, 53, 54),
    "accumbens": (26, 58),
    "ventral diencephalon": (28, 60),
    "brain stem": (16, 170, 173, 174, 175),
    "optic pathway": (85, 530),
    "spinal cord": (512,),
    "perivascular space": (30, 62),
    "vessel": (502, 514),
    "dura": (),  # it is drawn
    "eye": (506,),
    "soft tissue": (258, 507),
    "orbital tissue": (508,),
    "skin": (511,),
    "mucosa": (509,),
    "bone": (165, 515),
    "marrow": (516,),
}
_RANGES: Mapping[str, tuple[range, ...]] = {
    "cortex": (range(1000, 1036), range(2000, 2036), range(11100, 11176), range(12100, 12176)),
    "white matter": (range(3000, 3036), range(4000, 4036)),
}
MATERIAL_NAMES = tuple(MATERIALS)


def find_materials(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return for each label the position of its material in ``MATERIAL_NAMES``.

    Raises:
        ValueError: labels that are in neither table; the text names them.
    """
    found, inverse = np.unique(labels, return_inverse=True)
    known = _number_materials()
    if unknown := [int(label) for label in found if int(label) not in known]:
        raise ValueError(
            f"labels {', '.join(map(str, unknown[:8]))} are neither FreeSurfer's ids nor those "
            "that SynthSeg adds for a whole head. Set what is no anatomy to 0."
        )
    numbers = np.array([known[int(label)] for label in found], np.uint8)
    return numbers[inverse].reshape(labels.shape)


def _number_materials() -> dict[int, int]:
    ranges = {name: [label for part in parts for label in part] for name, parts in _RANGES.items()}
    return {
        label: number
        for number, name in enumerate(MATERIAL_NAMES)
        for label in (*_LABELS[name], *ranges.get(name, ()))
    }
