"""What known faults score on real T2w volumes, and how the earlier system's SSIM misleads."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from scipy.ndimage import gaussian_filter
from scripts.evaluation.baselines import apply_lookup_table, copy_source, fit_lookup_table
from scripts.evaluation.metrics import SubjectSums, earlier_system_psnr
from scripts.evaluation.slice_figures import slice_figures
from scripts.evaluation.structure import classify_tissues, gradient_agreement, tissue_order
from torch import Tensor
from torch.nn import functional

from tests.inference_config import parse_inference

FITTED, MEASURED = "sub-07", "sub-26"
MARGIN, CANVAS, MOST_ZEROS = 5, 128, 0.6  # of the earlier system's slices
DECIBELS, SIMILARITY = 3.0, 0.15  # twice or half the squared error; a sixth of black to perfect
EVERY = 3  # slices, for time


class Brain(NamedTuple):
    """Real slices (slices, 1, height, width) in [0, 1] of one subject, one in three.

    Attributes:
        t1w, t2w: on the network's grid, of the slices that touch the brain.
        mask: of both.
        canvas: T2w slices as the earlier system made them.
    """

    t1w: Tensor
    t2w: Tensor
    mask: Tensor
    canvas: Tensor


def stack_slices(volume: Tensor) -> Tensor:
    """From (1, x, y, slices) to (slices, 1, x, y)."""
    return torch.as_tensor(volume).permute(3, 0, 1, 2).contiguous()


def crop_as_the_earlier_system(slices: Tensor) -> Tensor:
    """Cut black borders up to a margin, stretch to the canvas, scale by each slice's maximum."""
    kept = []
    for image in slices[:, 0].clamp(min=0):
        rows, columns = (torch.nonzero(image.amax(dim=axis)).flatten() for axis in (1, 0))
        if len(rows) == 0:
            continue
        cut = tuple(
            slice(max(int(filled[0]) - MARGIN, 0), int(filled[-1]) + MARGIN + 1)
            for filled in (rows, columns)
        )
        if (image[cut] == 0).float().mean() < MOST_ZEROS:
            options = {"mode": "bilinear", "antialias": True}
            resized = functional.interpolate(image[cut][None, None], (CANVAS, CANVAS), **options)
            kept.append(resized[0] / resized.max())
    return torch.stack(kept)


def load_brain(folder: Path, subject: str) -> Brain:
    """Through the bundle's own preprocessing, without bias correction."""
    steps = parse_inference(brain_extraction="none", bias_correction=False)
    load, extract, to_network = (
        steps.get_parsed_content(name) for name in ("load_volume", "extract_brain", "to_network")
    )
    slices = {}
    for contrast in ("T1w", "T2w"):
        data = load({"image": str(folder / subject / "anat" / f"{subject}_{contrast}.nii.gz")})
        data = extract(data)
        slices["native"] = stack_slices(data["image"])
        data = to_network(data)
        slices[contrast] = (stack_slices(data["image"]) + 1) / 2
        slices[f"{contrast}_mask"] = stack_slices(data["brain_mask"]) > 0
    mask = slices["T1w_mask"] & slices["T2w_mask"]
    touched = torch.nonzero(mask.any(dim=3).any(dim=2).flatten()).flatten()[::EVERY]
    images = [(slices[name] * mask)[touched] for name in ("T1w", "T2w")]
    canvas = crop_as_the_earlier_system(slices["native"][::EVERY])
    return Brain(*images, mask[touched], canvas)


@pytest.fixture(scope="module")
def brains(shared_data: Path) -> dict[str, Brain]:
    return {name: load_brain(shared_data / "openms_mni", name) for name in (FITTED, MEASURED)}


def read(prediction: Tensor, target: Tensor) -> dict[str, float]:
    """The earlier system's figures of whole slices, its own way."""
    everywhere = torch.ones_like(target, dtype=torch.bool)
    figures = slice_figures(prediction, target, everywhere)
    return {name: float(figures[f"earlier_{name}"].mean()) for name in ("psnr", "ssim")}


@pytest.mark.parametrize("subject", [FITTED, MEASURED])
@pytest.mark.parametrize(
    ("shift", "psnr", "ssim"), [((0, 1), 23.4, 0.76), ((1, 0), 23.4, 0.76), ((2, 2), 17.7, 0.40)]
)
def test_a_shifted_t2w_by_the_earlier_figures(
    brains: dict[str, Brain], subject: str, shift: tuple[int, int], psnr: float, ssim: float
) -> None:
    canvas = brains[subject].canvas
    found = read(canvas.roll(shift, dims=(2, 3)), canvas)
    print(subject, shift, found)
    assert found["psnr"] == pytest.approx(psnr, abs=DECIBELS)
    assert found["ssim"] == pytest.approx(ssim, abs=SIMILARITY)


