"""Scans that a site might acquire: sequences, contrasts and resolutions, drawn at random.

Ranges are those of protocols in clinical and research use; within them every value is as likely.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from data_prep.mr_signal import (
    InversionSpinEcho,
    Mprage,
    SpinEcho,
    SpoiledEcho,
    Tissue,
    compute_inversion_spin_echo_signal,
    compute_mprage_signal,
    compute_spin_echo_signal,
    compute_spoiled_echo_signal,
)

Sequence = Mprage | SpoiledEcho | SpinEcho | InversionSpinEcho

# How often a T1w is an MPRAGE, a spoiled gradient echo, a spin echo without or with an inversion.
T1W_KINDS = {"mprage": 0.5, "spoiled": 0.2, "spin": 0.15, "inversion spin": 0.15}
MPRAGE_RANGES = {
    "repetition_time_s": (1.9, 2.5),
    "inversion_time_s": (0.85, 1.1),
    "echo_time_s": (0.002, 0.0045),
    "flip_angle_deg": (7.0, 12.0),
}
ECHO_SPACING_S, READOUTS = 0.007, 176
SPOILED_RANGES = {
    "repetition_time_s": (0.012, 0.03),
    "echo_time_s": (0.003, 0.006),
    "flip_angle_deg": (18.0, 30.0),
}
T1W_SPIN_RANGES = {"repetition_time_s": (0.45, 0.7), "echo_time_s": (0.008, 0.014)}
# Inverted so long before that fluid is dark: a share of the repetition time, which decides it too.
T1W_INVERSION_SPIN_RANGES = {
    "repetition_time_s": (1.9, 2.6),
    "inversion_share": (0.42, 0.47),
    "echo_time_s": (0.009, 0.02),
}
T2W_SPIN_RANGES = {"repetition_time_s": (3.0, 6.5), "echo_time_s": (0.08, 0.12)}

# Isotropic volumes, or axial slices that are thicker than their pixels.
ISOTROPIC_SHARE = {"T1w": 0.65, "T2w": 0.35}
ISOTROPIC_MM = (0.9, 1.25)
IN_PLANE_MM = {"T1w": (0.8, 1.2), "T2w": (0.6, 1.1)}
THICKNESS_MM = {"T1w": (1.5, 4.0), "T2w": (2.0, 5.0)}

FIELD_STRENGTHS_T = (1.5, 3.0)


@dataclass(frozen=True)
class Protocol:
    """How one image is acquired.

    Attributes:
        contrast: "T1w" or "T2w".
        sequence: with its times and angles.
        spacing_mm: of the voxels, x, y, z.
        field_strength_t: of the scanner.
    """

    contrast: str
    sequence: Sequence
    spacing_mm: tuple[float, float, float]
    field_strength_t: float


def draw_protocols(rng: np.random.Generator) -> tuple[Protocol, Protocol]:
    """The T1w and the T2w of one session in one scanner."""
    field_strength_t = float(rng.choice(FIELD_STRENGTHS_T))
    t1w = Protocol("T1w", _draw_t1w(rng), _draw_spacing(rng, "T1w"), field_strength_t)
    t2w_sequence = SpinEcho(**_draw(rng, T2W_SPIN_RANGES))
    return t1w, Protocol("T2w", t2w_sequence, _draw_spacing(rng, "T2w"), field_strength_t)


def _draw_t1w(rng: np.random.Generator) -> Sequence:
    kind = rng.choice(list(T1W_KINDS), p=list(T1W_KINDS.values()))
    if kind == "mprage":
        drawn = _draw(rng, MPRAGE_RANGES)
        return Mprage(**drawn, echo_spacing_s=ECHO_SPACING_S, readouts=READOUTS)
    if kind == "spoiled":
        return SpoiledEcho(**_draw(rng, SPOILED_RANGES))
    if kind == "inversion spin":
        drawn = _draw(rng, T1W_INVERSION_SPIN_RANGES)
        inversion_s = round(drawn.pop("inversion_share") * drawn["repetition_time_s"], 5)
        return InversionSpinEcho(**drawn, inversion_time_s=inversion_s)
    return SpinEcho(**_draw(rng, T1W_SPIN_RANGES))


def _draw(rng: np.random.Generator, ranges: dict[str, tuple[float, float]]) -> dict[str, float]:
    return {name: round(float(rng.uniform(*limits)), 5) for name, limits in ranges.items()}


def _draw_spacing(rng: np.random.Generator, contrast: str) -> tuple[float, float, float]:
    if rng.random() < ISOTROPIC_SHARE[contrast]:
        size = round(float(rng.uniform(*ISOTROPIC_MM)), 2)
        return size, size, size
    pixel = round(float(rng.uniform(*IN_PLANE_MM[contrast])), 2)
    return pixel, pixel, round(float(rng.uniform(*THICKNESS_MM[contrast])), 1)


def compute_signal(tissue: Tissue, sequence: Sequence) -> Any:
    """Signal of a tissue, or of maps of it, by its sequence's equation."""
    if isinstance(sequence, Mprage):
        return compute_mprage_signal(tissue, sequence)
    if isinstance(sequence, SpoiledEcho):
        return compute_spoiled_echo_signal(tissue, sequence)
    if isinstance(sequence, InversionSpinEcho):
        return compute_inversion_spin_echo_signal(tissue, sequence)
    return compute_spin_echo_signal(tissue, sequence)


def describe_protocol(protocol: Protocol) -> dict[str, Any]:
    """The protocol as a BIDS side-car states it, in seconds and degrees."""
    facts = asdict(protocol.sequence)
    kinds = {
        "Mprage": ["GR", "IR"],
        "SpoiledEcho": ["GR"],
        "SpinEcho": ["SE"],
        "InversionSpinEcho": ["SE", "IR"],
    }
    names = {
        "repetition_time_s": "RepetitionTime",
        "inversion_time_s": "InversionTime",
        "echo_time_s": "EchoTime",
        "flip_angle_deg": "FlipAngle",
        "echo_spacing_s": "RepetitionTimeExcitation",
        "readouts": "NumberShots",
    }
    return {
        "MagneticFieldStrength": protocol.field_strength_t,
        "PulseSequenceType": f"{type(protocol.sequence).__name__}, simulated",
        "ScanningSequence": kinds[type(protocol.sequence).__name__],
        "SliceThickness": protocol.spacing_mm[2],
        **{names[name]: value for name, value in facts.items()},
    }
