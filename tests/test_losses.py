"""The losses by hand, against NumPy and SciPy, and in half precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from scripts.losses import (
    adversarial_loss,
    cycle_consistency_loss,
    discriminator_loss,
    identity_loss,
    inversion_loss,
    mind_loss,
    ngf_loss,
    paired_loss,
    ssim_loss,
    structure_loss,
)
from scripts.networks import PatchDiscriminator, ResnetGenerator, initialise_weights
from skimage.metrics import structural_similarity
from torch import Tensor

MIND = {"distance": 2, "patch_radius": 1, "noise": 0.01}


def make_blobs(seed: int, *, batch: int = 2, size: int = 40) -> Tensor:
    """Smooth random images (batch, 1, size, size) in [-1, 1], as rich in edges as tissue is."""
    noise = np.random.default_rng(seed).standard_normal((batch, 1, size, size))
    smooth = ndimage.gaussian_filter(noise, sigma=(0, 0, 2, 2))
    return torch.from_numpy(smooth / np.abs(smooth).max()).float()


def make_ramp(slope_i: float, slope_j: float) -> Tensor:
    steps = torch.arange(12.0)
    return (slope_i * steps[:, None] + slope_j * steps)[None, None]


def make_full_mask(image: Tensor) -> Tensor:
    return torch.ones_like(image, dtype=torch.bool)


def test_adversarial_loss_is_the_mean_squared_distance_to_the_label() -> None:
    decision = torch.tensor([0.5, 1.0, -1.0])
    assert adversarial_loss(decision, is_real=True).item() == pytest.approx((0.25 + 0 + 4) / 3)
    assert adversarial_loss(decision, is_real=False).item() == pytest.approx((0.25 + 1 + 1) / 3)


def test_discriminator_loss_is_half_the_sum() -> None:
    loss = discriminator_loss(torch.tensor([0.0, 2.0]), torch.tensor([3.0]))
    assert loss.item() == pytest.approx(0.5 * (1 + 9))


@pytest.mark.parametrize("loss", [cycle_consistency_loss, identity_loss])
def test_cycle_and_identity_losses_are_mean_absolute_differences(loss) -> None:
    assert loss(torch.tensor([1.0, -1.0, 0.5]), torch.tensor([0.0, 1.0, 0.5])).item() == 1.0


def test_half_precision_is_widened_before_it_overflows() -> None:
    loss = adversarial_loss(torch.tensor([300.0], dtype=torch.float16), is_real=False)
    assert (loss.dtype, loss.item()) == (torch.float32, 90_000.0)
    brain = torch.full((64,), 0.1, dtype=torch.bfloat16)
    for difference in (cycle_consistency_loss, identity_loss):
        assert difference(brain, torch.zeros(64)).dtype == torch.float32
        assert difference(brain, torch.zeros(64)).item() == brain[0].item()


@torch.no_grad()
def make_step() -> dict[str, Tensor]:
    """Every image and decision of one step of the earlier system on a fixed batch."""
    sizes = {"in_channels": 1, "features": 4}
    layers = {"out_channels": 1, "blocks": 1, "upsampling": "transposed"}
    generators = [ResnetGenerator(**sizes, **layers) for _ in range(2)]
    judges = [
        PatchDiscriminator(**sizes, downsamplings=4, normalization="instance") for _ in range(2)
    ]
    for seed, network in enumerate(generators + judges):
        initialise_weights(network, standard_deviation=0.2, seed=seed)
    step = {"real_t1w": make_blobs(1, size=64), "real_t2w": make_blobs(2, size=64)}
    for source, target, there, back, judge in (
        ("t1w", "t2w", *generators, judges[0]),
        ("t2w", "t1w", *generators[::-1], judges[1]),
    ):
        step[f"fake_{target}"] = there(step[f"real_{source}"])
        step[f"reconstructed_{source}"] = back(step[f"fake_{target}"])
        step[f"identity_{source}"] = back(step[f"real_{source}"])
        step[f"decision_fake_{target}"] = judge(step[f"fake_{target}"])
        step[f"decision_real_{target}"] = judge(step[f"real_{target}"])
    return step


def compute_earlier_losses(step: dict[str, Tensor], contrast: str) -> tuple[float, float]:
    """The baseline's generator and discriminator loss of a contrast, in NumPy."""
    names = ("real", "reconstructed", "identity", "decision_real", "decision_fake")
    real, reconstructed, identity, judged_real, judged_fake = (
        step[f"{name}_{contrast}"].double().numpy() for name in names
    )
    cycle, same = np.abs(reconstructed - real).mean(), np.abs(identity - real).mean()
    generator = ((judged_fake - 1) ** 2).mean() + 10 * cycle + 0.1 * same
    return generator, 0.5 * (((judged_real - 1) ** 2).mean() + (judged_fake**2).mean())


