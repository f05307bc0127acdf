"""Augmentation of what the discriminators see: each change alone, by hand; and its gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scripts.differentiable_augmentation import (
    DRAWS,
    DifferentiableAugmentation,
    make_differentiable_augmentation,
)
from torch import Tensor

NOTHING = {"brightness": 0.0, "contrast": 0.0, "translation": 0.0, "cutout": 0.0}


def augment(image: Tensor, draws: list[float], **amounts: float) -> Tensor:
    return DifferentiableAugmentation(**(NOTHING | amounts))(image, torch.tensor([draws]))


def make_image() -> Tensor:
    return torch.linspace(-1, 1, 64).view(1, 1, 8, 8)


def test_without_amounts_nothing_changes() -> None:
    image = make_image()
    torch.testing.assert_close(augment(image, [0.9] * DRAWS), image)


def test_brightness_is_added_and_contrast_is_about_the_mean() -> None:
    image = make_image()  # mean 0
    # draw 0.75: half of the way from 0 to the greatest
    torch.testing.assert_close(augment(image, [0.75, 0.5, 0, 0, 0, 0], brightness=0.4), image + 0.2)
    torch.testing.assert_close(augment(image, [0.5, 1.0, 0, 0, 0, 0], contrast=0.5), image * 1.5)


def test_a_translation_moves_whole_pixels_and_fills_with_background() -> None:
    image = make_image()
    # a quarter of 8: -2 to 2 in five steps; draw 0.99 is 2 (rows), draw 0.1 is -2 (columns)
    moved = augment(image, [0.5, 0.5, 0.99, 0.1, 0, 0], translation=0.25)
    expected = torch.full_like(image, -1.0)
    expected[..., :6, 2:] = image[..., 2:, :6]
    torch.testing.assert_close(moved, expected)


def test_a_cutout_sets_a_square_to_the_background() -> None:
    image = torch.ones(1, 1, 8, 8)
    # centre row 4, column 0; half a side of 2: rows 2 to 5, columns 0 and 1
    cut = augment(image, [0.5] * 4 + [0.5, 0.0], cutout=0.5)
    expected = image.clone()
    expected[..., 2:6, :2] = -1.0
    torch.testing.assert_close(cut, expected)


def test_each_image_is_changed_by_its_own_numbers() -> None:
    images = make_image().repeat(2, 1, 1, 1)
    draws = torch.rand(2, DRAWS, generator=torch.Generator().manual_seed(0))
    amounts = {"brightness": 0.2, "contrast": 0.3, "translation": 0.25, "cutout": 0.4}
    augmentation = DifferentiableAugmentation(**amounts)
    together = augmentation(images, draws)
    alone = torch.cat([augmentation(images[n : n + 1], draws[n : n + 1]) for n in range(2)])
    torch.testing.assert_close(together, alone)
    assert not torch.equal(together[0], together[1])


def test_gradients_are_those_of_finite_differences() -> None:
    image = make_image().double().requires_grad_()
    draws = torch.tensor([[0.2, 0.8, 0.9, 0.3, 0.6, 0.7]]).double()
    amounts = {"brightness": 0.2, "contrast": 0.3, "translation": 0.25, "cutout": 0.4}
    augmentation = DifferentiableAugmentation(**amounts)
    assert torch.autograd.gradcheck(lambda values: augmentation(values, draws), image)


@pytest.mark.parametrize(("enabled", "exists"), [(True, True), ("false", False), (False, False)])
def test_it_is_switched_by_one_option(enabled: Any, exists: bool) -> None:
    made = make_differentiable_augmentation(enabled=enabled, **NOTHING)
    assert (made is not None) == exists
