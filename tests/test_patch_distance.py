"""The sliced Wasserstein distance of patches against SciPy's and against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import gaussian_filter
from scipy.stats import wasserstein_distance
from scripts.evaluation.patch_distance import sliced_wasserstein_distance
from torch import Tensor

SIZE = 7
EVERY_PATCH = 10**6


def make_set(seed: int, slices: int = 3, size: int = 32) -> tuple[Tensor, Tensor]:
    """Textured discs in [0, 1], background 0, and their masks."""
    noise = np.random.default_rng(seed).normal(size=(slices, 1, size, size))
    texture = torch.from_numpy(0.5 + 0.4 * gaussian_filter(noise, (0, 0, 1, 1))).clamp(0.1, 0.9)
    steps = torch.arange(size) - size / 2
    disc = steps[:, None].square() + steps.square() < (0.35 * size) ** 2
    mask = disc.expand(texture.shape)
    return texture.float() * mask, mask


def measure(
    first: tuple[Tensor, Tensor],
    second: tuple[Tensor, Tensor],
    *,
    patch_size: int = SIZE,
    patches: int = EVERY_PATCH,
    projections: int = 64,
    seed: int = 0,
) -> float:
    return sliced_wasserstein_distance(
        first[0],
        second[0],
        first[1],
        second[1],
        patch_size=patch_size,
        patches=patches,
        projections=projections,
        seed=seed,
    )


def compute_in_scipy(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], directions: np.ndarray
) -> float:
    """Mean over unit directions (directions, parts) of the distance between all patches."""
    sets = []
    for images, mask in (first, second):
        padded = np.pad(images[:, 0].double().numpy(), ((0, 0), (SIZE // 2,) * 2, (SIZE // 2,) * 2))
        windows = sliding_window_view(padded, (SIZE, SIZE), axis=(1, 2))
        sets.append(windows[mask[:, 0].numpy()].reshape(-1, SIZE**2))
    return float(
        np.mean([wasserstein_distance(*(each @ way for each in sets)) for way in directions])
    )


def test_single_pixels_have_scipys_distance_of_intensities() -> None:
    first, second = make_set(0), make_set(1)
    expected = wasserstein_distance(
        *(images[mask].double().numpy() for images, mask in (first, second))
    )
    assert measure(first, second, patch_size=1) == pytest.approx(expected, rel=1e-5)


def test_distance_equals_scipys_in_directions_drawn_with_the_seed() -> None:
    first, second = make_set(0), make_set(1)
    second = (second[0] ** 1.5, second[1])
    drawn = torch.randn(64, SIZE**2, generator=torch.Generator().manual_seed(5)).double().numpy()
    directions = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    expected = compute_in_scipy(first, second, directions)
    assert measure(first, second, seed=5) == pytest.approx(expected, rel=1e-5)


def test_a_brighter_image_is_as_far_as_the_mean_projection_of_its_offset() -> None:
    """Of c in every pixel: 7c |u| for the part u of a random unit vector along a fixed one."""
    images, mask = make_set(0)
    everywhere = torch.ones_like(mask)
    inner = torch.zeros_like(mask)
    inner[..., 4:-4, 4:-4] = True  # no patch reaches beyond the border
    parts = 49
    mean_part = math.gamma(parts / 2) / (math.sqrt(math.pi) * math.gamma((parts + 1) / 2))
    brighter = (0.8 * images + 0.1 * everywhere).float()
    pair = ((0.8 * images, inner), (brighter, inner))
    found = measure(*pair, projections=4000)
    assert found == pytest.approx(0.1 * SIZE * mean_part, rel=0.05)
    few = measure(*pair, projections=4000, patches=20)  # at the same places of both
    assert few == pytest.approx(found, rel=1e-4)


def test_the_same_set_has_no_distance_however_few_patches() -> None:
    images = make_set(0)
    for patches in (50, EVERY_PATCH):
        assert measure(images, images, patches=patches) == 0.0


def test_images_need_no_partners() -> None:
    first, second = make_set(0), make_set(1)
    whole = measure(first, second)
    turned = tuple(each.flip(0) for each in second)
    assert measure(first, turned) == pytest.approx(whole, rel=1e-5)
    assert measure(second, first) == pytest.approx(whole, rel=1e-6)
    assert measure(first, make_set(1, slices=5, size=40)) < 0.1


def test_a_seed_gives_one_figure_and_another_seed_another() -> None:
    first, second = make_set(0), make_set(1)
    for patches in (100, EVERY_PATCH):
        found = [measure(first, second, patches=patches, seed=seed) for seed in (3, 3, 4)]
        assert found[0] == found[1] != found[2]


def test_another_contrast_is_farther_than_a_blur_and_a_blur_than_another_sample() -> None:
    images, mask = make_set(0, slices=8)
    blurred = torch.from_numpy(gaussian_filter(images.numpy(), (0, 0, 1, 1))) * mask
    sample = measure((images, mask), make_set(1, slices=8))
    blur = measure((images, mask), (blurred, mask))
    contrast = measure((images, mask), (images.square(), mask))
    assert contrast > 2 * blur > 4 * sample


def test_patches_are_centred_in_the_mask() -> None:
    images, mask = make_set(0)
    far = images.clone()
    far[..., :2, :2] = 1.0  # no patch about the disc reaches the corner
    assert measure((images, mask), (far, mask)) == 0.0
    ones = torch.ones_like(mask)
    assert measure((images, ones), (far, ones)) > 0.0


def test_even_patches_empty_masks_and_the_networks_range_are_refused() -> None:
    images, mask = make_set(0)
    with pytest.raises(ValueError, match="patch_size is 6; expected an odd number"):
        measure((images, mask), (images, mask), patch_size=6)
    with pytest.raises(ValueError, match="is empty"):
        measure((images, mask), (images, torch.zeros_like(mask)))
    with pytest.raises(ValueError, match=r"The images_b lies in \[-1"):
        measure((images, mask), (2 * images - 1, mask))
    with pytest.raises(ValueError, match=r"\(2, 1, 32, 32\) of the masks_b"):
        measure((images, mask), (images, mask[:2]))