@pytest.mark.parametrize("subject", [FITTED, MEASURED])
def test_a_longer_shift_costs_no_more_decibels_than_a_straight_edge(
    brains: dict[str, Brain], subject: str
) -> None:
    """Differences grow at most as the length of the shift, here by the square root of 8."""
    canvas = brains[subject].canvas
    one, two = (read(canvas.roll(way, dims=(2, 3)), canvas)["psnr"] for way in ((0, 1), (2, 2)))
    assert 0 < one - two < 20 * math.log10(math.sqrt(8))


@pytest.mark.parametrize("subject", [FITTED, MEASURED])
def test_a_black_image_by_the_earlier_ssim_on_a_tight_and_on_a_padded_canvas(
    brains: dict[str, Brain], subject: str
) -> None:
    canvas = brains[subject].canvas
    padded = functional.pad(canvas, (CANVAS // 2,) * 4)
    tight, wide = (read(torch.zeros_like(each), each)["ssim"] for each in (canvas, padded))
    print(subject, tight, wide)
    assert tight == pytest.approx(0.37, abs=SIMILARITY)
    assert wide == pytest.approx(0.80, abs=SIMILARITY)
    three_quarters_black = (3 + tight) / 4
    assert wide == pytest.approx(three_quarters_black, abs=0.01)  # but for windows at the border


def test_padding_adds_six_decibels_to_an_unmasked_psnr_and_none_to_a_masked_one(
    brains: dict[str, Brain],
) -> None:
    brain, border = brains[MEASURED], (CANVAS // 2,) * 4
    tight = (brain.t1w, brain.t2w, brain.mask)
    padded = tuple(functional.pad(each, border) for each in tight)
    unmasked = [earlier_system_psnr(2 * t1w - 1, 2 * t2w - 1) for t1w, t2w, _ in (tight, padded)]
    added = unmasked[1] - unmasked[0]
    assert added == pytest.approx(10 * math.log10(4), abs=1e-9)
    before, after = (
        SubjectSums.from_slices(*each, data_range=1.0).psnr for each in (tight, padded)
    )
    assert after == pytest.approx(before, abs=1e-9)


@pytest.fixture(scope="module")
def predictions(brains: dict[str, Brain]) -> dict[str, Tensor]:
    """Images by name; the table is fitted to another subject."""
    fitted, brain = brains[FITTED], brains[MEASURED]
    table = fit_lookup_table(fitted.t1w, fitted.t2w, fitted.mask, bins=64)
    blurred = torch.from_numpy(gaussian_filter(brain.t2w.numpy(), (0, 0, 1, 1)))
    return {
        "copy": copy_source(brain.t1w, brain.mask),
        "shift": brain.t2w.roll((2, 2), dims=(2, 3)),
        "lookup": apply_lookup_table(brain.t1w, brain.mask, table=table),
        "blur": blurred * brain.mask,
        "real": brain.t2w,
    }


@pytest.fixture(scope="module")
def figures(
    brains: dict[str, Brain], predictions: dict[str, Tensor]
) -> dict[str, dict[str, float]]:
    """Masked figures on [0, 1] and the earlier ones, by the name of the image."""
    brain, table = brains[MEASURED], {}
    for name, image in predictions.items():
        sums = SubjectSums.from_slices(image, brain.t2w, brain.mask, data_range=1.0)
        earlier = read(image, brain.t2w)
        table[name] = {"ssim": sums.ssim, "psnr": sums.psnr, "earlier_ssim": earlier["ssim"]}
        print(name, table[name])
    return table


def test_masked_figures_rank_faults_by_their_size(figures: dict[str, dict[str, float]]) -> None:
    assert figures["real"] == pytest.approx({"ssim": 1, "psnr": math.inf, "earlier_ssim": 1})
    for figure in ("ssim", "psnr"):
        copy, shift, lookup, blur, real = (each[figure] for each in figures.values())
        assert copy < lookup < blur < real
        assert copy < shift < real


def test_the_earlier_ssim_would_have_misled(figures: dict[str, dict[str, float]]) -> None:
    """A copied T1w has the contrast reversed, which SSIM in the mask shows as less than nothing."""
    copy, shift = figures["copy"], figures["shift"]
    assert copy["ssim"] < 0
    assert copy["earlier_ssim"] > 0.67  # what the earlier system published for its best model
    assert copy["earlier_ssim"] > shift["earlier_ssim"]
    assert copy["ssim"] < shift["ssim"]


def test_structure_of_a_copy_agrees_though_its_tissues_have_the_wrong_order(
    brains: dict[str, Brain], predictions: dict[str, Tensor]
) -> None:
    brain = brains[MEASURED]
    classes = classify_tissues(brain.t1w, brain.mask)
    orders = {name: tissue_order(each, classes, "T2w") for name, each in predictions.items()}
    assert orders["copy"] == 0.0
    assert orders["real"] == orders["lookup"] == orders["blur"] == 1.0
    assert tissue_order(brain.t1w, classes, "T1w") == 1.0
    agreement = {
        name: gradient_agreement(brain.t1w, image, brain.mask, edge=0.1)
        for name, image in predictions.items()
    }
    print(agreement)
    assert agreement["copy"] > agreement["real"] > agreement["shift"]
    assert agreement["real"] > agreement["blur"]
