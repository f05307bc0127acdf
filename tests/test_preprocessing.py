"""Geometry and intensities of the preprocessing contract, through the bundle's real config."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import binary_erosion
from scripts.intensity import MaskImaged, compute_percentiles_in_mask
from scripts.preprocessing import (
    CropOrPadAboutMaskd,
    OrientToPlaned,
    SmoothInPlaned,
    compute_in_plane_margins,
    compute_smoothing_sigma_mm,
)

from tests.inference_config import parse_inference
from tests.inference_runs import save_model

OBLIQUE = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.3, -0.2, 0.4))
# (axis codes or an affine, shape, voxel size in mm): odd sizes, anisotropic, thick slices
GRIDS = {
    "LPS": ("LPS", (71, 85, 47), (1.2, 0.9, 1.5)),
    "LAS": ("LAS", (64, 83, 40), (1.0, 1.1, 2.0)),
    "RAS": ("RAS", (61, 75, 53), (2.0, 2.0, 2.0)),
    "PSR": ("PSR", (75, 53, 61), (1.3, 1.3, 1.3)),
    "LIA": ("LIA", (66, 66, 66), (1.0, 1.0, 1.0)),
    "oblique": (OBLIQUE, (71, 85, 47), (1.2, 0.9, 1.5)),
    "thick slices": ("LPS", (121, 143, 11), (0.6, 0.6, 6.0)),
    "2-D": ("RAS", (121, 143), (0.8, 0.8, 5.0)),
}


def make_affine(orientation, spacing_mm) -> np.ndarray:
    if isinstance(orientation, str):
        ornt = nib.orientations.axcodes2ornt(orientation)
        turn = np.zeros((4, 4))
        turn[3, 3] = 1
        for axis, (world, sign) in enumerate(ornt):
            turn[int(world), axis] = sign
    else:
        turn = orientation
    affine = turn @ np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = (12.5, -30.0, 41.0)
    return affine


def world_coordinates(shape, affine) -> np.ndarray:
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return nib.affines.apply_affine(affine, grid)


def save_coordinate_head(path: Path, grid, world_axis: int):
    """A lopsided ellipsoid whose voxels hold their own world coordinate in mm, plus an offset."""
    orientation, shape, spacing = grid
    affine = make_affine(orientation, spacing)
    solid = (*shape, 1)[:3]
    index = np.stack(np.meshgrid(*map(np.arange, solid), indexing="ij"), axis=-1)
    half = (np.array(solid) - 1) / 2
    # Off the middle, so that a flip would show. An axis of one slice is all inside.
    radii = np.where(np.array(solid) == 1, np.inf, half * 0.75)
    inside = (((index - half * (1.2, 0.85, 1.1)) / radii) ** 2).sum(axis=-1) < 1
    position = world_coordinates(solid, affine)[..., world_axis]
    offset = 10 - position[inside].min()
    voxels = np.where(inside, position + offset, 0).astype(np.float32).reshape(shape)
    image = nib.Nifti1Image(voxels, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"name of a person"
    nib.save(image, path)
    return voxels, inside


@pytest.mark.parametrize("world_axis", [0, 1, 2])
@pytest.mark.parametrize("name", GRIDS)
def test_coordinates_come_back_within_half_a_voxel(tmp_path, name, world_axis):
    grid = GRIDS[name]
    source = tmp_path / "sub-01_T1w.nii.gz"
    voxels, inside = save_coordinate_head(source, grid, world_axis)
    if np.ptp(voxels[voxels > 0]) == 0:
        pytest.skip("one slice has no extent along this axis")
    parser = parse_inference(
        brain_extraction="none",
        bias_correction=False,
        output_dir=str(tmp_path / "out"),
        refuse_unfit=False,
        checkpoint=str(save_model(tmp_path)),
    )
    data = parser.get_parsed_content("checked_preprocessing")({"image": str(source)})
    low, high = data["image"].meta["percentiles"]
    data["pred"] = data["image"].clone()
    parser.get_parsed_content("postprocessing")(data)

    result = nib.load(tmp_path / "out" / "sub-01_space-T1w_desc-synthetic_T2w.nii.gz")
    position = (result.get_fdata() / 1000 * (high - low) + low).reshape(inside.shape)
    expected = voxels.reshape(inside.shape)
    # Away from the rim, where the background mixes in, and from the clipped percentiles.
    # 4 mm each way is beyond the filter's and the interpolation's reach; slices never mix.
    reach = [1 if spacing >= 5 else int(8 / spacing) | 1 for spacing in grid[2]]
    core = binary_erosion(inside, np.ones(reach)) & (expected > low) & (expected < high)
    assert core.sum() > 500
    error = np.abs(position - expected)[core]
    assert error.max() < 0.5 * min(grid[2])


def test_output_has_the_header_of_its_input_and_no_free_text(tmp_path):
    source = tmp_path / "sub-01_T1w.nii.gz"
    save_coordinate_head(source, GRIDS["oblique"], 0)
    image = nib.load(source)
    image.set_qform(image.affine, 2)
    image.set_sform(image.affine, 4)
    nib.save(image, source)
    parser = parse_inference(
        brain_extraction="none",
        bias_correction=False,
        output_dir=str(tmp_path / "out"),
        refuse_unfit=False,
        checkpoint=str(save_model(tmp_path)),
    )
    data = parser.get_parsed_content("checked_preprocessing")({"image": str(source)})
    data["pred"] = data["image"].clone()
    parser.get_parsed_content("postprocessing")(data)
    result = nib.load(tmp_path / "out" / "sub-01_space-T1w_desc-synthetic_T2w.nii.gz")
    before, after = nib.load(source).header, result.header
    assert result.shape == nib.load(source).shape
    np.testing.assert_array_equal(result.affine, nib.load(source).affine)
    for field in ("qform_code", "sform_code", "xyzt_units", "pixdim", "dim", "quatern_b"):
        np.testing.assert_array_equal(after[field], before[field])
    assert bytes(after["descrip"]).strip(b"\0") == b""
    assert result.get_data_dtype() == np.int16


def test_an_image_on_another_device_than_its_mask_is_masked_there():
    """Torch's device without storage stands for a GPU: it meets tensors of the CPU no better."""
    data = {"pred": torch.ones(1, 2, 2, 2, device="meta"), "mask": torch.ones(1, 2, 2, 2)}
    assert MaskImaged("pred", "mask")(data)["pred"].device.type == "meta"


