"""Noise too weak to see ends a cycle that rests on a hidden code, and only such a cycle."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from scripts.evaluation.evaluator import CycleGanEvaluator
from scripts.evaluation.hidden_codes import HiddenCodeTest, reconstruct_with_noise
from torch import Tensor

HIDDEN = 1e-3  # amplitude of a code in the synthetic image


def make_evaluator(translate_back: Any) -> CycleGanEvaluator:
    return cast(CycleGanEvaluator, SimpleNamespace(apply=lambda _, images: translate_back(images)))


def make_fakes(real: Tensor) -> dict[str, Tensor]:
    """Flat images in which the real one hides."""
    return {"fake_t1w": HIDDEN * real, "fake_t2w": HIDDEN * real}


def reconstruct(
    evaluator: CycleGanEvaluator, fakes: dict[str, Tensor], sigma: float
) -> dict[str, Tensor]:
    test = HiddenCodeTest(sigma=sigma, slice_step=1, seed=4)
    rows = list(range(len(fakes["fake_t1w"])))
    return reconstruct_with_noise(evaluator, fakes, test, rows=rows)


def test_the_same_slices_of_a_volume_are_tested_however_batches_are_cut() -> None:
    test = HiddenCodeTest(sigma=0.01, slice_step=4, seed=0)
    for size in (1, 3, 8, 30):
        starts = range(0, 30, size)
        found = [
            start + row
            for start in starts
            for row in test.select_rows(start, min(size, 30 - start))
        ]
        assert found == list(range(0, 30, 4))


@pytest.fixture
def real() -> Tensor:
    return 2 * torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(1)) - 1


def test_a_code_is_read_without_noise_and_lost_with_it(real: Tensor) -> None:
    evaluator = make_evaluator(lambda images: images / HIDDEN)
    for sigma, low, high in ((0.0, 0.0, 1e-6), (0.01, 5.0, 20.0)):
        found = reconstruct(evaluator, make_fakes(real), sigma)
        error = (found["noisy_reconstructed_t1w"] - real).abs().mean()
        assert low <= float(error) <= high  # 0.01 / 0.001 is ten times the image


def test_an_honest_cycle_loses_no_more_than_the_noise(real: Tensor) -> None:
    evaluator = make_evaluator(lambda images: images)
    fakes = {"fake_t1w": real, "fake_t2w": real}
    found = reconstruct(evaluator, fakes, 0.01)
    assert float((found["noisy_reconstructed_t2w"] - real).std()) == pytest.approx(0.01, rel=0.1)


def test_the_noise_does_not_depend_on_how_batches_are_cut(real: Tensor) -> None:
    evaluator = make_evaluator(lambda images: images)

    def run(images: Tensor) -> Tensor:
        fakes = {"fake_t1w": images, "fake_t2w": images}
        found = reconstruct(evaluator, fakes, 0.1)
        return found["noisy_reconstructed_t1w"]

    torch.testing.assert_close(run(real), torch.cat([run(real[:1]), run(real[1:])]))


def test_each_contrast_is_translated_back_in_its_own_direction(real: Tensor) -> None:
    calls = []

    def apply(direction: str, images: Tensor) -> Tensor:
        calls.append((direction, float(images.mean())))
        return images

    evaluator = cast(CycleGanEvaluator, SimpleNamespace(apply=apply))
    fakes = {"fake_t1w": torch.ones_like(real), "fake_t2w": -torch.ones_like(real)}
    reconstruct(evaluator, fakes, 0.0)
    assert sorted(calls) == [("t1w_to_t2w", 1.0), ("t2w_to_t1w", -1.0)]
