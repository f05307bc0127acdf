"""What five published datasets really look like, and that none of it leads astray.

The eight of the list beside the published trees; 3 and 8 are in test_download.py, 7 also in
test_openneuro_build.py.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import zoom

from data_prep.bids import index_dataset, index_listing
from data_prep.bids_inputs import BidsInputs, build_from_bids
from data_prep.build import BuildOptions
from data_prep.cluster import Workers
from data_prep.dataset_options import DatasetOptions
from data_prep.sources import KNOWN_SOURCES
from tests.openneuro_server import read_images, read_tree
from tests.small_heads import make_head, make_quick_bundle, save_dataset


def index(trees: Path, name: str, version: str | None = None):
    tree = read_tree(trees / name, version or str(KNOWN_SOURCES[name].version), str.encode)
    return index_listing(tree, Path("raw"), dataset=name)


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0", "2.1.1"])
def test_1_subjects_without_images_are_listed_and_ids_keep_their_three_digits(
    openneuro_trees, version
):
    sessions, exclusions = index(openneuro_trees, "ds003745", version)
    assert len(sessions) == 50
    assert sessions[0].subject == "sub-104"
    assert all(len(session.subject) == 7 for session in sessions)
    assert len(exclusions) == 48
    assert {exclusion.reason for exclusion in exclusions} == {"no NIfTI image in an anat folder"}
    assert all(e.subject_id.startswith("ds003745_sub-2") for e in exclusions)


def test_2_derivatives_that_end_in_t1w_are_no_second_t1w(openneuro_trees):
    tree = read_tree(openneuro_trees / "ds003745", "2.1.1", str.encode)
    assert sum(path.endswith("_T1w.nii.gz") for path in tree) == 150
    sessions, _ = index_listing(tree, Path("raw"), dataset="ds003745")
    assert len(sessions) == 50
    assert not [s for s in sessions if "derivatives" in (*s.t1w.parts, *s.t2w.parts)]


def test_3_the_images_that_changed_have_the_size_they_had(openneuro_trees):
    old, new = (read_images(openneuro_trees / "ds003745", v) for v in ("1.0.0", "2.0.0"))
    scans = [path for path in old if path.endswith(".nii.gz")]
    changed = {path for path in scans if old[path]["checksum"] != new[path]["checksum"]}
    assert {path.split("/")[0] for path in changed} == {"sub-104", "sub-105", "sub-107"}
    assert len(changed) == 6
    assert all(old[path]["size"] == new[path]["size"] for path in changed)


def test_4_a_t2w_of_the_same_shape_and_other_voxels_is_placed_by_its_affine(tmp_path):
    """As sub-152, whose T2w has the shape of the others and other voxels in plane.

    By array index the two would correlate by -0.63.
    """
    folder = save_dataset(tmp_path / "heads", t1w_only=1)
    head = make_head(0, "T2w")
    finer = 0.85
    middle = (np.array(head.shape) - 1) / 2
    spread = np.zeros(head.shape, dtype=np.float32)
    larger = zoom(head.get_fdata(), (1 / finer, 1 / finer, 1), order=1)
    start = [(a - b) // 2 for a, b in zip(larger.shape, head.shape, strict=True)]
    spread[:] = larger[tuple(slice(s, s + n) for s, n in zip(start, head.shape, strict=True))]
    affine = head.affine @ np.diag([finer, finer, 1, 1])
    affine[:3, 3] = -middle * (3 * finer, 3 * finer, 3)
    image = nib.Nifti1Image(spread, affine)
    image.set_qform(affine, 1)
    nib.save(image, folder / "sub-01" / "anat" / "sub-01_T2w.nii.gz")
    out = build(tmp_path / "out", folder)
    t1w, t2w = (
        np.load(out / "shards" / "heads" / f"sub-01_{name}.npy").astype(float)
        for name in ("T1w", "space-T1w_T2w")
    )
    inside = np.load(out / "shards" / "heads" / "sub-01_space-T1w_T2w_mask.npy") > 0
    assert np.corrcoef(t1w[inside], t2w[inside])[0, 1] < -0.9


def build(out: Path, folder: Path) -> Path:
    inputs = BidsInputs({"heads": folder}, DatasetOptions({"heads": "none"}, (), {}))
    options = BuildOptions(make_quick_bundle(), Workers(1))
    assert build_from_bids(out, inputs, options).left_out == 0
    return out


def test_5_side_cars_that_are_no_json_are_not_needed(openneuro_trees, tmp_path):
    folder = save_dataset(tmp_path / "heads", t1w_only=1)
    for name in ("T1w.json", "T2w.json"):
        shutil.copyfile(openneuro_trees / "ds002330" / name, folder / name)
        with pytest.raises(json.JSONDecodeError):
            json.loads((folder / name).read_text())
    build(tmp_path / "out", folder)


def test_6_tables_of_participants_differ_and_do_not_matter(openneuro_trees, tmp_path):
    contents = {
        name: (openneuro_trees / name / "participants.tsv").read_bytes() for name in KNOWN_SOURCES
    }
    assert {b"\r\n" in content for content in contents.values()} == {True, False}
    assert {content.endswith(b"\n") for content in contents.values()} == {True, False}
    folder = save_dataset(tmp_path / "heads", t1w_only=2)
    found = []
    for content in contents.values():
        (folder / "participants.tsv").write_bytes(content)
        found.append(index_dataset(folder))
    assert all(each == found[0] for each in found)


def test_7_three_datasets_of_one_site_are_known_as_such():
    sites = {name: source.site for name, source in KNOWN_SOURCES.items()}
    assert sites["ds002382"] == sites["ds003717"] == sites["ds004285"]
    assert len(set(sites.values())) == 3


def test_8_a_version_that_was_never_published_is_not_pinned(openneuro_trees):
    for name, source in KNOWN_SOURCES.items():
        with (openneuro_trees / name / "images.tsv").open(newline="") as file:
            versions = {row["version"] for row in csv.DictReader(file, delimiter="\t")}
        assert source.version in versions
    assert "1.0.1" not in {KNOWN_SOURCES["ds002382"].version}
