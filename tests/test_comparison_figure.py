"""Figures: the right pixels at the right place, the same scale for all, clear errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from matplotlib import image as mpl_image
from matplotlib.figure import Figure
from scripts.inference.side_car import read_scale_and_mask
from scripts.report import comparison_figure
from scripts.report.comparison_figure import (
    MAX_ERROR,
    compute_error,
    plot_comparison,
    save_comparison_figure,
    save_comparison_from_nifti,
    scale_by_percentiles,
    select_display_slices,
)
from scripts.report.training_curves import group_by_quantity, load_scalars, save_training_curves
from torch.utils.tensorboard import SummaryWriter

SHAPE = (9, 20, 24)  # (slice, i, j)


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2:7, 6:14, 6:18] = True
    return mask


@pytest.fixture
def arrays(mask: np.ndarray) -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    t1w, t2w = (random.uniform(0, 1, SHAPE) * mask for _ in range(2))
    return {"real_t1w": t1w, "real_t2w": t2w, "synthetic_t2w": t2w.copy()}


def test_a_perfect_synthetic_image_has_an_error_of_zero_everywhere(
    arrays: dict[str, np.ndarray], mask: np.ndarray
) -> None:
    figure = plot_comparison(arrays, mask=mask, label="x", pixel_aspect=1.0)
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 3 * 4
    for row in range(3):
        real, synthetic, error = (panels[4 * row + k].images[0].get_array() for k in (1, 2, 3))
        assert np.array_equal(real, synthetic)
        assert real.max() > 0.5
        assert error.max() == 0


def test_the_error_is_the_absolute_difference_inside_the_mask_only(mask: np.ndarray) -> None:
    real, synthetic = np.full(SHAPE, 0.25), np.full(SHAPE, 0.75)
    error = compute_error(real, synthetic, mask)
    assert np.array_equal(error, np.where(mask, 0.5, 0.0))
    assert np.array_equal(error, compute_error(synthetic, real, mask))


def test_images_are_grey_from_0_to_1_and_errors_have_one_scale_in_all_figures(
    arrays: dict[str, np.ndarray], mask: np.ndarray
) -> None:
    figure = plot_comparison(arrays, mask=mask, label="x", pixel_aspect=1.0)
    limits = [axes.images[0].get_clim() for axes in figure.axes if axes.images]
    assert limits == [(0, 1), (0, 1), (0, 1), (0, MAX_ERROR)] * 3


def test_the_front_is_at_the_top_and_the_right_on_the_right(mask: np.ndarray) -> None:
    image = np.zeros(SHAPE)
    image[:, 13, 17] = 1.0  # the right front corner of the mask
    arrays = {"real T1w": image, "real T2w": image, "synthetic T2w": image}
    figure = plot_comparison(arrays, mask=mask, label="x", pixel_aspect=1.0)
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert shown.shape == (12 + 2 * 4, 8 + 2 * 4)  # cut to the mask with a margin of 4
    assert np.argwhere(shown).tolist() == [[4, 11]]


def test_slices_are_chosen_inside_the_brain_from_the_top_down(mask: np.ndarray) -> None:
    # the brain is in 2 to 6: 35 %, 55 % and 75 % of four steps are 1.4, 2.2 and 3 steps
    assert select_display_slices(mask) == [5, 4, 3]
    one = np.zeros(SHAPE, dtype=bool)
    one[7, 3, 3] = True
    assert select_display_slices(one) == [7]
    with pytest.raises(ValueError, match="no slice of the mask"):
        select_display_slices(np.zeros(SHAPE, dtype=bool))


def test_the_figure_is_written_and_the_error_of_a_perfect_image_is_black(
    tmp_path: Path, arrays: dict[str, np.ndarray], mask: np.ndarray
) -> None:
    before = {name: array.copy() for name, array in arrays.items()}
    path = save_comparison_figure(tmp_path / "new" / "a.png", **arrays, mask=mask, label="sub-01")
    assert all(np.array_equal(arrays[name], array) for name, array in before.items())
    picture = mpl_image.imread(path)[..., :3]
    height, width = picture.shape[:2]
    fourth = picture[height // 4 :, int(width * 0.70) : int(width * 0.84)]
    second = picture[height // 4 :, int(width * 0.25) : int(width * 0.45)]
    assert fourth.max() < 0.05  # the lowest colour of the error's scale is nearly black
    assert second.max() > 0.8


def test_arrays_of_different_shapes_are_refused_with_their_shapes(
    tmp_path: Path, arrays: dict[str, np.ndarray], mask: np.ndarray
) -> None:
    arrays["synthetic_t2w"] = arrays["synthetic_t2w"][:, :10]
    with pytest.raises(ValueError, match=r"real T2w \(9, 20, 24\), synthetic T2w \(9, 10, 24\)"):
        save_comparison_figure(tmp_path / "a.png", **arrays, mask=mask, label="x")


def test_percentiles_are_those_inside_the_mask(mask: np.ndarray) -> None:
    volume = np.full(SHAPE, 5000.0)  # a bright skull outside
    volume[mask] = np.linspace(0, 1000, mask.sum())  # percentiles 5 and 995
    scaled = scale_by_percentiles(volume, mask)
    assert scaled[mask][[0, -1]].tolist() == [0, 1]
    middle = mask.sum() // 2
    assert scaled[mask][middle] == pytest.approx((volume[mask][middle] - 5) / 990)


def save_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(array.astype(np.float32), affine), path)
    return path


@pytest.fixture
def volumes(tmp_path: Path, arrays: dict[str, np.ndarray], mask: np.ndarray) -> dict[str, Path]:
    # stored from right to left: the figure must not depend on how a file is stored
    affine = np.array([[-1.0, 0, 0, 9], [0, 1, 0, -9], [0, 0, 3, -5], [0, 0, 0, 1]])
    named = {
        "t1w": arrays["real_t1w"],
        "t2w": arrays["real_t2w"],
        "synthetic": arrays["synthetic_t2w"],
        "brain_mask": mask,
    }
    return {
        name: save_nifti(tmp_path / f"{name}.nii.gz", np.moveaxis(array, 0, 2)[::-1], affine)
        for name, array in named.items()
    }


def test_a_figure_is_made_from_three_volumes_on_one_grid(
    tmp_path: Path, volumes: dict[str, Path]
) -> None:
    path = save_comparison_from_nifti(
        tmp_path / "a.png", **volumes, synthetic_range=(0, 1), label="sub-01"
    )
    assert mpl_image.imread(path).max() > 0.9


def test_a_weak_contrast_and_missing_tissue_of_a_synthetic_volume_are_errors(
    tmp_path: Path, volumes: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scaled by its own percentiles, and masked by where it is not zero, it would look perfect."""
    seen: dict[str, Any] = {}

    def plot(arrays: dict[str, np.ndarray], *, mask: np.ndarray, **_: Any) -> Figure:
        seen.update(arrays, mask=mask)
        return Figure()

    monkeypatch.setattr(comparison_figure, "plot_comparison", plot)
    real = nib.load(volumes["t2w"])
    weak = 250 * real.get_fdata()
    weak[10:, 10:] = 0
    save_nifti(volumes["synthetic"], weak, real.affine)
    save_comparison_from_nifti(
        tmp_path / "a.png", **volumes, synthetic_range=(0, 1000), label="sub-01"
    )
    brain = nib.as_closest_canonical(nib.load(volumes["brain_mask"])).get_fdata() > 0
    assert np.array_equal(seen["mask"], np.moveaxis(brain, 2, 0))
    assert seen["synthetic T2w"].max() <= 0.25
    assert seen["real T2w"].max() == 1


