"""The models in the box: those that the card names, and better than what needs no training."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from scripts.config_references import load_config
from skimage.metrics import structural_similarity

from data_prep.simulated_dataset import encode_volume
from data_prep.simulation import Scan, simulate_subject
from tests.inference_config import BUNDLE
from tests.inference_runs import SMALL, run

CARD = (BUNDLE / "docs" / "README.md").read_text()
INFERENCE = load_config(BUNDLE / "configs" / "inference.json")
FILES = (
    "models/model.pt",
    "models/model_t2w_to_t1w.pt",
    "discriminators/discriminator_t1w.pt",
    "discriminators/discriminator_t2w.pt",
)
ZOO_LIMIT_BYTES = 25_000_000
CSF, GREY, WHITE = 1, 2, 3
Volume = NDArray[np.float64]


def translate(folder: Path, scan: Path, direction: str, **options: Any) -> Volume:
    """As the first command of README does, with the configs' own sizes."""
    sizes = {name: INFERENCE[name] for name in SMALL}
    (outcome,) = run(
        folder, input=str(scan), direction=direction, models_dir=str(BUNDLE / "models"),
        output_dir=str(folder / direction), mosaic=False,
        **{"bias_correction": True, **sizes, **options},
    )  # fmt: skip
    assert outcome.status == "done", outcome.message
    return nib.load(folder / direction / outcome.output).get_fdata()


@pytest.mark.parametrize("name", FILES)
def test_the_card_has_the_checksum_of_each_and_the_zoo_takes_it(name: str) -> None:
    content = (BUNDLE / name).read_bytes()
    assert f"| `{name}` | {hashlib.sha256(content).hexdigest()} |" in CARD
    assert len(content) < ZOO_LIMIT_BYTES


def test_the_metadata_are_of_them_and_of_the_cards_tables() -> None:
    metadata = load_config(BUNDLE / "configs" / "metadata.json")
    assert metadata["weights"]["sha256"] == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((BUNDLE / "models").glob("*.pt"))
    }
    box = CARD[CARD.index("### The models in the box") : CARD.index("#### The same command")]
    found = {}
    for contrast, table in zip(("t2w", "t1w"), box.split("| subject (")[1:], strict=True):
        ssim = [float(row) for row in re.findall(r"^\| [^|]*\(\d\) \| \**([\d.]+)", table, re.M)]
        found[f"{contrast}_ssim_of_{len(ssim)}_real_subjects"] = round(sum(ssim) / len(ssim), 2)
    assert metadata["eval_metrics"] == found


def test_their_discriminators_have_the_sizes_of_train() -> None:
    sizes = load_config(BUNDLE / "discriminators" / "sizes.json")
    train = load_config(BUNDLE / "configs" / "train.json")
    assert sizes == {name: train[name] for name in ("discriminator_downsamplings",)}


@pytest.fixture(scope="module")
def phantom() -> Scan:
    return simulate_subject(seed=0, index=1, spacing_mm=2.5)[1]


@pytest.fixture(scope="module")
def synthetic_t2w(phantom: Scan, tmp_path_factory: pytest.TempPathFactory) -> Volume:
    folder = tmp_path_factory.mktemp("phantom")
    brain = folder / "sub-01_T1w.nii.gz"
    brain.write_bytes(encode_volume(phantom.t1w * phantom.brain_mask, phantom.t1w_grid))
    return translate(folder, brain, "t1w_to_t2w")


def test_a_phantom_gets_the_tissue_order_of_t2w(phantom: Scan, synthetic_t2w: Volume) -> None:
    """Further inside than the two voxels that are dura, not fluid, in most real scans."""
    inside = binary_erosion(phantom.brain_mask, iterations=2)
    csf, grey, white = (
        np.median(synthetic_t2w[(phantom.dseg == tissue) & inside]) for tissue in (CSF, GREY, WHITE)
    )
    assert csf > 1.8 * grey
    assert grey > 1.1 * white


def test_the_way_back_finds_the_t1w_again(
    phantom: Scan, synthetic_t2w: Volume, tmp_path: Path
) -> None:
    there = tmp_path / "sub-01_T2w.nii.gz"
    there.write_bytes(encode_volume(synthetic_t2w.astype(np.int16), phantom.t1w_grid))
    back = translate(tmp_path, there, "t2w_to_t1w", bias_correction=False)
    mask = phantom.brain_mask > 0
    assert np.corrcoef(back[mask], phantom.t1w[mask])[0, 1] > 0.8


def scale(image: Volume, mask: NDArray[np.bool_]) -> Volume:
    low, high = np.percentile(image[mask], (0.5, 99.5))
    return np.where(mask, np.clip((image - low) / (high - low), 0, 1), 0)


def compare(image: Volume, real: Volume, mask: NDArray[np.bool_]) -> float:
    _, values = structural_similarity(
        image, real, data_range=1.0, gaussian_weights=True, full=True,
        use_sample_covariance=False,
    )  # fmt: skip
    return float(values[mask].mean())


@pytest.mark.parametrize(
    ("direction", "source", "target"),
    [
        ("t1w_to_t2w", "T1w", "T2w"),
        pytest.param("t2w_to_t1w", "T2w", "T1w", marks=pytest.mark.slow),
    ],
)
def test_a_real_scan_is_nearer_to_its_other_contrast_than_copied_or_inverted(
    direction: str, source: str, target: str, shared_data: Path, tmp_path: Path
) -> None:
    """Every second slice of one scanner's grid, scaled alike, by scikit-image's 3-D similarity."""
    paths = {}
    for name in (source, target):
        image = nib.load(next(shared_data.glob(f"cstar/sub-01/anat/*_{name}.nii.gz")))
        paths[name] = tmp_path / f"sub-01_{name}.nii.gz"
        nib.save(nib.as_closest_canonical(image).slicer[:, :, ::2], paths[name])
    given, real = (nib.load(paths[name]).get_fdata() for name in (source, target))
    mask = given > 0
    synthetic = translate(tmp_path, paths[source], direction)
    scaled = scale(given, mask)
    found, copied, inverted = (
        compare(image, scale(real, mask), mask)
        for image in (scale(synthetic, mask), scaled, np.where(mask, 1 - scaled, 0))
    )
    assert found > max(copied, inverted) + 0.02
