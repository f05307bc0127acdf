"""From a NIfTI to a synthetic NIfTI, through the bundle's real inference.json."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scripts.directions import select_model

from tests.inference_runs import SYNTHETIC, make_workflow, run, save_model
from tests.small_heads import make_head, save_dataset, save_head
from tests.training_runs import find_error


def test_a_head_becomes_a_synthetic_head_on_its_own_grid(tmp_path):
    save_model(tmp_path)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    (outcome,) = run(tmp_path, input=str(source))
    assert (outcome.status, outcome.message) == ("done", "")
    assert outcome.brain_cm3 == pytest.approx(1270, rel=0.05)  # 4/3 pi 63 x 78 x 62 mm
    result, before = nib.load(tmp_path / "out" / outcome.output), nib.load(source)
    assert result.shape == before.shape
    np.testing.assert_array_equal(result.affine, before.affine)
    voxels, brain = result.get_fdata(), before.get_fdata() > 0
    assert np.mean(voxels[brain] > 0) > 0.95
    assert voxels.min() >= 0
    assert voxels.max() <= 1000
    mask = nib.load(tmp_path / "out" / "sub-01_space-T1w_desc-brain_mask.nii.gz")
    np.testing.assert_array_equal(mask.affine, before.affine)
    assert np.all(voxels[mask.get_fdata() == 0] == 0)
    assert (tmp_path / "out" / f"{SYNTHETIC}.png").is_file()


def test_the_side_car_says_what_the_image_is_and_names_no_place(tmp_path):
    model = save_model(tmp_path)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    run(tmp_path, input=str(source))
    side_car = json.loads((tmp_path / "out" / f"{SYNTHETIC}.json").read_text())
    assert "not a measurement" in side_car["Description"]
    assert side_car["Sources"] == ["sub-01_T1w.nii.gz"]
    import hashlib

    sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    assert side_car["Models"] == [{"File": "model.pt", "SHA256": sha256}]
    assert side_car["Parameters"]["brain_extraction"] == "none"
    assert str(tmp_path) not in json.dumps(side_car)


def test_a_bids_dataset_gives_a_bids_derivative(tmp_path):
    save_model(tmp_path, "model_t2w_to_t1w.pt")
    study = save_dataset(tmp_path / "study", pairs=2)
    outcomes = run(tmp_path, input=str(study), direction="t2w_to_t1w")
    assert [outcome.output for outcome in outcomes] == [
        "sub-01/anat/sub-01_space-T2w_desc-synthetic_T1w.nii.gz",
        "sub-02/anat/sub-02_space-T2w_desc-synthetic_T1w.nii.gz",
    ]
    description = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"


def test_one_bad_scan_does_not_end_the_run(tmp_path):
    save_model(tmp_path)
    study = save_dataset(tmp_path / "study", t1w_only=3)
    (study / "sub-02" / "anat" / "sub-02_T1w.nii.gz").write_text("no image")
    first, second, third = run(tmp_path, input=str(study))
    assert (first.status, second.status, third.status) == ("done", "failed", "done")
    assert "cannot be read as NIfTI" in second.message
    assert not list((tmp_path / "out" / "sub-02").rglob("*"))


def test_nothing_translated_is_an_error(tmp_path):
    save_model(tmp_path)
    (tmp_path / "bad.nii.gz").write_text("no image")
    workflow = make_workflow(tmp_path, input=str(tmp_path / "bad.nii.gz"))
    workflow.initialize()
    with pytest.raises(RuntimeError) as caught:
        workflow.run()
    assert "Nothing was translated (1 failed). bad.nii.gz" in str(caught.value.__cause__)


def test_the_same_scan_gives_the_same_bytes(tmp_path):
    save_model(tmp_path)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    for name in ("a", "b"):
        run(tmp_path, input=str(source), output_dir=str(tmp_path / name))
    for path in sorted((tmp_path / "a").glob("sub-*")):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_a_model_that_gives_no_numbers_is_an_error(tmp_path):
    path = save_model(tmp_path)
    weights = torch.load(path, weights_only=True)
    next(reversed(weights.values())).fill_(float("nan"))
    torch.save(weights, path)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path, input=str(source))
    assert "no finite numbers" in find_error(caught)
    assert not list((tmp_path / "out").glob("sub-*"))


def test_a_reference_of_the_wrong_contrast_is_refused(tmp_path):
    save_model(tmp_path)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path, input=str(source), reference=str(source), bias_correction=False)
    assert "looks like T1w" in find_error(caught)
    assert "masked by --reference_brain_extraction" in find_error(caught)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_single_slice_of_every_plane_is_translated(tmp_path, plane):
    save_model(tmp_path)
    head = make_head(1, "T1w")
    axis = {"sagittal": 0, "coronal": 1, "axial": 2}[plane]
    middle = tuple(slice(n // 2, n // 2 + 1) if i == axis else slice(None)
                   for i, n in enumerate(head.shape))  # fmt: skip
    nib.save(head.slicer[middle], tmp_path / "slice.nii.gz")
    (outcome,) = run(tmp_path, input=str(tmp_path / "slice.nii.gz"), plane=plane)
    assert outcome.status == "done", outcome.message
    assert nib.load(tmp_path / "out" / outcome.output).shape == head.slicer[middle].shape


def test_odd_names_are_carried_through(tmp_path):
    save_model(tmp_path)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    folder = tmp_path / "odd"
    folder.mkdir()
    shutil.copy(source, folder / "a$^$b.nii.gz")
    shutil.copy(source, os.fsencode(folder) + b"/M\xfcller.nii.gz")
    rows = run(tmp_path, input=str(folder))
    assert [row.status for row in rows] == ["done", "done"]


def test_several_views_and_models_are_averaged_and_their_disagreement_is_written(tmp_path):
    save_model(tmp_path)
    save_model(tmp_path / "other", seed=1)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    ensemble = {"ensemble_dirs": str(tmp_path / "other"), "views": 2, "uncertainty": True}
    run(tmp_path, input=str(source), **ensemble)
    volumes = {}
    for name in ("synthetic", "uncertainty"):
        path = tmp_path / "out" / f"sub-01_space-T1w_desc-{name}_T2w.nii.gz"
        volumes[name] = nib.load(path).get_fdata()
    for number, folder in enumerate((tmp_path, tmp_path / "other")):
        run(tmp_path, input=str(source), models_dir=str(folder), views=2,
            output_dir=str(tmp_path / str(number)))  # fmt: skip
    single = [
        nib.load(tmp_path / str(number) / f"{SYNTHETIC}.nii.gz").get_fdata() for number in (0, 1)
    ]
    np.testing.assert_allclose(volumes["synthetic"], np.mean(single, axis=0), atol=1.01)
    # Two models that differ by d have a standard deviation of d / 2 at least.
    apart = np.abs(single[0] - single[1]) / 2
    assert np.all(volumes["uncertainty"] >= apart - 2)
    assert volumes["uncertainty"].max() > 10


def test_uncertainty_of_a_single_pass_is_refused_with_the_way_out(tmp_path):
    save_model(tmp_path)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path, input=str(source), uncertainty=True, views=1)
    assert "--views 4" in find_error(caught)


def test_the_scale_of_a_reference_is_taken_over(tmp_path):
    save_model(tmp_path)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    reference = save_head(tmp_path / "heads", "sub-02", "T2w", seed=2)
    run(tmp_path, input=str(source), reference=str(reference), bias_correction=False)
    image = nib.load(tmp_path / "out" / f"{SYNTHETIC}.nii.gz")
    real = nib.load(reference).get_fdata()
    low, high = np.percentile(real[real > 0], (0.5, 99.5))
    inside = image.get_fdata()[image.get_fdata() != 0]
    assert image.get_data_dtype() == np.float32
    assert inside.min() >= low - 1
    assert inside.max() <= high + 1
    plain = run(tmp_path, input=str(source), output_dir=str(tmp_path / "b"), bias_correction=False)
    scaled = nib.load(tmp_path / "b" / plain[0].output).get_fdata() / 1000 * (high - low) + low
    brain = image.get_fdata() != 0
    np.testing.assert_allclose(image.get_fdata()[brain], scaled[brain], atol=1)


def read_reference_range(folder, **options) -> list[float]:
    """What the background and the brightest intensity of a run are stored as."""
    workflow = make_workflow(folder, bias_correction=False, **options)
    workflow.initialize()
    return workflow.parser.get_parsed_content("scale").describe()["range"]


def test_a_reference_is_masked_by_a_method_of_its_own(tmp_path):
    save_model(tmp_path)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    reference = save_head(tmp_path / "heads", "sub-02", "T2w", seed=2)
    masks = {}
    for name, path in (("input", source), ("reference", reference)):
        image = nib.load(path)
        masks[name] = str(tmp_path / f"{name}_mask.nii.gz")
        mask = (image.get_fdata() > 0).astype(np.uint8)
        nib.save(nib.Nifti1Image(mask, image.affine), masks[name])
    options = {"input": str(source), "reference": str(reference)}
    expected = read_reference_range(tmp_path, **options)
    assert expected == read_reference_range(
        tmp_path, **options, brain_extraction=masks["input"],
        reference_brain_extraction=masks["reference"],
    )  # fmt: skip
    with pytest.raises(RuntimeError) as caught:
        read_reference_range(tmp_path, **options, brain_extraction=masks["input"])
    message = find_error(caught)
    assert (
        "input_mask.nii.gz is the brain mask of the input, not of the reference sub-02" in message
    )


def test_one_slice_comes_back_as_one_slice(tmp_path):
    save_model(tmp_path)
    head = make_head(1, "T1w")
    flat = nib.Nifti1Image(np.asarray(head.dataobj)[:, :, 22], head.affine)
    nib.save(flat, tmp_path / "slice.nii.gz")
    (outcome,) = run(tmp_path, input=str(tmp_path / "slice.nii.gz"))
    assert (outcome.status, outcome.message) == ("done", "")
    result = nib.load(tmp_path / "out" / outcome.output)
    assert result.shape == flat.shape
    np.testing.assert_array_equal(result.affine, nib.load(tmp_path / "slice.nii.gz").affine)


def test_a_model_of_three_slices_runs_with_its_neighbours_averaged(tmp_path):
    save_model(tmp_path, slices=3)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    results = []
    for average in (False, True):
        run(tmp_path, input=str(source), slices=3, average_neighbours=average, overwrite=True)
        results.append(nib.load(tmp_path / "out" / f"{SYNTHETIC}.nii.gz").get_fdata())
    assert np.abs(results[0] - results[1]).max() > 5


def test_all_that_the_zoo_and_its_apps_look_for_is_there(tmp_path):
    save_model(tmp_path)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    workflow = make_workflow(tmp_path, input=str(source))
    workflow.initialize()
    assert workflow.check_properties() == []
    workflow.finalize()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"input": "absent.nii.gz"}, "no such file or folder"),
        ({"direction": "t1_to_t2"}, "Expected one of"),
        ({"brain_extracton": "none"}, "did you mean --brain_extraction"),
        ({"models_dir": "nowhere"}, "no such model in nowhere"),
        ({"views": 9}, "views is 9; expected 1 to 8"),
        ({"average_neighbours": True}, "--views 4"),
        ({"overwrite": "perhaps"}, "expected true or false"),
        ({"largest_value": 40000}, "expected 1 to 32767"),
        ({"participant_label": "01"}, "needs a BIDS dataset"),
        ({"ensemble_dirs": "nowhere"}, "no such model in nowhere"),
        ({"output_dir": "/dev/null/out"}, "cannot be written to"),
        ({"batch_size": 0}, "batch_size is 0; expected 1 or more"),
        ({"brain_extraction": "absent.nii"}, "there is no such mask file"),
        ({"device": "gpu"}, "expected cpu, cuda or cuda:N"),
        ({"output_dir": "study #2"}, "output_dir is 'study ::2': MONAI reads # as ::"),
        ({"input": 20240101}, "input is 20240101, where a path was expected"),
        ({"output_dir": ("a", "b")}, "with a leading ./"),
        ({"spacing_mm": "1.5mm"}, "spacing_mm is '1.5mm'; expected a number, such as"),
    ],
)
def test_a_wrong_option_says_what_was_expected(tmp_path, overrides, message):
    save_model(tmp_path)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    with pytest.raises((ValueError, OSError, RuntimeError)) as caught:
        run(tmp_path, **{"input": str(source), **overrides})
    assert message in find_error(caught)


def test_the_model_of_a_direction(tmp_path):
    save_model(tmp_path, "model_t2w_to_t1w.pt")
    assert select_model(str(tmp_path), "t2w_to_t1w").endswith("model_t2w_to_t1w.pt")
    with pytest.raises(FileNotFoundError, match="--models_dir"):
        select_model(str(tmp_path), "t1w_to_t2w")


def test_pathlike_names_of_shared_folders_do_not_collide(tmp_path):
    save_model(tmp_path)
    for name in ("a", "b"):
        save_head(tmp_path / "studies" / name, "sub-01", "T1w", seed=1)
    outcomes = run(tmp_path, input=str(tmp_path / "studies"))
    assert len({outcome.output for outcome in outcomes}) == 2
    assert all(Path(tmp_path / "out" / outcome.output).is_file() for outcome in outcomes)
