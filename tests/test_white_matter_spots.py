"""Spots of white matter, placed by hand: kept, lost, invented, too small, and at the rim."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scripts.evaluation.white_matter_spots import LEAST_VOXELS, compare_spots, find_spots
from skimage.filters import gaussian
from skimage.measure import label, regionprops
from skimage.morphology import disk, erosion
from torch import Tensor

T2W = {1: 0.9, 2: 0.5, 3: 0.2}  # fluid, grey, white
SLICES, SIZE = 6, 40
PLACES = {"first": (2, 10, 10), "second": (2, 10, 28), "third": (2, 28, 10), "fourth": (2, 28, 28)}


def make_tissues() -> Tensor:
    """White matter within grey, within fluid."""
    tissues = torch.ones(SLICES, 1, SIZE, SIZE, dtype=torch.uint8)
    tissues[..., 2:-2, 2:-2] = 2
    tissues[..., 5:-5, 5:-5] = 3
    return tissues


def make_image(*spots: str, contrast: str = "T2w", brightness: float = 0.7) -> Tensor:
    """An image of plain tissues with spots of 2 x 2 x 2 voxels."""
    tissues = make_tissues()
    image = sum(value * (tissues == number) for number, value in T2W.items())
    for name in spots:
        z, y, x = PLACES[name]
        image[z : z + 2, 0, y : y + 2, x : x + 2] = brightness
    return image if contrast == "T2w" else 1 - image


def count(image: Tensor) -> int:
    found = find_spots(image, make_tissues(), "T2w")
    assert found is not None
    return np.count_nonzero(np.unique(found))


def compare(synthetic: Tensor, target: Tensor, source: Tensor, contrast: str = "T2w") -> tuple:
    other = "T1w" if contrast == "T2w" else "T2w"
    images = ((synthetic, contrast), (target, contrast), (source, other))
    shown, real, given = (find_spots(image, make_tissues(), name) for image, name in images)
    found = compare_spots(shown, target=real, source=given)
    return found["spots_kept"], found["spots_invented"]


@pytest.mark.parametrize(("contrast", "other"), [("T2w", "T1w"), ("T1w", "T2w")])
def test_kept_lost_and_invented_are_counted_by_hand(contrast: str, other: str) -> None:
    target = make_image("first", "second", contrast=contrast)
    source = make_image("first", "third", contrast=other)
    plain = make_image(contrast=contrast)
    assert compare(target, target, source, contrast) == (1.0, 0.0)
    assert compare(plain, target, source, contrast) == (0.0, 0.0)
    lost_one = make_image("first", contrast=contrast)
    assert compare(lost_one, target, source, contrast) == (0.5, 0.0)
    # "third" is there in the source: not made up. "fourth" is nowhere.
    more = make_image("first", "third", "fourth", contrast=contrast)
    assert compare(more, target, source, contrast) == (0.5, 1.0)


def test_without_a_real_spot_there_is_no_share_but_a_count() -> None:
    kept, invented = compare(
        make_image("first", "second"), make_image(), make_image(contrast="T1w")
    )
    assert math.isnan(kept)
    assert invented == 2


def test_what_is_dim_small_or_at_the_rim_is_no_spot() -> None:
    tissues = make_tissues()
    assert count(make_image("first")) == 1
    # White matter 0.2, grey 0.5: beyond 0.5, and the spot raises its surroundings a little.
    assert count(make_image("first", brightness=0.49)) == 0
    assert count(make_image("first", brightness=0.53)) == 1
    few = make_image()
    few[0, 0, 10, 10 : 10 + LEAST_VOXELS - 1] = 0.7
    assert count(few) == 0
    few[0, 0, 10, 10 + LEAST_VOXELS - 1] = 0.7
    assert count(few) == 1
    rim = make_image()
    rim[:, 0, 5:7, 5:20] = 0.7
    assert count(rim) == 0
    assert find_spots(make_image("first"), torch.full_like(tissues, 3), "T2w") is None


def test_a_slow_change_over_the_head_is_no_spot() -> None:
    ramp = torch.linspace(0.4, 2.4, SIZE).expand(SLICES, 1, SIZE, SIZE)
    shaded = make_image("first", "fourth", brightness=0.9) * ramp
    assert shaded[0, 0, 20, -7] > shaded[0, 0, 20, 3] * 1.2  # white there, grey here
    assert count(make_image() * ramp) == 0
    assert count(shaded) == 2


@pytest.mark.parametrize("contrast", ["T2w", "T1w"])
def test_an_image_of_the_other_contrast_keeps_nothing(contrast: str) -> None:
    other = "T1w" if contrast == "T2w" else "T2w"
    source, target = make_image("first", contrast=other), make_image("first", contrast=contrast)
    kept, invented = compare(source, target, source, contrast)
    assert kept == 0 and math.isnan(invented)
    plain = make_image(contrast=contrast)
    assert all(map(math.isnan, compare(source, plain, source, contrast)))  # nothing to keep
    assert all(map(math.isnan, compare(target, source, source, contrast)))  # no real target


def test_the_spots_are_those_of_scikit_image() -> None:
    tissues = make_tissues()
    noise = np.random.default_rng(0).normal(size=(SLICES, SIZE, SIZE))
    texture = torch.from_numpy(gaussian_filter(noise, 1.0))[:, None]
    image = make_image() + torch.where(tissues == 3, 1.5 * texture, 0)
    values, white = image[:, 0].numpy(), (tissues[:, 0] == 3).numpy()
    within = np.stack([erosion(each, disk(1)) for each in white]).astype(float)
    mean = np.stack([
        gaussian(each * part, 6, mode="reflect") / gaussian(part, 6, mode="reflect")
        for each, part in zip(values, within, strict=True)
    ])  # fmt: skip
    level = np.median(values[(tissues[:, 0] == 2).numpy()]) - np.median(values[white])
    inner = np.stack([erosion(erosion(each, disk(1)), disk(1)) for each in white])
    regions = regionprops(label(inner & (values - mean > level), connectivity=3))
    expected = sorted(region.area for region in regions if region.area >= LEAST_VOXELS)
    assert len(expected) > 3
    found = find_spots(image, tissues, "T2w")
    assert found is not None
    sizes = np.bincount(found.ravel())[1:]
    assert sorted(sizes[sizes > 0]) == expected
