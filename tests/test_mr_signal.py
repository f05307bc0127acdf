"""Signal equations, partial volume and noise against values from elsewhere."""

from __future__ import annotations

from dataclasses import astuple, replace
from math import cos, exp, pi, radians, sin, sqrt

import numpy as np
import pytest

from data_prep.mr_signal import (
    TISSUES,
    InversionSpinEcho,
    Mprage,
    SpinEcho,
    Tissue,
    add_rician_noise,
    average_over_voxels,
    compute_inversion_spin_echo_signal,
    compute_mprage_signal,
    compute_spin_echo_signal,
    draw_tissues,
    mix_signals,
)

MPRAGE = Mprage(2.3, 0.9, 0.003, 0.007, 9.0, 176)
TISSUE = Tissue(t1_s=1.0, t2_s=0.1, proton_density=0.8)


def simulate_mprage(tissue: Tissue, sequence: Mprage) -> float:
    """Play the pulses one after the other, ten periods, as an independent program would."""
    s, mz, angle = sequence, 1.0, radians(sequence.flip_angle_deg)

    def recover(value: float, seconds: float) -> float:
        return 1 - (1 - value) * exp(-seconds / tissue.t1_s)

    half_train_s = s.readouts * s.echo_spacing_s / 2
    middle = 0.0
    for _ in range(10):
        mz = recover(-mz, s.inversion_time_s - half_train_s)
        for readout in range(s.readouts):
            if readout == s.readouts // 2:
                middle = mz
            mz = recover(mz * cos(angle), s.echo_spacing_s)
        mz = recover(mz, s.repetition_time_s - s.inversion_time_s - half_train_s)
    return tissue.proton_density * middle * sin(angle) * exp(-s.echo_time_s / tissue.t2_s)


@pytest.mark.parametrize("name", TISSUES)
def test_mprage_signal_equals_a_pulse_by_pulse_simulation(name: str) -> None:
    tissue = TISSUES[name][0]
    expected = simulate_mprage(tissue, MPRAGE)
    assert compute_mprage_signal(tissue, MPRAGE) == pytest.approx(expected, rel=1e-9)


def test_mprage_without_a_train_is_repeated_inversion_recovery() -> None:
    # 0.8 (1 - 2 exp(-TI/T1) / (1 + exp(-TR/T1))) = 0.8 (1 - 0.813139 / 1.100259) = 0.208765
    sequence = replace(MPRAGE, readouts=0, flip_angle_deg=90, echo_time_s=0)
    assert compute_mprage_signal(TISSUE, sequence) == pytest.approx(0.208765, abs=1e-6)


def test_a_very_long_train_ends_at_the_ernst_equation() -> None:
    # T1 = 1 s, spacing 10 ms, 20 degrees: (1-E) sin a / (1 - E cos a), E = 0.990050
    # = 0.0099502 * 0.342020 / (1 - 0.930342) = 0.0488551; times 0.8
    sequence = Mprage(41, 20.5, 0, 0.010, 20, 4000)
    assert compute_mprage_signal(TISSUE, sequence) == pytest.approx(0.0390841, abs=1e-6)


def test_spin_echo_signal_equals_the_value_worked_out_by_hand() -> None:
    # 0.8 (1 - 2 exp(-1.95) + exp(-2)) exp(-1) = 0.8 * 0.850787 * 0.367879 = 0.250390
    signal = compute_spin_echo_signal(TISSUE, SpinEcho(repetition_time_s=2, echo_time_s=0.1))
    assert signal == pytest.approx(0.250390, abs=1e-6)


def test_spin_echo_at_echo_time_zero_is_saturation_recovery() -> None:
    # 0.8 (1 - exp(-0.5)) = 0.314775
    signal = compute_spin_echo_signal(TISSUE, SpinEcho(repetition_time_s=0.5, echo_time_s=0))
    assert signal == pytest.approx(0.314775, abs=1e-6)


def test_spin_echo_after_a_long_wait_is_proton_density_times_t2_decay() -> None:
    # 0.8 exp(-2) = 0.108268
    signal = compute_spin_echo_signal(TISSUE, SpinEcho(repetition_time_s=100, echo_time_s=0.2))
    assert signal == pytest.approx(0.108268, abs=1e-6)