@pytest.mark.parametrize("contrast", ["t1w", "t2w"])
def test_baseline_losses_on_a_fixed_batch_equal_those_computed_in_numpy(contrast: str) -> None:
    step = make_step()
    real, judged_fake = step[f"real_{contrast}"], step[f"decision_fake_{contrast}"]
    generator = (
        adversarial_loss(judged_fake, is_real=True)
        + 10 * cycle_consistency_loss(step[f"reconstructed_{contrast}"], real)
        + 0.1 * identity_loss(step[f"identity_{contrast}"], real)
    )
    discriminator = discriminator_loss(step[f"decision_real_{contrast}"], judged_fake)
    expected = compute_earlier_losses(step, contrast)
    assert [generator.item(), discriminator.item()] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_ngf_of_parallel_ramps_by_hand(sign: int) -> None:
    ramp = make_ramp(0.0, 0.3)
    loss = ngf_loss(ramp, sign * ramp, edge=0.4, mask=make_full_mask(ramp))
    inside, border = 1 - (0.09 / 0.25) ** 2, 1 - (0.0225 / 0.1825) ** 2  # half the slope at edges
    assert loss.item() == pytest.approx((10 * inside + 2 * border) / 12)


@pytest.mark.parametrize("other", [make_ramp(0.3, 0.0), torch.full((1, 1, 12, 12), 0.2)])
def test_ngf_of_a_ramp_with_a_crossing_or_no_edge_is_one(other: Tensor) -> None:
    ramp = make_ramp(0.0, 0.3)
    assert ngf_loss(ramp, other, edge=0.1, mask=make_full_mask(ramp)).item() == 1.0


def test_ngf_equals_numpys_gradients_inside_the_mask() -> None:
    source, synthetic = make_blobs(1), make_blobs(2)
    mask = torch.zeros_like(source, dtype=torch.bool)
    mask[..., 9:30, 11:33] = True
    u, v = (
        np.stack(np.gradient(each.double().numpy(), axis=(2, 3))) for each in (source, synthetic)
    )
    product, norms = (u * v).sum(0), ((u**2).sum(0) + 0.01) * ((v**2).sum(0) + 0.01)
    expected = (1 - product**2 / norms)[..., 10:29, 12:32].mean()
    assert ngf_loss(source, synthetic, edge=0.1, mask=mask).item() == pytest.approx(
        expected, rel=1e-5
    )


def compute_mind_in_scipy(image: np.ndarray, distance: int, patch: int, noise: float) -> np.ndarray:
    distances = []
    for axis in (0, 1):
        for step in (-distance, distance):
            offset = np.roll([step, 0], axis)
            moved = ndimage.shift(image, offset, order=0, mode="nearest")
            distances.append(ndimage.uniform_filter((image - moved) ** 2, patch, mode="nearest"))
    mind = np.exp(-np.array(distances) / np.maximum(np.mean(distances, axis=0), noise**2))
    return mind / mind.max(axis=0)


def test_mind_equals_scipys_patches_inside_the_mask() -> None:
    source, synthetic = make_blobs(1, batch=1), make_blobs(2, batch=1)
    mask = torch.zeros_like(source, dtype=torch.bool)
    mask[..., 2:30, 11:] = True
    a, b = (
        compute_mind_in_scipy(each[0, 0].double().numpy(), 2, 3, 0.3)
        for each in (source, synthetic)
    )
    expected = np.abs(a - b)[:, 4:28, 13:].mean()
    loss = mind_loss(source, synthetic, distance=2, patch_radius=1, noise=0.3, mask=mask)
    assert loss.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("gain", "offset"), [(-1.0, 0.0), (0.5, 0.3), (-0.7, -0.2)])
def test_mind_does_not_change_with_contrast(gain: float, offset: float) -> None:
    image = make_blobs(1)
    other = gain * image + offset
    loss = mind_loss(
        image, other, mask=make_full_mask(image), distance=2, patch_radius=1, noise=1e-6
    )
    assert loss.item() < 1e-5


@pytest.mark.parametrize(("method", "options"), [("ngf", {"edge": 0.02}), ("mind", MIND)])
def test_structure_is_nearest_where_the_images_lie_on_each_other(
    method: str, options: dict
) -> None:
    image = make_blobs(3)
    mask = make_full_mask(image)
    losses = {
        shift: structure_loss(
            image, -image.roll(shift, dims=2), mask=mask, method=method, **options
        )
        for shift in (-3, -2, -1, 0, 1, 2, 3)
    }
    assert min(losses, key=losses.get) == 0


