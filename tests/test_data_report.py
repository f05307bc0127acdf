"""The page about a slice dataset: complete, self-contained, and its pictures are upright."""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import image as mpl_image

from data_prep.report import load_sessions, write_report
from data_prep.report_figures import draw_contour, make_checkerboard, make_pictures, upright
from data_prep.session_summary import compute_far_out
from tests.page_outline import Outline, read_text
from tests.tiny_dataset import REGISTRATION, write_tiny_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def page(dataset: Path) -> str:
    return write_report(dataset).read_text()


@pytest.fixture(scope="module")
def outline(page: str) -> Outline:
    return Outline(page)


def test_the_page_asks_for_nothing_from_outside(page: str, outline: Outline) -> None:
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    addresses = [attrs[key] for _, attrs in outline.tags for key in ("src", "href") if key in attrs]
    assert addresses
    assert all(address and address.startswith("data:") for address in addresses)


def test_the_page_names_no_folder_of_this_machine(page: str, dataset: Path) -> None:
    assert str(dataset.parent) not in page
    assert str(Path(__file__).parents[1]) not in page


def test_every_tag_is_closed_and_every_picture_described(outline: Outline) -> None:
    assert outline.open == []
    pictures = [attrs for tag, attrs in outline.tags if tag == "img"]
    assert len(pictures) == 5 * 4 + 2 * 2  # pairs have four pictures, the others two
    assert all(attrs["alt"] for attrs in pictures)
    assert [tag for tag, _ in outline.tags].count("h1") == 1


def test_the_page_counts_slices_and_parts_per_dataset(page: str) -> None:
    text = read_text(page)
    # subjects, sessions, T1w, T2w, T2w on T1w, for training: 3 of the 6 slices of each shard on
    # its own grid, of the subjects in the training part
    assert "pairs 5 5 30 30 30 18 3 train, 1 validation, 1 test" in text
    assert "singles 2 2 6 6 0 6 2 train" in text
    assert "<dt>slices for training</dt><dd>24</dd>" in page


def test_every_exclusion_is_listed_with_its_reason_as_text(page: str, dataset: Path) -> None:
    text = read_text(page)
    exclusions = pd.read_csv(dataset / "exclusions.tsv", sep="\t")
    assert len(exclusions) == 2
    for row in exclusions.itertuples():
        assert row.file in text
        assert row.subject_id in text
    assert "truncated file: 10 of 20 voxels" in text
    assert "&lt;but FLAIR&gt;" in page


def test_registration_is_shown_before_and_after_with_the_length_of_the_shift(page: str) -> None:
    text = read_text(page)
    assert "pairs_sub-01 train 6 6 6 6 14 0.500 → 0.750 5.0 2.0" in text  # 3-4-5 triangle


def test_sources_are_named_with_doi_and_licence(page: str) -> None:
    assert "1.0.0 · 10.18112/example · CC0" in read_text(page)


def test_a_flagged_registration_comes_first(dataset: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(dataset, tmp_path / "dataset"))
    side = copy / "shards/pairs/sub-04_space-T1w_T2w.json"
    flagged = {**REGISTRATION, "flags": ["moved by 25 mm"]}
    side.write_text(json.dumps({**json.loads(side.read_text()), "registration": flagged}))
    sessions = load_sessions(copy)
    assert (sessions[0].label, sessions[0].remarks) == ("pairs_sub-04", ("moved by 25 mm",))
    assert not any(one.remarks for one in sessions[1:])
    assert "1 of 7 sessions stand out" in read_text(write_report(copy).read_text())


