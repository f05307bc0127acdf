"""Contrastive comparison of patches, against values worked out by hand and by cross_entropy."""

from __future__ import annotations

import math

import pytest
import torch
from scripts.cyclegan import Generators
from scripts.networks import ResnetGenerator, initialise_weights
from scripts.patch_contrast import PatchContrast, compute_contrast, make_patch_contrast
from torch import Tensor
from torch.nn import functional

OPTIONS = {"features": 4, "width": 8, "stride": 8, "temperature": 0.07}


@pytest.fixture(scope="module")
def generators() -> Generators:
    sizes = {"in_channels": 1, "out_channels": 1, "features": 4, "blocks": 1}
    ways = (
        initialise_weights(
            ResnetGenerator(**sizes, upsampling="resize"), standard_deviation=0.1, seed=seed
        )
        for seed in (0, 1)
    )
    return Generators(*ways)


def make_contrast(seed: int = 3) -> PatchContrast:
    contrast = make_patch_contrast(weight=1.0, seed=seed, device="cpu", **OPTIONS)
    assert contrast is not None
    return contrast


def draw_image(seed: int) -> Tensor:
    noise = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(seed))
    return functional.avg_pool2d(noise, 5, stride=1, padding=2) * 2 - 1


def test_two_places_cost_what_is_worked_out_by_hand() -> None:
    # own similarity 1, the other's 0, temperature 0.5: log(e^2 + e^0) - 2 = 0.126928
    vectors = torch.eye(2)[None]
    inside = torch.ones(1, 2, dtype=torch.bool)
    loss = compute_contrast(vectors, vectors, inside, 0.5)
    assert loss.item() == pytest.approx(0.126928, abs=1e-6)


def test_it_is_the_cross_entropy_of_finding_each_place_again() -> None:
    random = torch.Generator().manual_seed(0)
    query, key = (
        functional.normalize(torch.randn(3, 16, 8, generator=random), dim=-1) for _ in range(2)
    )
    inside = torch.ones(3, 16, dtype=torch.bool)
    expected = functional.cross_entropy(
        (query @ key.transpose(1, 2) / 0.07).flatten(0, 1), torch.arange(16).repeat(3)
    )
    torch.testing.assert_close(compute_contrast(query, key, inside, 0.07), expected)


def test_places_outside_the_brain_neither_ask_nor_answer() -> None:
    random = torch.Generator().manual_seed(0)
    query, key = (
        functional.normalize(torch.randn(1, 6, 8, generator=random), dim=-1) for _ in range(2)
    )
    inside = torch.tensor([[True, True, True, True, False, False]])
    alone = compute_contrast(query[:, :4], key[:, :4], inside[:, :4], 0.1)
    torch.testing.assert_close(compute_contrast(query, key, inside, 0.1), alone)
    assert compute_contrast(query, key, torch.zeros_like(inside), 0.1).item() == 0


def test_a_shifted_fake_costs_more_than_one_in_place(generators: Generators) -> None:
    contrast, image, mask = make_contrast(), draw_image(0), torch.ones(2, 1, 64, 64)
    in_place, shifted = (
        contrast(generators, image, fake, mask, "t2w") for fake in (image, image.roll(16, dims=2))
    )
    # 64 places: a guess costs log 64
    assert in_place < 0.8 * math.log(64) < shifted


def test_gradients_reach_the_fake_the_encoder_and_the_heads_of_its_contrast(
    generators: Generators,
) -> None:
    contrast, source = make_contrast(), draw_image(0).requires_grad_()
    fake = draw_image(1).requires_grad_()
    contrast(generators, source, fake, torch.ones(2, 1, 64, 64), "t1w").backward()
    assert fake.grad is not None
    assert source.grad is None
    assert all(each.grad is not None for each in contrast.heads["t1w"].parameters())
    assert all(each.grad is None for each in contrast.heads["t2w"].parameters())
    assert generators.t2w_to_t1w.encoder[0].weight.grad is not None
    assert generators.t1w_to_t2w.encoder[0].weight.grad is None


def test_heads_learn_in_bf16_also_where_autocast_keeps_what_it_cast_first(
    generators: Generators,
) -> None:
    """The first call casts the weights, so that it is to be the one that learns."""
    contrast, learns = make_contrast(), []
    heads = contrast.heads["t1w"]
    for head in heads:
        head.register_forward_pre_hook(lambda *_: learns.append(torch.is_grad_enabled()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = contrast(generators, draw_image(0), draw_image(1), torch.ones(2, 1, 64, 64), "t1w")
    loss.backward()
    assert learns == [True] * 3 + [False] * 3  # of three stages
    weights = [each for name, each in heads.named_parameters() if name.endswith("weight")]
    assert all(weight.grad is not None and weight.grad.any() for weight in weights)


def test_a_seed_gives_the_same_heads() -> None:
    first, second, third = (list(make_contrast(seed).parameters()) for seed in (3, 3, 4))
    assert all(torch.equal(*both) for both in zip(first, second, strict=True))
    assert not torch.equal(first[0], third[0])


@pytest.mark.parametrize(("weight", "exists"), [(0, False), ([[1, 0], [5, 1]], True), (0.5, True)])
def test_heads_exist_where_their_weight_is_above_0_at_any_time(
    weight: object, exists: bool
) -> None:
    contrast = make_patch_contrast(weight=weight, seed=0, device="cpu", **OPTIONS)
    assert (contrast is not None) == exists


def test_a_stride_that_the_encoder_does_not_have_is_an_error() -> None:
    with pytest.raises(ValueError, match="stride is 6; expected a multiple of 4"):
        PatchContrast(**(OPTIONS | {"stride": 6}))
