"""Scans of labelled heads: contrasts as in a scanner, truth that fits them, files made once."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, map_coordinates

from data_prep import acquisition, label_simulation
from data_prep.bids import index_dataset
from data_prep.cluster import Workers
from data_prep.label_maps import LabelledHead, load_head
from data_prep.label_protocols import (
    MPRAGE_RANGES,
    Protocol,
    compute_signal,
    describe_protocol,
    draw_protocols,
)
from data_prep.label_relaxation import (
    draw_lesions,
    draw_relaxation,
    draw_texture,
    draw_tissues,
)
from data_prep.label_simulation import (
    LabelScan,
    draw_dura,
    draw_rim,
    draw_vessels,
    simulate_session,
)
from data_prep.label_tissues import MATERIAL_NAMES
from data_prep.labels import list_files, simulate_labels
from data_prep.mr_signal import (
    TISSUES,
    InversionSpinEcho,
    Mprage,
    SpinEcho,
    SpoiledEcho,
    Tissue,
    compute_mprage_signal,
    compute_spoiled_echo_signal,
)
from tests.label_map_fixture import draw_labels, write_label_map

CSF, GREY, WHITE = 1, 2, 3
COARSE_MM = (3.0, 3.0, 3.0)
PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> LabelledHead:
    return load_head(write_label_map(tmp_path_factory.mktemp("maps") / "head.nii.gz"))


def draw_coarse(rng: np.random.Generator) -> tuple[Protocol, Protocol]:
    """Protocols as usual, of few voxels."""
    t1w, t2w = draw_protocols(rng)
    return tuple(
        Protocol(each.contrast, each.sequence, COARSE_MM, each.field_strength_t)
        for each in (t1w, t2w)
    )


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_simulation, "draw_protocols", draw_coarse)


@pytest.fixture(scope="module")
def scan(head: LabelledHead) -> LabelScan:
    """The first session of a subject."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_simulation, "draw_protocols", draw_coarse)
        return simulate_session(head, name="sub-a", seed=0, number=1)


def sample_t2w(scan: LabelScan, t1w_from_t2w: NDArray[np.float64]) -> NDArray[np.float64]:
    """The T2w at the voxels of the T1w's grid."""
    t1w_grid, t2w_grid = scan.grids
    matrix = np.linalg.inv(t2w_grid.affine) @ np.linalg.inv(t1w_from_t2w) @ t1w_grid.affine
    voxels = np.indices(t1w_grid.shape).reshape(3, -1)
    where = matrix[:3, :3] @ voxels + matrix[:3, 3:]
    return map_coordinates(scan.t2w.astype(float), where, order=1).reshape(t1w_grid.shape)


def test_the_ernst_equation_gives_the_value_worked_out_by_hand() -> None:
    # T1 1 s, TR 20 ms, 25 degrees: E = 0.980199; sin 0.422618, cos 0.906308
    # 0.8 * 0.422618 * 0.019801 / (1 - 0.888362) * exp(-0.05) = 0.057044
    tissue = Tissue(t1_s=1.0, t2_s=0.1, proton_density=0.8)
    signal = compute_spoiled_echo_signal(tissue, SpoiledEcho(0.02, 0.005, 25))
    assert signal == pytest.approx(0.057044, abs=1e-6)


def test_a_map_has_the_signal_of_each_of_its_voxels() -> None:
    tissues = [mean for mean, _ in TISSUES.values()]
    maps = Tissue(*np.array([[t.t1_s, t.t2_s, t.proton_density] for t in tissues]).T)
    sequence = Mprage(2.3, 0.9, 0.003, 0.007, 9.0, 176)
    expected = [compute_mprage_signal(tissue, sequence) for tissue in tissues]
    np.testing.assert_allclose(compute_mprage_signal(maps, sequence), expected, rtol=1e-12)


def test_protocols_stay_in_their_ranges_and_all_kinds_occur() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_protocols(rng) for _ in range(200)]
    kinds = {type(t1w.sequence) for t1w, _ in drawn}
    assert kinds == {Mprage, SpoiledEcho, SpinEcho, InversionSpinEcho}
    for t1w, t2w in drawn:
        if isinstance(t1w.sequence, Mprage):
            low, high = MPRAGE_RANGES["inversion_time_s"]
            assert low <= t1w.sequence.inversion_time_s <= high
        assert isinstance(t2w.sequence, SpinEcho)
        assert 0.08 <= t2w.sequence.echo_time_s <= 0.12
        assert t1w.field_strength_t == t2w.field_strength_t
        assert max(t1w.spacing_mm[:2] + t2w.spacing_mm[:2]) <= 1.25


