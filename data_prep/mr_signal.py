"""What a scanner makes of tissue at 3 T: relaxation, signal equations, partial volume, noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from math import ceil, cos, radians, sin
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d

FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Tissue:
    """Relaxation times in seconds, and proton density relative to water.

    Numbers, or maps (x, y, z) of them; a signal is of the same kind.
    """

    t1_s: Any
    t2_s: Any
    proton_density: Any


# Mean and standard deviation between subjects, at 3 T.
# T1, T2 of white matter, grey matter and muscle: Stanisz et al. 2005, Magn Reson Med 54:507.
# T1, T2 of CSF: "Quantification of T1 and T2 of subarachnoid CSF: implications for water exchange
# between CSF and brain tissues" (subarachnoid space, 3 T).
# T1, T2 of subcutaneous fat: de Bazelaire et al. 2004, Radiology 230:652.
# Water content of white and grey matter relative to CSF: Oros-Peusquens et al. 2019,
# Front Neurol 10:1333. Proton densities of fat and muscle are round numbers of ours.
# Cortical bone is absent: its T2 of about 0.4 ms leaves no signal at the echo times used here.
TISSUES: Mapping[str, tuple[Tissue, Tissue]] = {
    "CSF": (Tissue(4.309, 1.886, 1.0), Tissue(0.147, 0.068, 0.0)),
    "GM": (Tissue(1.820, 0.099, 0.837), Tissue(0.114, 0.007, 0.012)),
    "WM": (Tissue(1.084, 0.069, 0.691), Tissue(0.045, 0.003, 0.017)),
    "fat": (Tissue(0.382, 0.068, 0.9), Tissue(0.013, 0.004, 0.02)),
    "muscle": (Tissue(1.412, 0.050, 0.78), Tissue(0.013, 0.004, 0.02)),
}


@dataclass(frozen=True)
class Mprage:
    """An inversion-prepared, spoiled gradient-echo sequence.

    Attributes:
        repetition_time_s: from one inversion to the next.
        inversion_time_s: from the inversion to the middle of the train of readouts.
        echo_spacing_s: from one excitation to the next.
        readouts: excitations after each inversion.
    """

    repetition_time_s: float
    inversion_time_s: float
    echo_time_s: float
    echo_spacing_s: float
    flip_angle_deg: float
    readouts: int


@dataclass(frozen=True)
class SpoiledEcho:
    """A spoiled gradient-echo sequence in its steady state, without preparation."""

    repetition_time_s: float
    echo_time_s: float
    flip_angle_deg: float


@dataclass(frozen=True)
class SpinEcho:
    """A 90 degree excitation and one 180 degree refocusing pulse."""

    repetition_time_s: float
    echo_time_s: float


@dataclass(frozen=True)
class InversionSpinEcho:
    """A spin echo some time after an inversion, as in T1-FLAIR.

    Attributes:
        repetition_time_s: from one inversion to the next.
        inversion_time_s: from the inversion to the excitation.
    """

    repetition_time_s: float
    inversion_time_s: float
    echo_time_s: float


def draw_tissues(rng: np.random.Generator) -> dict[str, Tissue]:
    """Draw the tissues of one subject: normal about the mean, cut at two standard deviations."""
    tissues = {}
    for name, (mean, spread) in TISSUES.items():
        steps = np.clip(rng.standard_normal(3), -2, 2)
        values = np.array(astuple(mean)) + steps * np.array(astuple(spread))
        tissues[name] = Tissue(*map(float, values))
    return tissues


def compute_mprage_signal(tissue: Tissue, sequence: Mprage) -> Any:
    """Signal of the middle readout once the sequence has reached its steady state.

    The sequence is that of Mugler and Brookeman 1990, Magn Reson Med 15:152. Between pulses Mz
    goes to 1 with T1; each excitation leaves cos(flip angle) of it, so that the train draws it to
    the value of the Ernst equation (Ernst and Anderson 1966, Rev Sci Instrum 37:93) by a factor
    per readout. All steps are linear in Mz, so the Mz that one period reproduces follows directly.
    T2 stands for T2*: at an echo time of 3 ms they differ by about 2 % in signal.

    Returns:
        Signal relative to water's equilibrium; negative before the tissue's zero crossing.
    """
    train_s = sequence.readouts * sequence.echo_spacing_s
    recovered_s = sequence.inversion_time_s - train_s / 2
    rest_s = sequence.repetition_time_s - sequence.inversion_time_s - train_s / 2
    before, after = np.exp(-recovered_s / tissue.t1_s), np.exp(-rest_s / tissue.t1_s)
    spacing = np.exp(-sequence.echo_spacing_s / tissue.t1_s)
    kept = cos(radians(sequence.flip_angle_deg)) * spacing  # of the distance to `ernst`
    ernst = (1 - spacing) / (1 - kept)
    whole = kept**sequence.readouts
    inverted = 1 - after + after * (ernst * (1 - whole) + whole * (1 - before))
    inverted /= 1 + after * whole * before  # Mz just before each inversion
    start = 1 - (1 + inverted) * before
    middle = ernst + (start - ernst) * kept ** (sequence.readouts / 2)
    echo = sin(radians(sequence.flip_angle_deg)) * np.exp(-sequence.echo_time_s / tissue.t2_s)
    return tissue.proton_density * middle * echo


def compute_spoiled_echo_signal(tissue: Tissue, sequence: SpoiledEcho) -> Any:
    """Signal of the Ernst equation: PD sin a (1 - E) / (1 - E cos a) exp(-TE/T2), E = exp(-TR/T1).

    Ernst and Anderson 1966, Rev Sci Instrum 37:93. T2 stands for T2*, as above.
    """
    kept = np.exp(-sequence.repetition_time_s / tissue.t1_s)
    angle = radians(sequence.flip_angle_deg)
    steady = (1 - kept) / (1 - kept * cos(angle))
    return tissue.proton_density * sin(angle) * steady * np.exp(-sequence.echo_time_s / tissue.t2_s)


def compute_spin_echo_signal(tissue: Tissue, sequence: SpinEcho) -> Any:
    """Signal of a spin echo: PD (1 - 2 exp(-(TR - TE/2)/T1) + exp(-TR/T1)) exp(-TE/T2).

    The 180 degree pulse at TE/2 inverts what has grown back since the excitation: Bernstein, King
    and Zhou 2004, Handbook of MRI Pulse Sequences, section 14.3.
    """
    repetition_s, echo_s = sequence.repetition_time_s, sequence.echo_time_s
    recovery = 1 - 2 * np.exp(-(repetition_s - echo_s / 2) / tissue.t1_s)
    recovery += np.exp(-repetition_s / tissue.t1_s)
    return tissue.proton_density * recovery * np.exp(-echo_s / tissue.t2_s)


def compute_inversion_spin_echo_signal(tissue: Tissue, sequence: InversionSpinEcho) -> Any:
    """Signal of an inversion-prepared spin echo, in its steady state.

    PD (1 - 2 exp(-TI/T1) + 2 exp(-(TR - TE/2)/T1) - exp(-TR/T1)) exp(-TE/T2): the excitation leaves
    no Mz, the 180 degree pulse at TE/2 inverts what has grown back, and that grows on until the
    next inversion. Bernstein, King and Zhou 2004, Handbook of MRI Pulse Sequences, section 14.2.

    Returns:
        Signal relative to water's equilibrium; negative before the tissue's zero crossing.
    """
    repetition_s, echo_s = sequence.repetition_time_s, sequence.echo_time_s
    recovery = 1 - 2 * np.exp(-sequence.inversion_time_s / tissue.t1_s)
    recovery += 2 * np.exp(-(repetition_s - echo_s / 2) / tissue.t1_s)
    recovery -= np.exp(-repetition_s / tissue.t1_s)
    return tissue.proton_density * recovery * np.exp(-echo_s / tissue.t2_s)


def mix_signals(fractions: FloatArray, signals: Sequence[float]) -> FloatArray:
    """Partial volume: each voxel's signal is the sum of its tissues' by their share.

    Added tissue by tissue and not by a matrix product, whose rounding varies between machines.

    Args:
        fractions: (tissue, x, y, z), in [0, 1].
        signals: one per tissue.

    Returns:
        (x, y, z), of the fractions' type.
    """
    mixture = np.zeros_like(fractions[0])
    for fraction, signal in zip(fractions, signals, strict=True):
        mixture += fraction * mixture.dtype.type(signal)
    return mixture


def average_over_voxels(volume: FloatArray, *, voxel_mm: Sequence[float]) -> FloatArray:
    """Average a volume sampled every millimetre over a box of a voxel's size about each sample."""
    for axis, width in enumerate(voxel_mm):
        reach = ceil((width - 1) / 2)
        cells = np.arange(-reach, reach + 1)
        overlap = np.minimum(cells + 0.5, width / 2) - np.maximum(cells - 0.5, -width / 2)
        volume = convolve1d(volume, overlap / overlap.sum(), axis=axis, mode="nearest")
    return volume


def add_rician_noise(
    signal: FloatArray, *, sigma: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Magnitude of the signal plus complex Gaussian noise of `sigma` in each part.

    Gudbjartsson and Patz 1995, Magn Reson Med 34:910.
    """
    real = signal + sigma * rng.standard_normal(signal.shape)
    return np.hypot(real, sigma * rng.standard_normal(signal.shape))
