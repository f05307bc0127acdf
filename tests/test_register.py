"""One pair of files, moved onto one grid."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from data_prep.register import register_files
from data_prep.stages import DEFAULT_BUNDLE
from tests.small_heads import make_head


def save_pair(tmp_path):
    t1w, t2w = make_head(0, "T1w"), make_head(0, "T2w")
    turned = t1w.as_reoriented(nib.orientations.axcodes2ornt("LIA"))
    nib.save(turned, tmp_path / "t1w.nii.gz")
    shifted = t2w.affine.copy()
    shifted[:3, 3] += (4.0, -3.0, 2.0)
    t2w.set_sform(shifted, 1)
    t2w.set_qform(shifted, 1)
    nib.save(t2w, tmp_path / "t2w.nii.gz")
    return tmp_path / "t1w.nii.gz", tmp_path / "t2w.nii.gz"


def test_the_moved_volume_lies_on_the_fixed_one_in_its_own_orientation(tmp_path):
    fixed, moving = save_pair(tmp_path)
    found = register_files(
        fixed, moving, tmp_path / "out.nii.gz", bundle=DEFAULT_BUNDLE, brain_extraction="none"
    )
    np.testing.assert_allclose(found.translation_mm, np.sqrt(16 + 9 + 4), atol=0.3)
    assert found.mutual_information_after > found.mutual_information_before
    result, target = nib.load(tmp_path / "out.nii.gz"), nib.load(fixed)
    np.testing.assert_allclose(result.affine, target.affine)
    first, second = target.get_fdata(), result.get_fdata()
    inside = first > 0
    assert np.corrcoef(first[inside], second[inside])[0, 1] < -0.7


def test_what_is_there_is_not_overwritten(tmp_path):
    fixed, moving = save_pair(tmp_path)
    (tmp_path / "out.nii.gz").write_text("mine")
    with pytest.raises(FileExistsError, match="Choose another name"):
        register_files(
            fixed, moving, tmp_path / "out.nii.gz", bundle=DEFAULT_BUNDLE, brain_extraction="none"
        )
    assert (tmp_path / "out.nii.gz").read_text() == "mine"