@pytest.mark.parametrize("contrast", ["T1w", "T2w"])
def test_every_protocol_orders_the_tissues_as_its_contrast_does(contrast: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        protocol = draw_protocols(rng)[contrast == "T2w"]
        csf, grey, white = (
            abs(compute_signal(TISSUES[name][0], protocol.sequence)) for name in ("CSF", "GM", "WM")
        )
        assert (white > grey > csf) if contrast == "T1w" else (csf > grey > white), protocol


def test_side_cars_state_seconds_degrees_and_the_field() -> None:
    sequence = Mprage(2.3, 0.9, 0.003, 0.007, 9.0, 176)
    found = describe_protocol(Protocol("T1w", sequence, (1.0, 1.0, 2.0), 1.5))
    assert (found["InversionTime"], found["FlipAngle"], found["SliceThickness"]) == (0.9, 9.0, 2.0)
    assert found["MagneticFieldStrength"] == 1.5


def test_relaxation_is_the_tables_with_a_texture_in_the_brain_alone(head: LabelledHead) -> None:
    found = draw_relaxation(head, field_strength_t=3.0, rng=np.random.default_rng(0))
    white = head.labels == 2
    # between 0.832 s (Wansapura et al. 1999) and 1.084 s (Stanisz et al. 2005), 8 % beside that
    assert 0.832 * 0.92 < np.median(found.t1_s[white]) < 1.084 * 1.08
    assert np.std(np.log(found.t1_s[white])) == pytest.approx(0.05, rel=0.4)
    assert np.std(found.t1_s[head.labels == 511]) < 1e-4
    assert (found.proton_density[head.labels == 515] == 0).all()


def test_grey_matter_outshines_white_as_in_living_brains() -> None:
    """By T2 alone, at an echo time of 100 ms: Cox and Gowland .98, Wansapura .71, Gelman .70."""
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(300):
        tissues = draw_tissues(3.0, rng)
        rates = {name: 1 / tissues[name].t2_s for name in ("GM", "WM")}
        ratios.append(np.exp(-0.1 * (rates["WM"] - rates["GM"])))
    low, middle, high = np.percentile(ratios, (5, 50, 95))  # subjects differ by 4 % beside that
    assert 0.60 < low < 0.70 < middle < 0.85 < high < 1.0


def test_white_matter_relaxes_faster_at_the_lower_field(head: LabelledHead) -> None:
    high, low = (
        draw_relaxation(head, field_strength_t=field, rng=np.random.default_rng(0)).t1_s
        for field in (3.0, 1.5)
    )
    white = head.labels == 2
    assert np.median(low[white]) / np.median(high[white]) == pytest.approx(0.5 ** (1 / 3), rel=1e-3)
    fluid = head.labels == 24
    np.testing.assert_array_equal(low[fluid], high[fluid])


def test_textures_have_mean_zero_and_deviation_one(head: LabelledHead) -> None:
    field = draw_texture(head, np.random.default_rng(0))
    assert field.shape == head.labels.shape
    assert field.mean() == pytest.approx(0, abs=0.15)
    assert field.std() == pytest.approx(1, abs=0.1)


def test_lesions_lie_in_white_matter_labelled_ones_among_them(head: LabelledHead) -> None:
    drawn = [draw_lesions(head, np.random.default_rng(seed)) for seed in range(6)]
    sizes = [int((damage > 0.2).sum()) for damage in drawn]
    assert min(sizes) < max(sizes)
    for damage in drawn:
        assert 0 <= damage.min() <= damage.max() <= 1
        assert (damage[head.classes != WHITE] == 0).all()
        assert damage[head.labels == 77].mean() > 0.1


def test_dura_takes_the_fluid_far_from_the_brain_and_no_sulcus(head: LabelledHead) -> None:
    drawn = draw_dura(head, np.random.default_rng(0))
    dura = drawn.materials == MATERIAL_NAMES.index("dura")
    fluid = head.materials == MATERIAL_NAMES.index("subarachnoid CSF")
    assert np.array_equal(drawn.materials[~dura], head.materials[~dura])
    assert not (dura & ~fluid).any() and (drawn.classes[dura] == 0).all()
    assert not dura[head.distance_mm <= 0].any()
    assert dura[fluid & (head.distance_mm > 4)].all()
    near = fluid & (head.distance_mm > 0.4) & (head.distance_mm < 0.6)
    assert 0.2 < dura[near].mean() < 0.8  # half of the surface has less than 0.5 mm of fluid


def test_vessels_are_thin_and_lie_in_the_fluid_about_the_brain(head: LabelledHead) -> None:
    drawn = draw_vessels(head, np.random.default_rng(0))
    vessels = drawn.materials == MATERIAL_NAMES.index("vessel")
    assert np.array_equal(drawn.materials[~vessels], head.materials[~vessels])
    assert np.array_equal(drawn.classes, head.classes)
    fluid = head.labels == 24
    assert (fluid | ~vessels).all()
    assert vessels[fluid].mean() == pytest.approx(0.259**2, rel=0.35)  # P(|n| < .33) = .259
    assert not binary_erosion(vessels, iterations=2).any()


@pytest.mark.parametrize(
    ("sequence", "low", "high"),
    [
        (SpinEcho(repetition_time_s=0.5, echo_time_s=0.01), 0.0, 0.3),
        (InversionSpinEcho(2.2, 1.0, 0.012), 0.0, 0.3),
        (SpoiledEcho(repetition_time_s=0.02, echo_time_s=0.004, flip_angle_deg=25.0), 0.4, 2.0),
    ],
)
def test_blood_is_dark_in_a_spin_echo_and_as_bright_as_tissue_in_a_gradient_echo(
    head: LabelledHead, monkeypatch: pytest.MonkeyPatch, sequence: Any, low: float, high: float
) -> None:
    """Whatever the contrast, beside fluid that is darker than both in these T1w."""
    seen: dict[str, Any] = {}

    def keep(signal: NDArray[np.float32], sigma: Any) -> NDArray[np.float32]:
        seen["signal"] = signal.copy()
        return signal

    monkeypatch.setattr(label_simulation, "gaussian_filter", keep)
    protocol = Protocol("T1w", sequence, COARSE_MM, 3.0)
    monkeypatch.setattr(label_simulation, "draw_protocols", lambda rng: (protocol, protocol))
    monkeypatch.setattr(label_simulation, "draw_vessels", mark_fluid_as_vessel)
    simulate_session(head, name="sub-a", seed=0, number=1)
    blood = np.median(seen["signal"][head.labels == 24])
    grey = np.median(seen["signal"][head.classes == GREY])
    assert low <= blood / grey <= high


def mark_fluid_as_vessel(head: LabelledHead, _: np.random.Generator) -> LabelledHead:
    vessel = np.uint8(MATERIAL_NAMES.index("vessel"))
    return replace(head, materials=np.where(head.labels == 24, vessel, head.materials))


def test_the_rim_of_the_mask_varies_about_a_millimetre(head: LabelledHead) -> None:
    rim = draw_rim(head, np.random.default_rng(0))
    assert 0 <= rim.min() < 0.3
    assert 2 < rim.max() <= 3.5
    assert np.median(rim) == pytest.approx(1.0, abs=0.3)


@pytest.mark.usefixtures("coarse")
def test_images_have_their_contrast_where_the_truth_says(
    head: LabelledHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acquisition, "BIAS_SD", 0.0)  # the cortex lies about the white matter
    for number in (1, 3):
        scan = simulate_session(head, name="sub-a", seed=0, number=number)
        t2w = sample_t2w(scan, scan.t1w_from_t2w)
        means = {
            tissue: (scan.t1w[scan.dseg == tissue].mean(), t2w[scan.dseg == tissue].mean())
            for tissue in (CSF, GREY, WHITE)
        }
        assert means[WHITE][0] > means[GREY][0] > means[CSF][0]
        assert means[CSF][1] > means[GREY][1] > means[WHITE][1]


def test_no_pose_near_the_stored_one_fits_the_truth_better(scan: LabelScan) -> None:
    def spread(pose: NDArray[np.float64]) -> float:
        """Variance of the T2w within tissues."""
        t2w = sample_t2w(scan, pose)
        return float(sum(t2w[scan.dseg == tissue].var() for tissue in (GREY, WHITE)))

    for axis in range(3):
        for shift_mm in (-3.0, 3.0):
            moved = scan.t1w_from_t2w.copy()
            moved[axis, 3] += shift_mm
            assert spread(scan.t1w_from_t2w) < spread(moved)


def test_truth_is_one_shape_on_the_grid_of_the_t1w(scan: LabelScan) -> None:
    assert scan.t1w.shape == scan.dseg.shape == scan.labels.shape == scan.grids[0].shape
    assert set(np.unique(scan.labels)) <= set(np.unique(draw_labels()))
    assert (scan.dseg[scan.brain_mask == 0] == 0).all()
    volume_ml = scan.brain_mask.sum() * np.prod(COARSE_MM) / 1000
    assert volume_ml == pytest.approx(4 / 3 * np.pi * 67 * 80 * 67 / 1000, rel=0.35)


@pytest.mark.usefixtures("coarse")
def test_a_session_depends_on_the_seed_its_name_and_its_number(
    head: LabelledHead, scan: LabelScan
) -> None:
    def simulate(**change: Any) -> LabelScan:
        return simulate_session(head, **({"name": "sub-a", "seed": 0, "number": 1} | change))

    assert np.array_equal(scan.t1w, simulate().t1w)
    for change in ({"name": "sub-b"}, {"number": 2}, {"seed": 1}):
        other = simulate(**change)
        assert scan.t1w.shape != other.t1w.shape or not np.array_equal(scan.t1w, other.t1w)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("labels")
    write_label_map(folder / "maps" / "seg_01.nii.gz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_simulation, "draw_protocols", draw_coarse)
        simulate(folder / "maps", folder / "bids", sessions=2)
    return folder / "maps", folder / "bids"


def simulate(maps: Path, out: Path, **change: Any) -> None:
    options = {"sessions": 1, "seed": 0, "licence": "CC0", "workers": Workers(1)}
    simulate_labels(maps, out, **(options | change))


def test_the_dataset_is_read_as_bids_with_both_contrasts_of_every_session(
    dataset: tuple[Path, Path],
) -> None:
    sessions, passed_over = index_dataset(dataset[1], participant_label=None, dataset="labels")
    assert [(each.subject, each.session) for each in sessions] == [
        ("sub-seg01", "ses-01"),
        ("sub-seg01", "ses-02"),
    ]
    assert all(each.t1w is not None and each.t2w is not None for each in sessions)
    assert passed_over == []
    description = json.loads((dataset[1] / "dataset_description.json").read_text())
    assert description["License"] == "CC0"


@pytest.mark.usefixtures("coarse")
def test_only_what_is_missing_is_made_again_and_is_the_same(dataset: tuple[Path, Path]) -> None:
    maps, out = dataset
    first, second = (out / list_files("sub-seg01", number)[1] for number in (1, 2))
    content, written = second.read_bytes(), first.stat().st_mtime_ns
    second.unlink()
    simulate(maps, out, sessions=2)
    assert second.read_bytes() == content
    assert first.stat().st_mtime_ns == written


def test_other_maps_or_another_seed_are_refused(dataset: tuple[Path, Path], tmp_path: Path) -> None:
    maps, out = dataset
    with pytest.raises(ValueError, match="holds a simulation made with"):
        simulate(maps, out, seed=1)
    write_label_map(tmp_path / "seg_01.nii.gz", draw_labels(scale=0.95))
    with pytest.raises(ValueError, match="holds a simulation made with"):
        simulate(tmp_path, out)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.where(draw_labels() == 77, 29, draw_labels()), "seg_01.nii.gz: labels 29 are neither"),
        (draw_labels(scale=0.5), r"seg_01.nii.gz: \d+ ml of grey and white matter"),
    ],
)
def test_one_map_with_a_fault_is_named_before_anything_is_made(
    tmp_path: Path, labels: np.ndarray, message: str
) -> None:
    write_label_map(tmp_path / "maps" / "seg_01.nii.gz", labels)
    write_label_map(tmp_path / "maps" / "seg_02.nii.gz")
    with pytest.raises(ValueError, match=message):
        simulate(tmp_path / "maps", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"sessions": 0}, "sessions is 0"), ({"seed": -1}, "seed is -1")],
)
def test_arguments_out_of_range_are_named(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        simulate(tmp_path, tmp_path / "out", **change)


@pytest.mark.slow
def test_the_command_makes_a_sound_dataset_of_pairs_with_their_truth(tmp_path: Path) -> None:
    for number, scale in enumerate((0.95, 1.0, 1.05), start=1):
        labels = draw_labels(scale=scale)
        write_label_map(tmp_path / "maps" / f"seg_{number}.nii.gz", labels)
    command = [sys.executable, "-m", "data_prep"]
    out = str(tmp_path / "out")
    made = [*command, "labels", str(tmp_path / "maps"), out, "--licence", "CC0", "--workers", "2"]
    subprocess.run(made, check=True, cwd=PROJECT)
    subjects = pd.read_csv(tmp_path / "out" / "subjects.tsv", sep="\t")
    assert subjects["has_pair"].all()
    assert set(subjects["split"]) == {"train", "validation", "test"}
    shards = tmp_path / "out" / "shards" / "labels"
    image, truth, mask = (
        np.load(shards / f"sub-seg1_ses-01_T1w{kind}.npy") for kind in ("", "_dseg", "_mask")
    )
    assert truth.shape == image.shape
    means = [image[(truth == tissue) & (mask > 0)].mean() for tissue in (CSF, GREY, WHITE)]
    assert means == sorted(means)
    description = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert "CC0" in json.dumps(description["sources"]["labels"])
    subprocess.run([*command, "verify", out], check=True, cwd=PROJECT)
