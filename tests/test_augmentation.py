"""Augmentation is reproducible sample by sample and leaves brain, range and background in order."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from scripts.augmentation import SliceAugmentation
from torch import Tensor

NOTHING = SliceAugmentation(
    rotation_degrees=0.0,
    scale=0.0,
    flip_probability=0.0,
    plane="axial",
    intensity=0.0,
    noise_sigma=0.0,
)
ALL = replace(
    NOTHING,
    rotation_degrees=15.0,
    scale=0.1,
    flip_probability=0.5,
    intensity=0.2,
    noise_sigma=0.09,
)


def make_batch(size: int, *, height: int = 48, width: int = 40) -> tuple[Tensor, Tensor]:
    """Smooth images in [-1, 1] inside an elliptic brain off the centre, background -1."""
    noise = np.random.default_rng(size).standard_normal((size, 1, height, width))
    smooth = ndimage.gaussian_filter(noise, sigma=(0, 0, 3, 3))
    i, j = np.mgrid[:height, :width]
    ellipse = ((i - 0.45 * height) / (0.3 * height)) ** 2 + (
        (j - 0.55 * width) / (0.3 * width)
    ) ** 2
    masks = torch.from_numpy(ellipse < 1).expand(size, 1, height, width)
    images = torch.from_numpy(smooth / np.abs(smooth).max()).float()
    return images.where(masks, -1.0), masks


def compute_centroids(masks: Tensor) -> np.ndarray:
    """Centroids (batch, 2) in pixels from the image's centre."""
    centre = (np.array(masks.shape[2:]) - 1) / 2
    return np.stack([ndimage.center_of_mass(mask[0].numpy()) - centre for mask in masks])


def test_with_every_option_off_the_images_stay() -> None:
    images, masks = make_batch(2)
    same, same_masks = NOTHING(images, masks, seeds=[1, 2])
    assert torch.equal(same_masks, masks)
    torch.testing.assert_close(same, images, atol=1e-5, rtol=0)


def test_a_sample_is_augmented_alike_in_every_batch() -> None:
    images, masks = make_batch(5)
    together, together_masks = ALL(images, masks, seeds=[3, 1, 4, 1, 2**40], stream="t1w")
    for order in ([2], [4, 2, 0]):
        seeds = [[3, 1, 4, 1, 2**40][i] for i in order]
        alone, alone_masks = ALL(images[order], masks[order], seeds=seeds, stream="t1w")
        assert torch.equal(alone, together[order])
        assert torch.equal(alone_masks, together_masks[order])


def test_other_seeds_give_other_images() -> None:
    images, masks = make_batch(1)
    results = [ALL(images, masks, seeds=[seed])[0] for seed in range(10)]
    assert len(torch.stack(results).unique(dim=0)) == 10


def test_torchs_own_randomness_is_neither_used_nor_changed() -> None:
    before = torch.get_rng_state()
    ALL(*make_batch(2), seeds=[1, 2])
    assert torch.equal(torch.get_rng_state(), before)


def test_images_of_a_pair_share_their_geometry() -> None:
    images, masks = make_batch(3)
    quiet = replace(ALL, intensity=0.0, noise_sigma=0.0)
    t1w, t1w_masks = quiet(images, masks, seeds=[1, 2, 3], stream="t1w")
    t2w, t2w_masks = quiet(images, masks, seeds=[1, 2, 3], stream="t2w")
    assert torch.equal(t1w, t2w)
    assert torch.equal(t1w_masks, t2w_masks)


def test_images_of_a_pair_do_not_share_their_noise() -> None:
    mask = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    grey, noisy = torch.zeros(1, 1, 64, 64), replace(NOTHING, noise_sigma=0.09)
    t1w, t2w = (noisy(grey, mask, seeds=[1], stream=name)[0].flatten() for name in ("t1w", "t2w"))
    assert abs(torch.corrcoef(torch.stack([t1w, t2w]))[0, 1]) < 0.06  # 4 standard deviations


def test_a_flip_mirrors_left_and_right_the_first_image_axis() -> None:
    images, masks = make_batch(2)
    flipped, flipped_masks = replace(NOTHING, flip_probability=1.0)(images, masks, seeds=[1, 2])
    assert torch.equal(flipped_masks, masks.flip(2))
    torch.testing.assert_close(flipped, images.flip(2), atol=1e-5, rtol=0)