def test_a_session_with_other_intensities_than_its_dataset_is_remarked(
    dataset: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(dataset, tmp_path / "dataset"))
    shard = copy / "shards/pairs/sub-02_T1w.npy"
    np.save(shard, np.load(shard) // 4)
    assert load_sessions(copy)[0].label == "pairs_sub-02"
    assert load_sessions(copy)[0].remarks == ("T1w intensities unlike those of the other sessions",)


def test_a_registration_that_moves_far_more_than_the_others_is_remarked(
    dataset: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(dataset, tmp_path / "dataset"))
    side = copy / "shards/pairs/sub-03_space-T1w_T2w.json"
    moved = {**REGISTRATION, "translation_mm": 12.5}  # a number serves as well as a vector
    side.write_text(json.dumps({**json.loads(side.read_text()), "registration": moved}))
    first = load_sessions(copy)[0]
    assert first.label == "pairs_sub-03"
    assert first.remarks == ("registered by 12.5 mm, unlike the other sessions",)


def test_densities_leave_out_the_background_and_have_mean_one(dataset: Path) -> None:
    session = next(one for one in load_sessions(dataset) if one.subject_id == "pairs_sub-01")
    density = session.densities["T1w"]  # uniform on [0.1, 0.9] inside the mask, zero outside
    assert density.mean() == pytest.approx(1)
    assert density[:6].max() == 0
    assert density[-6:].max() == 0
    assert np.allclose(density[::-1], session.densities["T2w"], atol=0.05)  # T2w = 1 - T1w


def test_brain_volume_is_voxels_times_their_size(dataset: Path) -> None:
    session = next(one for one in load_sessions(dataset) if one.subject_id == "pairs_sub-01")
    voxels = np.load(dataset / "shards/pairs/sub-01_T1w_mask.npy").sum()
    assert session.brain_volume_cm3 == pytest.approx(voxels * 1.5 * 1.5 * 3.0 / 1000)


def test_far_out_needs_five_values_and_three_interquartile_ranges() -> None:
    # quartiles 2 and 4, so the limits are -4 and 10
    assert compute_far_out([1, 2, 3, 4, 10]).tolist() == [False] * 5
    assert compute_far_out([1, 2, 3, 4, 10.1]).tolist() == [False] * 4 + [True]
    assert compute_far_out([1, 2, 3, 100]).tolist() == [False] * 4


def test_pictures_show_the_front_at_the_top_and_the_right_on_the_right() -> None:
    image = np.zeros((3, 5), dtype=np.uint8)  # i to the right, j to the front
    image[2, 4] = 1  # right front
    shown = upright(image, (slice(None), slice(None)))
    assert shown.shape == (10, 6)  # twice as large, longer from front to back
    assert shown[0, -1] == 1
    assert shown.sum() == 4


def test_the_pictures_are_longer_from_front_to_back_like_the_brain(dataset: Path) -> None:
    session = next(one for one in load_sessions(dataset) if one.subject_id == "pairs_sub-01")
    pictures = make_pictures(session, (0.5,))
    captions = [picture["caption"] for picture in pictures]
    assert captions == ["T1w", "Registered T2w", "Checkerboard", "T1w with mask"]
    content = base64.b64decode(pictures[0]["uri"].partition(",")[2])
    height, width = mpl_image.imread(io.BytesIO(content), format="webp").shape[:2]
    assert (height, width) == (64, 50)  # 25 + 8 cut at 32, 17 + 8 pixels, twice


def test_a_checkerboard_takes_turns() -> None:
    board = make_checkerboard(np.zeros((48, 48, 3), np.uint8), np.ones((48, 48, 3), np.uint8))
    assert board[:24, :24].max() == 0  # 12 pixels of a slice, twice as large
    assert board[24:, 24:].max() == 0
    assert board[:24, 24:].min() == 1
    assert board[24:, :24].min() == 1


def test_a_contour_is_the_outermost_pixels_of_the_mask() -> None:
    mask = np.zeros((7, 7), dtype=bool)
    mask[1:6, 1:6] = True
    drawn = draw_contour(np.zeros((7, 7, 3), np.uint8), mask).any(axis=2)
    assert drawn.sum() == 16
    assert not drawn[2:5, 2:5].any()


def test_a_folder_that_is_no_finished_dataset_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dataset\.json, .* missing .*run the build again"):
        write_report(tmp_path)
