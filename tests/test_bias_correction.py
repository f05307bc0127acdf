"""N4 takes a known bias field away, inside the mask, the same each time."""

from __future__ import annotations

import numpy as np
import pytest
from scripts.bias_correction import correct_bias_field


def biased_ball(shape=(40, 44, 36)):
    index = np.indices(shape) / np.array(shape)[:, None, None, None] - 0.5
    mask = (index**2).sum(axis=0) < 0.2
    generator = np.random.default_rng(0)
    tissue = np.where(index[1] * np.sin(20 * index[0]) > 0, 100.0, 60.0)
    field = np.exp(0.6 * index[0] - 0.4 * index[2])
    noisy = tissue + generator.normal(0, 1, shape)
    return (noisy * field * mask).astype(np.float32), tissue, mask


def correct(volume, mask, spacing=(2.0, 2.0, 2.0)):
    return correct_bias_field(volume, mask, spacing_mm=np.array(spacing), working_spacing_mm=4.0)


def test_a_known_field_is_taken_away():
    volume, tissue, mask = biased_ball()
    bright = mask & (tissue == 100)
    before = volume[bright].std() / volume[bright].mean()
    corrected = correct(volume, mask)
    after = corrected[bright].std() / corrected[bright].mean()
    assert before > 0.12
    assert after < 0.4 * before
    assert corrected.dtype == np.float32


def test_the_same_input_gives_the_same_bytes():
    volume, _, mask = biased_ball()
    assert correct(volume, mask).tobytes() == correct(volume, mask).tobytes()


@pytest.mark.parametrize("slices", [1, 3, 7])
def test_few_slices_are_corrected_too(slices):
    volume, _, mask = biased_ball()
    middle = slice(18, 18 + slices)
    corrected = correct(volume[..., middle], mask[..., middle], (2.0, 2.0, 6.0))
    assert corrected.shape == (40, 44, slices)
    assert np.all(np.isfinite(corrected))


def test_an_image_with_negative_tissue_is_refused():
    volume, _, mask = biased_ball()
    with pytest.raises(ValueError, match="of the voxels in the brain are negative"):
        correct(volume - 80, mask)