def test_sagittal_slices_are_not_flipped_which_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Their first axis runs from back to front; inference does not mirror them either."""
    caplog.set_level("INFO")
    images, masks = make_batch(2)
    sagittal = replace(NOTHING, flip_probability=1.0, plane="sagittal")
    assert torch.equal(sagittal(images, masks, seeds=[1, 2])[1], masks)
    assert "Sagittal slices are not flipped" in caplog.text


def test_half_of_the_samples_are_flipped() -> None:
    images, masks = (each.expand(400, 1, 48, 40) for each in make_batch(1))
    half = replace(NOTHING, flip_probability=0.5)
    flipped = compute_centroids(half(images, masks, seeds=range(400))[1])[:, 0] > 0
    assert 0.4 < flipped.mean() < 0.6  # 4 standard deviations


def test_rotation_turns_about_the_centre_within_its_limits() -> None:
    masks = torch.zeros(300, 1, 64, 96, dtype=torch.bool)
    masks[:, :, 30:34, 80:84] = True  # 34 pixels along width from the centre
    turned = replace(NOTHING, rotation_degrees=15.0)
    found = compute_centroids(turned(2.0 * masks - 1, masks, seeds=range(300))[1])
    angles = np.degrees(np.arctan2(found[:, 0], found[:, 1]))
    np.testing.assert_allclose(np.hypot(*found.T), 34.0, atol=0.4)
    assert -15.6 < angles.min() < -14
    assert 14 < angles.max() < 15.6
    assert abs(angles.mean()) < 2  # 4 standard deviations


def test_magnification_is_isotropic_within_its_limits() -> None:
    masks = torch.zeros(200, 1, 64, 96, dtype=torch.bool)
    masks[:, :, 12:52, 28:68] = True
    scaled = replace(NOTHING, scale=0.1)(2.0 * masks - 1, masks, seeds=range(200))[1]
    heights, widths = (scaled.any(dim=axis).sum(dim=-1).flatten() / 40 for axis in (3, 2))
    torch.testing.assert_close(heights, widths, atol=0.03, rtol=0)
    assert 0.88 < heights.min() < 0.93
    assert 1.07 < heights.max() < 1.12


def test_a_turned_image_equals_scipys_cubic_interpolation_inside() -> None:
    images, masks = make_batch(1, height=64, width=64)
    masks = torch.ones_like(masks)
    turned = replace(NOTHING, rotation_degrees=15.0)(images, masks, seeds=[5])[0][0, 0].numpy()
    rotations = [
        ndimage.rotate(images[0, 0].numpy(), degrees, reshape=False, order=3, mode="nearest")
        for degrees in np.arange(-15, 15.1, 0.25)
    ]
    errors = [np.abs(turned - each)[16:48, 16:48].mean() for each in rotations]
    assert min(errors) < 0.01
    assert min(errors) < 0.1 * max(errors)


def test_the_brains_rim_is_not_darkened_by_the_background() -> None:
    _, masks = make_batch(4)
    images = torch.where(masks, 0.6, -1.0)
    turned, turned_masks = replace(ALL, intensity=0.0, noise_sigma=0.0)(
        images, masks, seeds=range(4)
    )
    torch.testing.assert_close(turned[turned_masks], torch.full_like(turned[turned_masks], 0.6))


def test_what_lies_outside_the_mask_does_not_leak_in() -> None:
    images, masks = make_batch(3)
    expected, _ = ALL(images, masks, seeds=[1, 2, 3])
    assert torch.equal(ALL(images.where(masks, 0.8), masks, seeds=[1, 2, 3])[0], expected)


def test_range_and_background_are_kept() -> None:
    images, masks = make_batch(8)
    loud = replace(ALL, noise_sigma=1.0)
    changed, changed_masks = loud(images, masks, seeds=range(8))
    assert changed.abs().max() <= 1
    assert (changed[~changed_masks] == -1).all()
    assert (changed[changed_masks] > -1).float().mean() > 0.8


def test_noise_has_the_stated_standard_deviation() -> None:
    images, mask = torch.zeros(4, 1, 64, 64), torch.ones(4, 1, 64, 64, dtype=torch.bool)
    noise = replace(NOTHING, noise_sigma=0.09)(images, mask, seeds=range(4))[0]
    assert noise.std().item() == pytest.approx(0.09, rel=0.03)
    assert abs(noise.mean()) < 0.003


def test_gain_and_gamma_stay_within_their_limits_and_keep_the_order() -> None:
    steps = torch.linspace(-1, 1, 64).expand(200, 1, 64, 64)
    mask = torch.ones(200, 1, 64, 64, dtype=torch.bool)
    changed = replace(NOTHING, intensity=0.2)(steps, mask, seeds=range(200))[0]
    unit, changed_unit = (steps + 1) / 2, (changed + 1) / 2
    assert (changed_unit <= 1.2 * unit**0.8 + 1e-4).all()
    assert (changed_unit >= 0.8 * unit**1.2 - 1e-4).all()
    assert (changed.diff(dim=-1) >= 0).all()
    assert changed[:, 0, 0, 32].std() > 0.1


def test_neighbouring_slices_move_together_each_with_its_mask() -> None:
    images, masks = make_batch(3)
    seeds = [7, 7, 7]
    quiet = replace(ALL, noise_sigma=0.0)
    apart, apart_masks = quiet(images, masks, seeds=seeds)
    joined, joined_masks = quiet(images.view(1, 3, 48, 40), masks.view(1, 3, 48, 40), seeds=[7])
    torch.testing.assert_close(joined[0], apart[:, 0])
    assert torch.equal(joined_masks[0], apart_masks[:, 0])
    shared, shared_mask = quiet(images.view(1, 3, 48, 40), masks[:1], seeds=[7])
    torch.testing.assert_close(shared, joined)
    assert torch.equal(shared_mask, apart_masks[:1])


def test_geometry_is_not_rounded_under_autocast() -> None:
    images, masks = make_batch(2)
    expected, _ = ALL(images, masks, seeds=[1, 2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ALL(images, masks, seeds=[1, 2])[0], expected)


def test_the_callers_batch_stays_as_it_is() -> None:
    images, masks = make_batch(2)
    copies = images.clone(), masks.clone()
    ALL(images, masks, seeds=[1, 2])
    assert torch.equal(images, copies[0])
    assert torch.equal(masks, copies[1])


def test_a_sample_without_a_seed_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 images, 2 masks and 1 seeds"):
        ALL(*make_batch(2), seeds=[1])


@pytest.mark.parametrize(
    ("option", "value"), [("scale", 1.0), ("intensity", -0.1), ("flip_probability", math.pi)]
)
def test_options_out_of_range_are_named(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{option} is {value}"):
        replace(ALL, **{option: value})
