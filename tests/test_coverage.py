"""The edge of the brain comes back without the background that interpolation mixed into it."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from scipy.ndimage import binary_erosion
from scripts.intensity import DivideByCoveraged

from tests.inference_config import parse_inference
from tests.test_grids import make_scan


def test_each_voxel_is_divided_by_what_was_seen_of_the_mask_but_by_half_at_least():
    image = MetaTensor(torch.tensor([0.4, 0.3, 0.2, 0.1, 0.0]).reshape(1, 5, 1, 1))
    seen = MetaTensor(torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0]).reshape(1, 5, 1, 1))
    divide = DivideByCoveraged(["pred", "uncertainty"], "mask", allow_missing_keys=True)
    found = divide({"pred": image, "mask": seen})["pred"]
    torch.testing.assert_close(found.as_tensor().flatten(), torch.tensor([0.4, 0.4, 0.4, 0.2, 0.0]))


def test_the_outermost_voxels_are_mostly_there_again_after_a_perfect_network(tmp_path):
    """Without division 76 % of them, since the way there mixes background in too."""
    path = tmp_path / "scan.nii.gz"
    nib.save(make_scan((1.0, 1.0, 1.0)), path)
    parser = parse_inference()
    parser["brain_extraction"], parser["bias_correction"] = "none", False
    data = parser.get_parsed_content("preprocessing")({"image": str(path)})
    low, high = data["image"].meta["percentiles"]
    data["pred"] = data["image"].clone()
    found = parser.get_parsed_content("to_input_grid")(data)["pred"][0].numpy()
    voxels = nib.load(path).get_fdata()
    truth, mask = np.clip((voxels - low) / (high - low), 0, 1), voxels > 0
    inner = binary_erosion(mask, structure=np.ones((3, 3, 1)))
    edge = mask & ~inner
    assert found[edge].mean() > 0.84 * truth[edge].mean()
    np.testing.assert_allclose(found[inner].mean(), truth[inner].mean(), rtol=0.005)