def test_slices_never_mix():
    voxels = np.zeros((40, 40, 12), dtype=np.float32)
    voxels[8:32, 8:32] = np.tile([100.0, 200.0], 6)
    affine = torch.diag(torch.tensor([1.0, 1.0, 3.0, 1.0], dtype=torch.float64))
    volume = MetaTensor(torch.from_numpy(voxels)[None], affine=affine)
    mask = MetaTensor((volume > 0).float().as_tensor(), affine=affine)
    parser = parse_inference()
    data = parser.get_parsed_content("to_network")({"image": volume, "brain_mask": mask})
    assert data["image"].shape == (1, 128, 128, 12)
    middle = data["image"][0, 60:68, 60:68].as_tensor()
    torch.testing.assert_close(middle[..., ::2], torch.full_like(middle[..., ::2], -1.0))
    torch.testing.assert_close(middle[..., 1::2], torch.full_like(middle[..., 1::2], 1.0))


def test_background_is_exactly_minus_one_and_the_brain_spans_the_range():
    generator = np.random.default_rng(3)
    voxels = np.zeros((60, 60, 5), dtype=np.float32)
    voxels[10:50, 10:50] = generator.uniform(50, 900, (40, 40, 5))
    volume = MetaTensor(torch.from_numpy(voxels)[None], affine=torch.eye(4, dtype=torch.float64))
    mask = MetaTensor((volume > 0).float().as_tensor(), affine=volume.affine)
    data = parse_inference().get_parsed_content("to_network")({"image": volume, "brain_mask": mask})
    image, inside = data["image"].as_tensor(), data["brain_mask"].as_tensor() > 0
    assert torch.all(image[~inside] == -1.0)
    assert image[inside].min() < -0.5
    assert image[inside].max() > 0.5
    assert volume.max() == voxels.max(), "the caller's volume must stay as it was"


def test_percentiles_are_those_of_the_mask_alone():
    volume = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    mask = volume >= 500
    low, high = compute_percentiles_in_mask(volume, mask, lower=0.5, upper=99.5)
    # 500 values from 500 to 999: percentile p lies at 500 + p / 100 * 499.
    assert low == pytest.approx(502.495)
    assert high == pytest.approx(996.505)


