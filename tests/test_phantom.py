"""The phantom: heads that look like MRI, truth that fits them, files that can be made again."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from deepbet import BrainExtraction
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from data_prep import phantom
from data_prep.bids import index_dataset
from data_prep.head_model import CORNER_MM
from data_prep.head_space import LATTICE_STEP_MM, draw_pose
from data_prep.mr_signal import TISSUES
from data_prep.phantom import build_phantom, list_files
from data_prep.simulated_dataset import Simulation, open_folder
from data_prep.simulation import draw_subject, load_heads
from data_prep.store import write_bytes

SUBJECTS = ("sub-01", "sub-02")
CSF, GREY, WHITE = 1, 2, 3


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bids")
    build_phantom(folder, subjects=len(SUBJECTS), seed=7)
    return folder


def load_image(dataset: Path, name: str, suffix: str) -> nib.Nifti1Image:
    folder = dataset if suffix in ("T1w", "T2w") else dataset / "derivatives" / "truth"
    return nib.load(folder / name / "anat" / f"{name}_{suffix}.nii.gz")


def load_array(dataset: Path, name: str, suffix: str) -> NDArray[Any]:
    return np.asarray(load_image(dataset, name, suffix).dataobj)


def load_pose(dataset: Path, name: str) -> NDArray[np.float64]:
    folder = dataset / "derivatives" / "truth" / name / "anat"
    text = (folder / f"{name}_from-T2w_to-T1w_mode-image_xfm.json").read_text()
    return np.array(json.loads(text)["Matrix"])


def sample_t2w_in_brain(
    dataset: Path, name: str, t1w_from_t2w: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The T2w at the T1w's brain voxels, in the order of ``dseg[dseg > 0]``, for a given pose."""
    dseg, t2w = load_image(dataset, name, "space-T1w_dseg"), load_image(dataset, name, "T2w")
    matrix = np.linalg.inv(t2w.affine) @ np.linalg.inv(t1w_from_t2w) @ dseg.affine
    voxels = np.stack(np.nonzero(np.asarray(dseg.dataobj)))
    where = matrix[:3, :3] @ voxels + matrix[:3, 3:]
    return map_coordinates(np.asarray(t2w.dataobj, float), where, order=1)


def hash_files(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def compute_dice(first: NDArray[Any], second: NDArray[Any]) -> float:
    first, second = first > 0, second > 0
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def test_the_dataset_is_read_as_bids_with_both_contrasts_of_every_subject(dataset: Path) -> None:
    sessions, exclusions = index_dataset(dataset)
    assert [session.subject for session in sessions] == list(SUBJECTS)
    assert all(session.t1w and session.t2w for session in sessions)
    assert exclusions == []
    rows = (dataset / "participants.tsv").read_text().split("\n")
    assert rows == ["participant_id", *SUBJECTS, ""]


@pytest.mark.parametrize("name", SUBJECTS)
def test_white_matter_is_brightest_in_t1w_and_csf_in_t2w(dataset: Path, name: str) -> None:
    dseg = load_array(dataset, name, "space-T1w_dseg")
    labels = dseg[dseg > 0]
    t1w = load_array(dataset, name, "T1w")[dseg > 0]
    t2w = sample_t2w_in_brain(dataset, name, load_pose(dataset, name))
    csf, grey, white = (np.median(t1w[labels == label]) for label in (CSF, GREY, WHITE))
    assert white > 1.2 * grey > 1.2 * 1.2 * csf
    csf, grey, white = (np.median(t2w[labels == label]) for label in (CSF, GREY, WHITE))
    assert csf > 1.2 * grey > 1.2 * 1.2 * white


@pytest.mark.parametrize("name", SUBJECTS)
def test_no_pose_near_the_stored_one_explains_the_t2w_better(dataset: Path, name: str) -> None:
    dseg, pose = load_array(dataset, name, "space-T1w_dseg"), load_pose(dataset, name)

    def explained(t1w_from_t2w: NDArray[np.float64]) -> float:
        """Share of the T2w's variance in the brain that the T1w's tissue classes explain."""
        brain = sample_t2w_in_brain(dataset, name, t1w_from_t2w)
        labels = dseg[dseg > 0]
        within = sum(brain[labels == label].var() * (labels == label).mean() for label in (1, 2, 3))
        return float(1 - within / brain.var())

    best = explained(pose)
    assert best > explained(np.eye(4)) + 0.05
    for axis in range(3):
        for shift_mm in (-1, 1):
            moved = pose.copy()
            moved[axis, 3] += shift_mm
            assert explained(moved) < best


def test_poses_stay_within_5_mm_and_5_degrees() -> None:
    rng = np.random.default_rng(0)
    poses = np.stack([draw_pose(rng) for _ in range(200)])
    shift_mm = np.linalg.norm(poses[:, :3, 3], axis=1)
    turn_deg = np.rad2deg(np.arccos((np.trace(poses[:, :3, :3], axis1=1, axis2=2) - 1) / 2))
    assert 4 < shift_mm.max() <= 5
    assert 4 < turn_deg.max() <= 5
    assert np.linalg.det(poses) == pytest.approx(1)


def test_the_deformation_folds_nowhere() -> None:
    subject = draw_subject(np.random.default_rng(0))
    gradients = [np.gradient(part, LATTICE_STEP_MM) for part in subject.displacement]
    jacobian = np.array(gradients) + np.diag(subject.scale)[:, :, None, None, None]
    assert np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1))).min() > 0.3