def test_a_synthetic_volume_says_its_scale_and_which_mask_is_its_own(tmp_path: Path) -> None:
    volume = tmp_path / "sub-01_space-T1w_desc-synthetic_T2w.nii.gz"
    with pytest.raises(FileNotFoundError, match="synthetic_T2w.json: missing"):
        read_scale_and_mask(volume)
    content = {"Sources": ["anat/sub-01_T1w.nii.gz"], "SyntheticDirection": "t1w_to_t2w"}
    side_car = tmp_path / "sub-01_space-T1w_desc-synthetic_T2w.json"
    side_car.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="found KeyError.*expected a side-car of inference"):
        read_scale_and_mask(volume)
    content["Parameters"] = {"intensities": {"range": [10, 900]}}
    side_car.write_text(json.dumps(content))
    mask = tmp_path / "sub-01_space-T1w_desc-brain_mask.nii.gz"
    with pytest.raises(FileNotFoundError, match="brain_mask.nii.gz: missing. Run inference anew"):
        read_scale_and_mask(volume)
    mask.touch()
    assert read_scale_and_mask(volume) == ((10, 900), mask)


def test_volumes_of_different_shapes_are_refused_with_both_shapes(
    tmp_path: Path, volumes: dict[str, Path]
) -> None:
    save_nifti(volumes["t2w"], np.random.default_rng(0).uniform(size=(20, 24, 8)), np.eye(4))
    with pytest.raises(ValueError, match=r"real T2w has shape \(20, 24, 8\), .*\(20, 24, 9\)"):
        save_comparison_from_nifti(tmp_path / "a.png", **volumes, synthetic_range=(0, 1), label="x")


def test_volumes_at_different_places_are_refused(tmp_path: Path, volumes: dict[str, Path]) -> None:
    save_nifti(volumes["t2w"], np.random.default_rng(0).uniform(size=(20, 24, 9)), np.eye(4))
    with pytest.raises(ValueError, match="lie elsewhere"):
        save_comparison_from_nifti(tmp_path / "a.png", **volumes, synthetic_range=(0, 1), label="x")


def write_events(folder: Path, steps: range, offset: float) -> None:
    with SummaryWriter(folder) as writer:
        for step in steps:
            writer.add_scalar("training/generator_loss", offset + step, step)
            writer.add_scalar("validation/t2w_ssim", 0.5, step)


def test_scalars_of_a_resumed_run_are_one_curve_whose_later_values_count(tmp_path: Path) -> None:
    write_events(tmp_path, range(4), offset=0.0)
    write_events(tmp_path, range(2, 6), offset=10.0)
    loss = load_scalars(tmp_path)["training/generator_loss"]
    assert loss.tolist() == [[0, 0], [1, 1], [2, 12], [3, 13], [4, 14], [5, 15]]


def test_training_and_validation_of_one_quantity_share_a_panel() -> None:
    groups = group_by_quantity(["loss", "training/ssim", "validation/ssim"])
    assert groups == {
        "loss": {"": "loss"},
        "ssim": {"training": "training/ssim", "validation": "validation/ssim"},
    }


def test_training_curves_are_written(tmp_path: Path) -> None:
    write_events(tmp_path / "events", range(4), offset=0.0)
    path = save_training_curves(tmp_path / "curves.png", tmp_path / "events")
    picture = mpl_image.imread(path)[..., :3]
    assert picture.min() < 0.5  # something is drawn on white


def test_a_run_without_event_files_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no TensorBoard event files"):
        save_training_curves(tmp_path / "curves.png", tmp_path)
