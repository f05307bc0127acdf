"""What a scanner adds to the signal of a head: coil sensitivity, noise, and its gain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_prep.head_space import (
    Array,
    Grid,
    draw_smooth_lattice,
    locate_voxels,
    sample_lattice,
)
from data_prep.mr_signal import add_rician_noise

BIAS_SD, BIAS_SMOOTHNESS_MM = 0.1, 50.0  # of the logarithm: mostly within 20 %
NOISE_RANGE = (0.02, 0.04)  # sigma relative to grey matter: SNR of 25 to 50
GAIN_RANGE = (400.0, 1200.0)  # what grey matter is stored as: scanners have no unit


def acquire(
    signal: Array, grid: Grid, *, grey: float, rng: np.random.Generator
) -> NDArray[np.int16]:
    """Return the stored image of a signal.

    Args:
        signal: (x, y, z), relative to water's equilibrium.
        grid: where its voxels lie.
        grey: signal of grey matter, to which noise and gain relate.
        rng: of bias, noise and gain.
    """
    bias = draw_smooth_lattice(rng, sd=BIAS_SD, smoothness_mm=BIAS_SMOOTHNESS_MM)
    signal = signal * np.exp(sample_lattice(bias, locate_voxels(grid, np.eye(4))))
    noisy = add_rician_noise(signal, sigma=rng.uniform(*NOISE_RANGE) * grey, rng=rng)
    return np.round(noisy * rng.uniform(*GAIN_RANGE) / grey).astype(np.int16)