def test_the_two_images_stand_on_grids_of_their_own_in_the_same_scanner(dataset: Path) -> None:
    t1w, t2w = load_image(dataset, "sub-01", "T1w"), load_image(dataset, "sub-01", "T2w")
    assert nib.aff2axcodes(t1w.affine) == ("R", "A", "S")
    assert nib.aff2axcodes(t2w.affine) == ("L", "A", "S")
    assert t1w.header.get_zooms() == pytest.approx((2, 2, 2))
    assert t2w.header.get_zooms() == pytest.approx((2, 2, 2.5))
    for image in (t1w, t2w):
        assert image.get_data_dtype() == np.int16
        assert (image.header["qform_code"], image.header["sform_code"]) == (1, 1)
        assert image.get_qform() == pytest.approx(image.get_sform())


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_truth_fills_a_brain_of_adult_size(dataset: Path, name: str) -> None:
    dseg = load_array(dataset, name, "space-T1w_dseg")
    mask = load_array(dataset, name, "space-T1w_desc-brain_mask")
    assert np.array_equal(mask > 0, dseg > 0)
    assert set(np.unique(dseg)) == {0, CSF, GREY, WHITE}
    assert 1100 < mask.sum() * 8 / 1000 < 2100  # cm3


@pytest.mark.parametrize(
    ("place_mm", "tissue"),
    [
        ((-8, -2, 22), "CSF"),  # body of the left lateral ventricle
        ((20, -38, 12), "CSF"),  # atrium of the right one
        ((-25, -20, 30), "WM"),  # centrum semiovale
        ((0, -60, -30), "GM"),  # vermis
        ((32, 60, -38), "CSF"),  # vitreous of the right eye
    ],
)
def test_tissue_is_where_anatomy_has_it(place_mm: tuple[int, int, int], tissue: str) -> None:
    i, j, k = np.array(place_mm) - CORNER_MM
    fractions = load_heads(2.0)[0].fractions[:, i, j, k]
    assert fractions[list(TISSUES).index(tissue)] > 0.8


def test_no_voxel_holds_more_than_itself() -> None:
    total = load_heads(2.0)[0].fractions.sum(0)
    assert total.min() >= 0
    assert total.max() <= 1 + 1e-6


@pytest.mark.filterwarnings("ignore:.*torch.jit.load.*:DeprecationWarning")
@pytest.mark.parametrize("contrast", ["T1w", pytest.param("T2w", marks=pytest.mark.slow)])
def test_a_real_brain_extraction_finds_the_brain(dataset: Path, contrast: str) -> None:
    extraction = BrainExtraction(no_gpu=True)
    _, mask, _ = extraction.run(load_image(dataset, "sub-01", contrast))
    truth = load_image(dataset, "sub-01", "space-T1w_desc-brain_mask")
    if contrast == "T2w":
        pose = load_pose(dataset, "sub-01")
        matrix = np.linalg.inv(truth.affine) @ pose @ mask.affine
        where = np.einsum("ij,jxyz->ixyz", matrix[:3, :3], np.indices(mask.shape))
        where += matrix[:3, 3].reshape(3, 1, 1, 1)
        expected = map_coordinates(np.asarray(truth.dataobj), where, order=0)
    else:
        expected = np.asarray(truth.dataobj)
    assert compute_dice(np.asarray(mask.dataobj), expected) > 0.93