@pytest.mark.parametrize(
    ("volume", "mask", "message"),
    [
        (np.ones((3, 3, 3)), np.zeros((3, 3, 3), dtype=bool), "mask is empty"),
        (np.ones((3, 3, 3)), np.ones((3, 3, 3), dtype=bool), "constant inside"),
    ],
)
def test_percentiles_refuse_what_has_none(volume, mask, message):
    with pytest.raises(ValueError, match=message):
        compute_percentiles_in_mask(volume, mask, lower=0.5, upper=99.5)


def test_smoothing_widens_one_resolution_to_the_other():
    # FWHM sqrt(1.5^2 - 0.9^2) = 1.2 mm; over 2 sqrt(2 ln 2) = 2.3548
    assert compute_smoothing_sigma_mm(0.9, 1.5) == pytest.approx(1.2 / 2.3548)
    assert compute_smoothing_sigma_mm(1.5, 1.5) == 0
    assert compute_smoothing_sigma_mm(2.0, 1.5) == 0


def test_frame_is_centred_on_the_bounding_box_of_the_mask():
    mask = torch.zeros(10, 20, 2)
    mask[2:6, 8:18, 1] = 1
    # Middle of 2..5 is 4 and of 8..17 is 13; an image of 8 has its middle at 4.
    assert compute_in_plane_margins(mask, 8) == ((0, -2), (-9, -3))


def test_frame_cuts_or_pads_to_the_square_and_back():
    affine = torch.eye(4, dtype=torch.float64)
    voxels = torch.arange(9 * 31 * 4, dtype=torch.float32).reshape(1, 9, 31, 4)
    mask = torch.zeros_like(voxels)
    mask[:, 2:7, 10:20] = 1
    data = {
        "image": MetaTensor(voxels, affine=affine),
        "brain_mask": MetaTensor(mask, affine=affine),
    }
    frame = CropOrPadAboutMaskd(["image", "brain_mask"], "brain_mask", size=16)
    framed = frame(data)
    assert framed["image"].shape == (1, 16, 16, 4)
    back = frame.inverse(framed)["image"]
    assert back.shape == voxels.shape
    torch.testing.assert_close(back[:, :, 7:23].as_tensor(), voxels[:, :, 7:23])
    assert back[:, :, :7].sum() == 0


def test_frame_refuses_an_empty_mask():
    empty = MetaTensor(torch.zeros(1, 4, 4, 4), affine=torch.eye(4))
    with pytest.raises(ValueError, match="mask is empty"):
        CropOrPadAboutMaskd(["brain_mask"], "brain_mask", size=8)({"brain_mask": empty})


@pytest.mark.parametrize(
    ("plane", "shape"), [("axial", (5, 6, 7)), ("coronal", (5, 7, 6)), ("sagittal", (6, 7, 5))]
)
def test_plane_puts_its_slices_last(plane, shape):
    volume = MetaTensor(torch.rand(1, 5, 6, 7), affine=torch.eye(4, dtype=torch.float64))
    assert OrientToPlaned("image", plane=plane)({"image": volume})["image"].shape[1:] == shape


def test_a_slice_of_another_plane_is_refused():
    coronal = MetaTensor(torch.rand(1, 20, 1, 30), affine=torch.eye(4, dtype=torch.float64))
    with pytest.raises(ValueError, match="no axial one"):
        OrientToPlaned("image", plane="axial")({"image": coronal})
    with pytest.raises(ValueError, match="Expected one of"):
        OrientToPlaned("image", plane="transversal")


@pytest.mark.parametrize("spacing_mm", [0.0, -1.5])
def test_a_spacing_that_monai_would_take_for_as_it_is_is_refused(spacing_mm):
    with pytest.raises(ValueError, match=f"spacing_mm is {spacing_mm}; expected mm above 0"):
        SmoothInPlaned("image", target_spacing_mm=spacing_mm, max_spacing_mm=3.0)


def test_a_frame_without_pixels_is_refused():
    with pytest.raises(ValueError, match="size is 0; expected pixels a side"):
        CropOrPadAboutMaskd("image", "brain_mask", size=0)