def test_a_spin_echo_after_an_inversion_equals_the_value_worked_out_by_hand() -> None:
    # 0.8 (1 - 2 exp(-0.9) + 2 exp(-1.99) - exp(-2)) exp(-0.2)
    # = 0.8 * 0.324916 * 0.818731 = 0.212815
    sequence = InversionSpinEcho(repetition_time_s=2, inversion_time_s=0.9, echo_time_s=0.02)
    signal = compute_inversion_spin_echo_signal(TISSUE, sequence)
    assert signal == pytest.approx(0.212815, abs=1e-6)


def test_a_spin_echo_just_after_an_inversion_is_the_one_without_upside_down() -> None:
    """What has grown back by then is all inverted, and excited at once."""
    repetition_s, echo_s = 3.0, 0.1
    plain = compute_spin_echo_signal(TISSUE, SpinEcho(repetition_s, echo_s))
    inverted = compute_inversion_spin_echo_signal(
        TISSUE, InversionSpinEcho(repetition_s, 0.0, echo_s)
    )
    assert inverted == pytest.approx(-plain)


def test_a_voxel_of_two_tissues_has_their_mean() -> None:
    fractions = np.array([[[[0.25, 1.0, 0.0]]], [[[0.75, 0.0, 0.0]]]])
    assert mix_signals(fractions, [4.0, 8.0]) == pytest.approx(np.array([[[7.0, 4.0, 0.0]]]))


def test_averaging_over_two_millimetres_takes_half_of_each_neighbour() -> None:
    impulse = np.zeros((5, 1, 1))
    impulse[2] = 1
    averaged = average_over_voxels(impulse, voxel_mm=(2, 1, 1))
    assert averaged[:, 0, 0] == pytest.approx([0, 0.25, 0.5, 0.25, 0])


def test_averaging_over_a_fractional_width_weighs_by_overlap() -> None:
    # a box of 2.5 mm covers its own millimetre and 0.75 mm on each side
    impulse = np.zeros((1, 1, 5))
    impulse[..., 2] = 1
    averaged = average_over_voxels(impulse, voxel_mm=(1, 1, 2.5))
    assert averaged[0, 0] == pytest.approx([0, 0.3, 0.4, 0.3, 0])


def test_averaging_tissue_shares_and_averaging_their_signal_are_the_same() -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet([1, 1, 1], size=(6, 6, 6)).transpose(3, 0, 1, 2)
    signals, voxel_mm = [1.0, 2.0, 5.0], (2, 2, 2.5)
    averaged = np.stack([average_over_voxels(part, voxel_mm=voxel_mm) for part in shares])
    expected = average_over_voxels(mix_signals(shares, signals), voxel_mm=voxel_mm)
    assert mix_signals(averaged, signals) == pytest.approx(expected)


def test_noise_in_air_has_the_mean_and_variance_of_a_rayleigh_distribution() -> None:
    noise = add_rician_noise(np.zeros((100, 100, 20)), sigma=3.0, rng=np.random.default_rng(0))
    assert noise.mean() == pytest.approx(3 * sqrt(pi / 2), rel=0.005)
    assert noise.var() == pytest.approx(9 * (2 - pi / 2), rel=0.01)


def test_noise_raises_the_mean_square_of_a_signal_by_twice_sigma_squared() -> None:
    signal = np.full((100, 100, 20), 10.0)
    noisy = add_rician_noise(signal, sigma=3.0, rng=np.random.default_rng(0))
    assert (noisy**2).mean() == pytest.approx(100 + 2 * 9, rel=0.005)
    assert (signal == 10).all()


def test_subjects_differ_in_tissue_by_two_standard_deviations_at_most() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_tissues(rng) for _ in range(200)]
    assert len({tissues["GM"].t1_s for tissues in drawn}) > 150
    for name, (mean, spread) in TISSUES.items():
        values = np.array([astuple(tissues[name]) for tissues in drawn])
        distance = np.abs(values - astuple(mean))
        assert (distance <= 2 * np.array(astuple(spread)) + 1e-12).all(), name
