"""Agreement of edges by hand and against NumPy; tissue classes and the order of their means."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion, gaussian_filter
from scripts.evaluation.structure import (
    classify_tissues,
    gradient_agreement,
    tissue_means,
    tissue_order,
)
from torch import Tensor

EDGE = 0.1
CSF, GM, WM = 0.2, 0.5, 0.8  # means of the simulated T1w


def make_ramp(slope: float, *, axis: int, size: int = 12) -> Tensor:
    """Image that grows by `slope` a pixel along an axis."""
    ramp = 0.05 + slope * torch.arange(size, dtype=torch.float32)
    shape = [1, 1, 1, 1]
    shape[axis] = size
    return ramp.view(shape).expand(1, 1, size, size)


def make_texture(seed: int, slices: int = 3, size: int = 32) -> Tensor:
    noise = np.random.default_rng(seed).normal(size=(slices, 1, size, size))
    smooth = gaussian_filter(noise, (0, 0, 1.5, 1.5))
    return torch.from_numpy((smooth - smooth.min()) / np.ptp(smooth)).float()


def make_disc(slices: int = 3, size: int = 32) -> Tensor:
    steps = torch.arange(size) - size / 2
    disc = steps[:, None].square() + steps.square() < (0.4 * size) ** 2
    return disc.expand(slices, 1, size, size)


def compute_agreement_in_numpy(first: Tensor, second: Tensor, mask: Tensor) -> float:
    """Squared cosine of the normalised gradients, on [-1, 1], in the mask's interior."""
    fields = []
    for image in (first, second):
        field = np.stack(np.gradient(2 * image[:, 0].double().numpy() - 1, axis=(1, 2)))
        fields.append(field / np.sqrt((field**2).sum(axis=0) + EDGE**2))
    squared_cosine = (fields[0] * fields[1]).sum(axis=0) ** 2
    interior = [binary_erosion(each, np.ones((3, 3))) for each in mask[:, 0].numpy()]
    return float(squared_cosine[np.stack(interior)].mean())


@pytest.mark.parametrize("sign", [1, -1])
def test_parallel_ramps_by_hand_whatever_the_sign(sign: int) -> None:
    source = make_ramp(0.02, axis=3)
    synthetic = make_ramp(0.05, axis=3)
    if sign < 0:
        synthetic = 1 - synthetic
    mask = torch.ones_like(source, dtype=torch.bool)
    mask[..., [0, -1]] = False
    first, second = (2 * 0.02) ** 2, (2 * 0.05) ** 2  # squared gradients on [-1, 1]
    expected = first * second / ((first + EDGE**2) * (second + EDGE**2))
    found = gradient_agreement(source, synthetic, mask, edge=EDGE)
    assert found == pytest.approx(expected, rel=1e-4)


def test_perpendicular_ramps_and_flat_images_do_not_agree() -> None:
    ramp = make_ramp(0.02, axis=3)
    mask = torch.ones_like(ramp, dtype=torch.bool)
    others = (make_ramp(0.02, axis=2), torch.full_like(ramp, 0.5))
    found = [gradient_agreement(ramp, other, mask, edge=EDGE) for other in others]
    assert found == pytest.approx([0, 0], abs=1e-6)


def test_slices_whose_mask_has_no_interior_do_not_count() -> None:
    image, mask = make_texture(0), make_disc().clone()
    expected = gradient_agreement(image[1:], image[1:], mask[1:], edge=EDGE)
    mask[0] = False
    mask[0, :, 5:7, 5:7] = True
    flat = torch.full_like(image, 0.5)
    assert gradient_agreement(image, flat, mask, edge=EDGE) == pytest.approx(0, abs=1e-6)
    found = gradient_agreement(image, image, mask, edge=EDGE)
    assert found == pytest.approx(expected, abs=1e-6)


def test_agreement_equals_numpys_gradients() -> None:
    mask = make_disc()
    first, second = (make_texture(seed) * mask for seed in (0, 1))
    expected = compute_agreement_in_numpy(first, second, mask)
    found = gradient_agreement(first, second, mask, edge=EDGE)
    assert found == pytest.approx(expected, abs=1e-5)


def test_inverted_contrast_keeps_all_and_a_shift_loses_agreement() -> None:
    image, mask = make_texture(0), make_disc()
    whole = gradient_agreement(image, image, mask, edge=0.01)
    assert whole > 0.8
    assert gradient_agreement(image, 1 - image, mask, edge=0.01) == pytest.approx(whole, abs=1e-6)
    assert gradient_agreement(image, image.roll(3, dims=3), mask, edge=0.01) < 0.7 * whole


def test_a_mask_without_an_interior_is_refused() -> None:
    image = make_texture(0)
    line = torch.zeros_like(image, dtype=torch.bool)
    line[:, :, 5] = True
    with pytest.raises(ValueError, match="no voxel whose neighbours lie in it"):
        gradient_agreement(image, image, line, edge=EDGE)