@pytest.mark.parametrize(("method", "options"), [("ngf", {"edge": 0.02}), ("mind", MIND)])
class TestEveryStructureLoss:
    def test_ignores_what_lies_outside_the_mask(self, method: str, options: dict) -> None:
        source, synthetic = make_blobs(1), make_blobs(2)
        mask = torch.zeros_like(source, dtype=torch.bool)
        mask[..., 10:30, 10:30] = True
        changed = synthetic.clone()
        changed[..., 32:, :] = 1.0
        before, after = (
            structure_loss(source, each, mask=mask, method=method, **options)
            for each in (synthetic, changed)
        )
        assert torch.equal(before, after)

    def test_has_finite_gradients_on_a_flat_image(self, method: str, options: dict) -> None:
        flat = torch.zeros(1, 1, 16, 16, requires_grad=True)
        source = make_blobs(1, batch=1, size=16)
        loss = structure_loss(source, flat, mask=make_full_mask(source), method=method, **options)
        loss.backward()
        assert flat.grad.isfinite().all()

    def test_is_zero_in_an_empty_mask(self, method: str, options: dict) -> None:
        image = make_blobs(1)
        mask = torch.zeros_like(image, dtype=torch.bool)
        assert structure_loss(image, image, mask=mask, method=method, **options).item() == 0

    def test_shares_one_mask_among_neighbouring_slices(self, method: str, options: dict) -> None:
        source, synthetic = make_blobs(1, batch=3), make_blobs(2, batch=3)
        mask = make_full_mask(source[:1])
        apart = structure_loss(
            source, synthetic, mask=make_full_mask(source), method=method, **options
        )
        joined = structure_loss(
            source.view(1, 3, 40, 40),
            synthetic.view(1, 3, 40, 40),
            mask=mask,
            method=method,
            **options,
        )
        torch.testing.assert_close(joined, apart)

    def test_is_computed_in_single_precision_of_half_with_and_without_autocast(
        self, method: str, options: dict
    ) -> None:
        source, synthetic = make_blobs(1).bfloat16(), make_blobs(2).bfloat16()
        mask = make_full_mask(source)
        expected = structure_loss(
            source.float(), synthetic.float(), mask=mask, method=method, **options
        )
        for enabled in (False, True):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
                loss = structure_loss(source, synthetic, mask=mask, method=method, **options)
            assert torch.equal(loss, expected)


def test_an_unknown_structure_loss_is_named() -> None:
    image = make_blobs(1)
    with pytest.raises(ValueError, match=r"'ssim'.*\['mind', 'ngf'\]"):
        structure_loss(image, image, mask=make_full_mask(image), method="ssim")
    with pytest.raises(TypeError, match="edges"):
        structure_loss(image, image, mask=make_full_mask(image), method="ngf", edges=0.1)


def test_inversion_exchanges_dark_and_bright_inside_the_brain_alone() -> None:
    source = torch.tensor([[[[-1.0, 0.2], [-0.6, 0.9]]]])
    mask = torch.tensor([[[[False, True], [True, True]]]])
    inverted = torch.tensor([[[[-1.0, -0.2], [0.6, -0.9]]]])
    assert inversion_loss(inverted, source, mask=mask).item() == 0
    # a copy: differences 0, 0.4, 1.2 and 1.8, mean 0.85
    assert inversion_loss(source, source, mask=mask).item() == pytest.approx(0.85)


def test_paired_loss_counts_what_is_known() -> None:
    real = torch.tensor([[[[0.0, 0.5], [1.0, -1.0]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    known = torch.tensor([[[[True, True], [False, True]]], [[[True, False], [False, False]]]])
    synthetic = torch.zeros_like(real)
    # (0 + 0.5 + 1) / 3 and 0 / 1, mean 0.25
    assert paired_loss(synthetic, real, known=known).item() == pytest.approx(0.25)


def test_ssim_loss_is_that_of_scikit_image_inside_the_brain() -> None:
    real, synthetic = make_blobs(1), make_blobs(2)
    mask = make_blobs(3) > 0
    each = []
    for slices in zip(real[:, 0].numpy(), synthetic[:, 0].numpy(), mask[:, 0].numpy(), strict=True):
        both = [(part.astype(float) + 1) / 2 for part in slices[:2]]
        _, similarity = structural_similarity(
            *both, data_range=1, gaussian_weights=True, use_sample_covariance=False, full=True
        )
        each.append(1 - similarity[slices[2]].mean())
    loss = ssim_loss(synthetic, real, mask=mask)
    assert loss.item() == pytest.approx(np.mean(each), abs=1e-6)
    assert loss.dtype == real.dtype


def test_ssim_loss_is_computed_in_single_precision_of_half() -> None:
    generator = torch.Generator().manual_seed(4)
    images = [(2 * torch.rand(1, 3, 24, 24, generator=generator) - 1).bfloat16() for _ in range(2)]
    mask = torch.ones(1, 1, 24, 24, dtype=torch.bool)
    expected = ssim_loss(*(image.float() for image in images), mask=mask)
    assert torch.equal(ssim_loss(*images, mask=mask), expected)


def test_ssim_loss_pays_for_contrast_where_the_distance_does_not() -> None:
    real = make_blobs(1)
    flattened, doubtful = 0.5 * real, real + 0.5 * real.abs().mean() * real.sign()
    mask = make_full_mask(real)
    distances = [paired_loss(image, real, known=mask) for image in (flattened, doubtful)]
    torch.testing.assert_close(*distances)
    assert ssim_loss(flattened, real, mask=mask) > 1.2 * ssim_loss(doubtful, real, mask=mask)
