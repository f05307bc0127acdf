"""Which images an index finds, on made-up trees and on real ones."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
from bids2table import parse_bids_entities

from data_prep.bids import Exclusion, ScanSession, index_dataset
from data_prep.bids_inputs import choose_participants
from data_prep.bids_names import shard_stem
from data_prep.dataset_description import read_dataset_description

NOT_T2W = ("FLAIR", "T2star", "T2starw", "inplaneT2", "T2map", "PDT2", "t2w", "T2w_defaced")
PARTS = ("part-phase", "echo-1", "inv-2", "chunk-1", "space-MNI", "desc-preproc")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "study"


def make_tree(root: Path, *paths: str) -> Path:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return root


def names(sessions: list[ScanSession]) -> list[tuple[str, str, str | None, str, str]]:
    return [
        (s.dataset, s.subject, s.session, s.t1w.name if s.t1w else "", s.t2w.name if s.t2w else "")
        for s in sessions
    ]


def test_pairs_single_contrasts_and_sessions_are_found_in_natural_order(root: Path) -> None:
    make_tree(
        root,
        "sub-10/anat/sub-10_T1w.nii.gz",
        "sub-2/ses-10/anat/sub-2_ses-10_T2w.nii",
        "sub-2/ses-9/anat/sub-2_ses-9_T1w.nii.gz",
        "sub-2/ses-9/anat/sub-2_ses-9_T2w.nii.gz",
        "sub-007/anat/sub-007_T1w.nii.gz",
        "sub-007/ses-1/anat/sub-007_ses-1_T1w.nii.gz",
    )
    sessions, exclusions = index_dataset(root)
    assert names(sessions) == [
        ("study", "sub-2", "ses-9", "sub-2_ses-9_T1w.nii.gz", "sub-2_ses-9_T2w.nii.gz"),
        ("study", "sub-2", "ses-10", "", "sub-2_ses-10_T2w.nii"),
        ("study", "sub-007", None, "sub-007_T1w.nii.gz", ""),
        ("study", "sub-007", "ses-1", "sub-007_ses-1_T1w.nii.gz", ""),
        ("study", "sub-10", None, "sub-10_T1w.nii.gz", ""),
    ]
    assert sessions[2].subject_id == "study_sub-007"
    assert sessions[0].t1w == root / "sub-2" / "ses-9" / "anat" / "sub-2_ses-9_T1w.nii.gz"
    assert exclusions == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *((f"sub-01_{suffix}.nii.gz", "is neither T1w nor T2w") for suffix in NOT_T2W),
        *((f"sub-01_{part}_T2w.nii", f"{part} marks a part") for part in PARTS),
        ("sub-01_ce-gadolinium_T2w.nii.gz", "ce-gadolinium: taken with a contrast agent"),
        ("sub-01_T2w_run-2.nii.gz", "run-2 is neither"),
        ("scan.nii.gz", "scan is neither"),
        ("sub-01_defaced_T2w.nii.gz", "defaced is no key-value pair"),
        ("sub-02_T2w.nii.gz", "disagrees with its folder sub-01"),
        ("sub-01_ses-1_T2w.nii.gz", "disagrees with its folder sub-01"),
        ("T2w.nii.gz", "disagrees with its folder sub-01"),
    ],
)
def test_what_is_no_plain_t2w_is_excluded_with_its_reason(
    root: Path, name: str, reason: str
) -> None:
    make_tree(root, "sub-01/anat/sub-01_T1w.nii.gz", f"sub-01/anat/{name}")
    (session,), (exclusion,) = index_dataset(root)
    assert session.t2w is None
    assert exclusion.file == name
    assert exclusion.subject_id == "study_sub-01"
    assert reason in exclusion.reason


@pytest.mark.parametrize("name", ["sub-01_T2w.nii.gz", "sub-01_ses-2_T2w.nii.gz"])
def test_session_in_the_name_must_be_the_folders(root: Path, name: str) -> None:
    make_tree(root, "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", f"sub-01/ses-1/anat/{name}")
    (session,), (exclusion,) = index_dataset(root)
    assert session.t2w is None
    assert exclusion == Exclusion(
        "study", "study_sub-01", "ses-1", name, "the name disagrees with its folder sub-01/ses-1"
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("sub-01_T1w.nii.gz", "sub-01_acq-mprage_T1w.nii.gz"),
        ("sub-01_run-1_T1w.nii.gz", "sub-01_run-2_T1w.nii.gz"),
        ("sub-01_run-2_T1w.nii.gz", "sub-01_run-10_T1w.nii.gz"),
        ("sub-01_run-1_T1w.nii.gz", "sub-01_acq-hires_run-1_T1w.nii.gz"),
        ("sub-01_acq-a_T1w.nii.gz", "sub-01_acq-b_T1w.nii.gz"),
        ("sub-01_acq-a_rec-norm_T1w.nii.gz", "sub-01_acq-a_run-1_T1w.nii.gz"),
        ("sub-01_T1w.nii", "sub-01_T1w.nii.gz"),
    ],
)
def test_one_of_several_is_chosen_whatever_the_order_on_disk(
    tmp_path: Path, first: str, second: str
) -> None:
    for place, order in (("a", (first, second)), ("b", (second, first))):
        root = make_tree(tmp_path / place, *(f"sub-01/anat/{name}" for name in order))
        (session,), (exclusion,) = index_dataset(root)
        assert session.t1w is not None
        assert (session.t1w.name, exclusion.file) == (first, second)
        assert exclusion.reason == f"another T1w of this session is used: {first}"


def test_a_plain_image_is_taken_before_one_with_a_contrast_agent_however_long_its_name(
    root: Path,
) -> None:
    plain, enhanced = "sub-01_acq-mprage_run-01_T1w.nii.gz", "sub-01_ce-gadolinium_T1w.nii.gz"
    make_tree(root, f"sub-01/anat/{plain}", f"sub-01/anat/{enhanced}")
    (session,), (exclusion,) = index_dataset(root)
    assert session.t1w is not None
    assert (session.t1w.name, exclusion.file) == (plain, enhanced)
    assert exclusion.reason == (
        "ce-gadolinium: taken with a contrast agent, which the models do not know"
    )


def test_only_the_raw_anat_folders_are_read(root: Path) -> None:
    make_tree(
        root,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/._sub-01_T2w.nii.gz",
        "sub-01/anat/sub-01_T2w.json",
        "sub-01/anat/defaced/sub-01_T2w.nii.gz",
        "sub-01/func/sub-01_T2w.nii.gz",
        "sub-01/sub-01_T2w.nii.gz",
        "derivatives/fmriprep/sub-01/anat/sub-01_desc-preproc_T2w.nii.gz",
        "derivatives/sub-01/anat/sub-01_T2w.nii.gz",
        "sourcedata/sub-01/anat/sub-01_T2w.nii.gz",
        ".git/sub-01/anat/sub-01_T2w.nii.gz",
        "sub-01.nii.gz",
    )
    (session,), exclusions = index_dataset(root)
    assert session.t2w is None
    assert exclusions == []


def test_behaviour_only_subjects_are_listed_and_bad_side_cars_do_no_harm(root: Path) -> None:
    make_tree(root, "sub-01/anat/sub-01_T1w.nii.gz", "sub-201/beh/sub-201_beh.tsv")
    make_tree(root, "sub-3/anat/sub-3_T1w.json", "participants.tsv")
    for side_car in ("T1w.json", "sub-01/anat/sub-01_T1w.json"):
        (root / side_car).write_text('{"Broken": "\\d", }')
    (root / ".bidsignore").write_text("sub-2*\n[\n")
    sessions, exclusions = index_dataset(root)
    assert [session.subject for session in sessions] == ["sub-01"]
    assert [(e.subject_id, e.session, e.file) for e in exclusions] == [
        ("study_sub-3", "", ""),
        ("study_sub-201", "", ""),
    ]
    assert {e.reason for e in exclusions} == {"no NIfTI image in an anat folder"}


def test_a_link_without_its_content_is_excluded(root: Path) -> None:
    make_tree(root, "sub-01/anat/sub-01_T1w.nii.gz")
    (root / "sub-01/anat/sub-01_T2w.nii.gz").symlink_to(root / ".git/annex/absent")
    (session,), (exclusion,) = index_dataset(root)
    assert session.t2w is None
    assert "broken link" in exclusion.reason


def test_participants_are_chosen_by_label_with_or_without_prefix(root: Path) -> None:
    make_tree(root, *(f"sub-{s}/anat/sub-{s}_T1w.nii.gz" for s in ("007", "7", "08")))
    sessions, _ = index_dataset(root, participant_label=["007", "sub-08"])
    assert [session.subject for session in sessions] == ["sub-007", "sub-08"]
    with pytest.raises(ValueError, match=r"no participant sub-9. Found: sub-007, sub-7, sub-08"):
        index_dataset(root, participant_label=["9", "7"])


def test_the_dataset_is_named_by_its_folder_or_by_the_caller(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tree(root, "sub-01/anat/sub-01_T1w.nii.gz")
    monkeypatch.chdir(root / "sub-01")
    assert index_dataset(Path(".."))[0][0].dataset == "study"
    assert index_dataset(root, dataset="ds002330")[0][0].subject_id == "ds002330_sub-01"


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], "is empty; expected the sub-"),
        (["README", "images/a.nii.gz"], r"holds README, images .*; expected the sub-"),
        (["sub-01/anat/sub-01_FLAIR.nii.gz"], r"Found: FLAIR is neither T1w nor T2w \(1 times\)"),
        (["sub-01/beh/a.tsv", "sub-02/beh/a.tsv"], r"no NIfTI image .* \(2 times\)"),
    ],
)
def test_a_folder_without_scans_is_an_error_that_says_what_it_holds(
    root: Path, paths: list[str], message: str
) -> None:
    make_tree(root, *paths)
    root.mkdir(exist_ok=True)
    with pytest.raises(ValueError, match=message):
        index_dataset(root)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent: does not exist"):
        index_dataset(tmp_path / "absent")
    (tmp_path / "scan.nii.gz").touch()
    with pytest.raises(FileNotFoundError, match="is a file; expected the folder"):
        index_dataset(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize(
    ("name", "space", "stem"),
    [
        ("sub-01_T1w.nii.gz", None, "sub-01_T1w"),
        ("sub-01_ses-1_T2w.nii.gz", "T1w", "sub-01_ses-1_space-T1w_T2w"),
        ("sub-007_acq-a_run-02_T2w.nii", "T1w", "sub-007_acq-a_run-02_space-T1w_T2w"),
        ("sub-01_chunk-1_T2w.nii", "T1w", "sub-01_space-T1w_chunk-1_T2w"),
        ("study/sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", None, "sub-01_ses-1_T1w"),
    ],
)
def test_shard_stems_keep_every_entity_in_the_order_of_bids(
    name: str, space: str | None, stem: str
) -> None:
    assert shard_stem(name, space=space) == stem
    expected = parse_bids_entities(Path(name).name) | ({"space": space} if space else {})
    expected.pop("ext")
    assert parse_bids_entities(stem) == expected


def test_a_name_that_is_not_bids_has_no_stem() -> None:
    with pytest.raises(ValueError, match=r"head.nii.gz: not a BIDS name"):
        shard_stem("head.nii.gz", space=None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, ("", "", "", "")),
        ('{"Name": "A", "License": "CC0"}', ("A", "", "", "CC0")),
        ('\ufeff{"Name": "A"}', ("A", "", "", "")),
        ('{"Name": 3, "License": ["CC0"]}', ("", "", "", "")),
        ('["Name"]', ("", "", "", "")),
        (
            '{"DatasetDOI": "doi:10.18112/openneuro.ds002330.v1.1.0"}',
            ("", "1.1.0", "10.18112/openneuro.ds002330.v1.1.0", ""),
        ),
    ],
)
def test_a_description_gives_what_it_says(
    tmp_path: Path, text: str | None, expected: tuple[str, ...]
) -> None:
    if text is not None:
        (tmp_path / "dataset_description.json").write_text(text, encoding="utf-8")
    assert tuple(read_dataset_description(tmp_path).values()) == expected


def test_an_invalid_description_is_said_and_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "dataset_description.json").write_bytes(b'{"Name": "\xff')
    (tmp_path / "CHANGES").write_text("Revision history\n\n2.0.1 2023-07-05\n - x\n1.0.0 2020\n")
    assert read_dataset_description(tmp_path)["version"] == "2.0.1"
    assert "not valid JSON" in caplog.text


@pytest.mark.parametrize(
    ("dataset", "version", "pairs"),
    [
        ("ds002330", "1.1.0", 66),
        ("ds002382", "1.0.0", 61),
        ("ds003717", "1.0.1", 60),
        ("ds003745", "2.1.1", 50),
        ("ds004285", "1.0.0", 78),
    ],
)
def test_real_openneuro_trees_hold_the_published_number_of_pairs(
    shared_data: Path, tmp_path: Path, dataset: str, version: str, pairs: int
) -> None:
    tree = shared_data.parent / "openneuro_trees" / dataset
    if not tree.is_dir():
        pytest.skip(f"no file trees at {tree}")
    with (tree / "images.tsv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["version"] == version]
    root = make_tree(tmp_path / dataset, *(row["path"] for row in rows))
    for published in tree.iterdir():
        if published.name != "images.tsv":
            (root / published.name).write_bytes(published.read_bytes())
    make_tree(root, *(f"derivatives/fmriprep/{row['path']}" for row in rows[:9]))
    make_tree(root, *(f"sub-2{n:02}/func/sub-2{n:02}_events.tsv" for n in range(48)))

    sessions, exclusions = index_dataset(root)
    assert len(sessions) == pairs
    assert all(session.t1w and session.t2w for session in sessions)
    assert Counter(e.reason for e in exclusions) == {"no NIfTI image in an anat folder": 48}
    assert read_dataset_description(root)["license"] == "CC0"
    assert read_dataset_description(root)["doi"].startswith(f"10.18112/openneuro.{dataset}.v")


@pytest.mark.parametrize(
    ("dataset", "expected"),  # sessions with both, with T1w only, with T2w only
    [
        ("openms_raw", (6, 2, 1)),
        ("openms_mni", (3, 0, 0)),
        ("cstar", (1, 0, 0)),
        ("ixi_t1_2mm", (0, 30, 0)),
        ("ixi_thick", (1, 0, 0)),
        ("arc_t2", (0, 0, 3)),
    ],
)
def test_real_folders_are_indexed_completely(
    shared_data: Path, dataset: str, expected: tuple[int, int, int]
) -> None:
    sessions, exclusions = index_dataset(shared_data / dataset)
    present = Counter((s.t1w is not None, s.t2w is not None) for s in sessions)
    assert (present[True, True], present[True, False], present[False, True]) == expected
    assert exclusions == []


def test_each_input_gives_those_of_the_participants_that_it_has(tmp_path: Path) -> None:
    for site, subjects in (("a", (1, 2)), ("b", (2, 3))):
        for subject in subjects:
            (tmp_path / site / f"sub-{subject}").mkdir(parents=True)
    folders = {site: tmp_path / site for site in "ab"}
    chosen = choose_participants(folders, ["sub-1", "2"])
    assert chosen == {"a": ["sub-1", "sub-2"], "b": ["sub-2"]}
    assert choose_participants(folders, None) == {"a": None, "b": None}
    with pytest.raises(ValueError, match="no participant sub-4 in any input. Found in a: sub-1, s"):
        choose_participants(folders, ["1", "4"])
    with pytest.raises(ValueError, match="b has none of the participants sub-1"):
        choose_participants(folders, ["1"])
