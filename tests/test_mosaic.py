"""The picture of a translation shows the right slices, upright and to scale."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import image as mpl_image
from scripts.inference.mosaic import Section, choose_sections, find_window, save_mosaic


def make_mask() -> np.ndarray:
    mask = np.zeros((40, 50, 30), dtype=bool)
    mask[10:30, 10:45, 5:25] = True
    return mask


def test_sections_lie_within_the_brain_in_all_planes():
    sections = choose_sections(make_mask(), (1.0, 1.0, 1.0))
    assert [section.axis for section in sections] == [2, 2, 2, 2, 2, 1, 1, 0, 0]
    # A fifth of the way from the first (5) to the last (24) slice, and so on.
    assert [section.index for section in sections[:5]] == [9, 12, 15, 17, 20]
    assert sections[-1].index == 20


def test_a_section_is_upright():
    volume = np.zeros((4, 5, 3))
    volume[3, 4, 1] = 1  # right and front
    axial = Section(2, 1, (slice(0, 4), slice(0, 5), slice(0, 3))).cut(volume)
    assert axial.shape == (5, 4)
    assert axial[0, 3] == 1  # up and on the right
    sagittal = Section(0, 3, (slice(0, 4), slice(0, 5), slice(0, 3))).cut(volume)
    assert sagittal.shape == (3, 5)
    assert sagittal[1, 4] == 1  # the front is on the right


def test_the_window_leaves_8_mm_around_the_brain_and_stays_in_the_volume():
    window = find_window(make_mask(), (1.0, 2.0, 4.0))
    assert window == (slice(2, 38), slice(6, 49), slice(3, 27))
    section = Section(2, 14, window)
    assert section.measure_mm((1.0, 2.0, 4.0)) == (36.0, 86.0)


def test_a_single_slice_is_shown_alone():
    (section,) = choose_sections(make_mask()[:, :, 14:15], (1.0, 1.0, 5.0))
    assert (section.axis, section.index) == (2, 0)


def test_the_title_above_a_single_slice_is_not_cut_off(tmp_path):
    mask = make_mask()[:, :, 14:15]
    title = "sub-01_ses-2_T1w.nii.gz: synthetic, not a measurement"
    save_mosaic(
        tmp_path / "a.png", rows={"": mask * 0.0}, mask=mask, spacing_mm=(1, 1, 5), title=title
    )
    picture = mpl_image.imread(tmp_path / "a.png")[..., :3]
    assert picture[:25, [0, 1, -2, -1]].max() < 0.1  # black at both ends of the line
    assert picture[:25].max() > 0.5


def test_an_empty_mask_is_an_error():
    with pytest.raises(ValueError, match="nothing to show"):
        choose_sections(np.zeros((4, 4, 4), dtype=bool), (1.0, 1.0, 1.0))


def test_the_picture_holds_one_row_a_volume(tmp_path):
    mask = make_mask()
    rows = {"T1w": mask * 0.5, "synthetic T2w": mask * 1.0}
    save_mosaic(tmp_path / "a.png", rows=rows, mask=mask, spacing_mm=(1, 1, 1), title="head")
    picture = mpl_image.imread(tmp_path / "a.png")[..., :3]
    height = picture.shape[0]
    grey = (np.ptp(picture, axis=2) < 0.02) & (np.abs(picture[..., 0] - 0.5) < 0.05)
    white = picture.min(axis=2) > 0.99
    assert grey[: height // 2 + 20].sum() > 20 * max(grey[height // 2 + 40 :].sum(), 1)
    assert white[height // 2 + 20 :].sum() > 20 * max(white[: height // 2 - 20].sum(), 1)