def test_side_cars_state_the_sequences_in_seconds_and_degrees(dataset: Path) -> None:
    folder = dataset / "sub-01" / "anat"
    t1w = json.loads((folder / "sub-01_T1w.json").read_text())
    t2w = json.loads((folder / "sub-01_T2w.json").read_text())
    assert (t1w["RepetitionTime"], t1w["InversionTime"], t1w["EchoTime"]) == (2.3, 0.9, 0.00298)
    assert (t2w["RepetitionTime"], t2w["EchoTime"]) == (5.0, 0.09)
    assert (t1w["FlipAngle"], t2w["FlipAngle"]) == (9, 90)


def test_compressed_files_hold_no_time_and_no_name(dataset: Path) -> None:
    for path in dataset.rglob("*.nii.gz"):
        header = path.read_bytes()[:10]
        assert header[3] == 0, path.name  # flags: no file name
        assert header[4:8] == bytes(4), path.name  # time
        gzip.decompress(path.read_bytes())


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One subject, by a build that was killed while it wrote its third file, and another one."""
    folder = tmp_path_factory.mktemp("resumed")
    written: list[Path] = []

    def write_or_die(path: Path, content: bytes) -> None:
        if len(written) == 2:
            (path.parent / ".unfinished-x").write_bytes(content[:100])
            raise KeyboardInterrupt
        write_bytes(path, content)
        written.append(path)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(phantom, "write_bytes", write_or_die)
        build_phantom(folder, subjects=1, seed=7)
    assert not (folder / "participants.tsv").exists()
    build_phantom(folder, subjects=1, seed=7)
    return folder


def test_a_subject_is_the_same_bytes_however_many_there_are_and_after_a_kill(
    dataset: Path, resumed: Path
) -> None:
    alone, together = hash_files(resumed), hash_files(dataset)
    for path in list_files("sub-01"):
        assert alone[path.as_posix()] == together[path.as_posix()]


def test_a_killed_build_leaves_nothing_behind(resumed: Path) -> None:
    descriptions = ["dataset_description.json", "derivatives/truth/dataset_description.json"]
    expected = [*descriptions, "participants.tsv", *(p.as_posix() for p in list_files("sub-01"))]
    assert sorted(hash_files(resumed)) == sorted(expected)


def test_two_subjects_have_different_heads(dataset: Path) -> None:
    masks = [load_array(dataset, name, "space-T1w_desc-brain_mask") for name in SUBJECTS]
    assert 0.7 < compute_dice(*masks) < 0.97


def test_only_an_incomplete_subject_is_made_again(dataset: Path) -> None:
    before = hash_files(dataset)
    kept, lost = (dataset / name / "anat" / f"{name}_T2w.nii.gz" for name in SUBJECTS)
    time_ns = kept.stat().st_mtime_ns
    lost.unlink()
    build_phantom(dataset, subjects=2, seed=7)
    assert kept.stat().st_mtime_ns == time_ns
    assert hash_files(dataset) == before


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters" / ".unfinished-last").write_text("too")
    with pytest.raises(FileExistsError, match=r"holds chapters, thesis\.txt but is no phantom"):
        build_phantom(tmp_path, subjects=1, seed=7)
    assert hash_files(tmp_path).keys() == {"thesis.txt", "chapters/.unfinished-last"}


def test_a_start_that_was_killed_at_its_first_file_is_taken_up(tmp_path: Path) -> None:
    (tmp_path / ".unfinished-x").touch()
    simulation = Simulation("Phantom", "A phantom", "data_prep.phantom", "CC0", {"Version": 1})
    open_folder(tmp_path, simulation, ["sub-01"])
    descriptions = ["dataset_description.json", "derivatives/truth/dataset_description.json"]
    assert sorted(hash_files(tmp_path)) == descriptions


def test_another_seed_or_spacing_is_refused(dataset: Path) -> None:
    with pytest.raises(ValueError, match=r"'Seed': 7.*asked for.*'Seed': 8"):
        build_phantom(dataset, subjects=2, seed=8)
    with pytest.raises(ValueError, match=r"'SpacingMm': 2\.0.*asked for.*'SpacingMm': 3\.0"):
        build_phantom(dataset, subjects=2, seed=7, spacing_mm=3)


def test_fewer_subjects_than_there_are_is_refused(dataset: Path) -> None:
    with pytest.raises(ValueError, match="holds sub-02, beyond the 1 subjects"):
        build_phantom(dataset, subjects=1, seed=7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"subjects": 0, "seed": 0}, "subjects is 0"),
        ({"subjects": 1, "seed": -1}, "seed is -1"),
        ({"subjects": 1, "seed": 0, "spacing_mm": 0.5}, "spacing_mm is 0.5"),
    ],
)
def test_arguments_out_of_range_are_named(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_phantom(tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()