def test_network_range_and_other_grids_are_refused() -> None:
    image, mask = make_texture(0), make_disc()
    with pytest.raises(ValueError, match=r"The synthetic lies in \[-1"):
        gradient_agreement(image, 2 * image - 1, mask, edge=EDGE)
    with pytest.raises(ValueError, match=r"\(2, 1, 32, 32\) of the synthetic"):
        gradient_agreement(image, image[:2], mask, edge=EDGE)


def make_tissues(spread: float) -> tuple[Tensor, Tensor, Tensor]:
    """T1w, mask and truth: three noisy tissues in stripes of unequal width inside a disc."""
    mask = make_disc(slices=2)
    truth = torch.full(mask.shape, 3, dtype=torch.uint8)
    truth[..., :9] = 1
    truth[..., 9:18] = 2
    truth = truth.where(mask, 0)
    means = torch.tensor([0.0, CSF, GM, WM])[truth.long()]
    noise = spread * torch.randn(mask.shape, generator=torch.Generator().manual_seed(0))
    return (means + noise).clamp(0, 1) * mask, mask, truth


def test_clusters_of_separate_tissues_are_the_truth() -> None:
    t1w, mask, truth = make_tissues(spread=0.02)
    classes = classify_tissues(t1w, mask)
    assert classes.dtype == torch.uint8
    assert torch.equal(classes, truth)


def test_every_voxel_is_in_the_class_of_the_nearest_mean() -> None:
    t1w, mask, _ = make_tissues(spread=0.1)
    classes = classify_tissues(t1w, mask)
    values, numbers = t1w[mask].numpy(), classes[mask].numpy()
    means = np.array([values[numbers == number].mean() for number in (1, 2, 3)])
    nearest = np.abs(values[:, None] - means).argmin(axis=1) + 1
    assert (nearest != numbers).mean() < 0.01  # SciPy stops where means move by less than 1e-5


def test_clusters_do_not_depend_on_the_order_of_voxels() -> None:
    t1w, mask, _ = make_tissues(spread=0.1)
    turned = classify_tissues(t1w.flip(0, 3), mask.flip(0, 3)).flip(0, 3)
    assert torch.equal(turned, classify_tissues(t1w, mask))


def test_truth_is_taken_inside_the_mask_whatever_the_t1w_shows() -> None:
    t1w, mask, truth = make_tissues(spread=0.5)
    labels = truth.clone()
    labels[0, 0, 0, 0] = 3
    assert torch.equal(classify_tissues(t1w, mask, labels), truth)


def test_a_t1w_of_two_intensities_and_an_empty_mask_are_refused() -> None:
    t1w, mask, _ = make_tissues(spread=0.0)
    flat = torch.where(t1w > GM, 0.8, 0.2) * mask
    with pytest.raises(ValueError, match="falls into 2 classes"):
        classify_tissues(flat, mask)
    with pytest.raises(ValueError, match="is empty"):
        classify_tissues(t1w, torch.zeros_like(mask))


def make_row(*values: float) -> Tensor:
    return torch.tensor(values).view(1, 1, 1, -1)


CLASSES_OF_ROW = make_row(1, 1, 2, 3, 0).to(torch.uint8)


def test_means_by_hand() -> None:
    means = tissue_means(make_row(0.75, 0.25, 0.375, 0.125, 1.0), CLASSES_OF_ROW)
    assert means == {"csf": 0.5, "gm": 0.375, "wm": 0.125}


@pytest.mark.parametrize(
    ("means", "t2w", "t1w"),
    [
        ((0.9, 0.5, 0.2), 1.0, 0.0),
        ((0.2, 0.5, 0.9), 0.0, 1.0),
        ((0.9, 0.2, 0.5), 0.0, 0.0),
        ((0.5, 0.9, 0.2), 0.0, 0.0),
        ((0.5, 0.5, 0.2), 0.0, 0.0),
        ((0.5, 0.5, 0.5), 0.0, 0.0),
    ],
)
def test_order_of_the_means(means: tuple[float, ...], t2w: float, t1w: float) -> None:
    csf, gm, wm = means
    image = make_row(csf, csf, gm, wm, 0)
    assert tissue_order(image, CLASSES_OF_ROW, "T2w") == t2w
    assert tissue_order(image, CLASSES_OF_ROW, "T1w") == t1w


def test_a_missing_tissue_has_no_order() -> None:
    classes = CLASSES_OF_ROW.clone()
    classes[classes == 3] = 2
    assert math.isnan(tissue_order(make_row(0.9, 0.9, 0.5, 0.2, 0), classes, "T2w"))


def test_an_unknown_contrast_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'FLAIR'; expected one of \['T1w', 'T2w'\]"):
        tissue_order(CLASSES_OF_ROW.float(), CLASSES_OF_ROW, "FLAIR")
