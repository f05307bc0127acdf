"""HD-BET's real code on constructed weights, and which weights are opened at all."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import subprocess
import sys
import zipfile

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scripts import checksums, hd_bet, hd_bet_weights
from scripts.brain_extraction import extract_brain
from scripts.resolved_method import resolve_method

from data_prep.bids_inputs import BidsInputs, build_from_bids
from data_prep.build import BuildOptions
from data_prep.cluster import Workers
from data_prep.dataset_options import DatasetOptions
from data_prep.executor import run_for_each
from data_prep.stages import DEFAULT_BUNDLE
from tests import hdbet_fixture as tiny
from tests.small_heads import save_dataset

hdbet = pytest.mark.hdbet


@pytest.fixture(autouse=True)
def no_pins_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.delenv("HDBET_SHA256", raising=False)
    monkeypatch.setenv("HDBET_WEIGHTS", str(tmp_path / "none"))


def use(monkeypatch, folder, pin=None):
    monkeypatch.setenv("HDBET_WEIGHTS", str(folder))
    monkeypatch.setenv("HDBET_SHA256", pin or tiny.compute_pin(folder))
    return folder


def write_pins(folder, files):
    (folder / hd_bet_weights.PINS).write_text(json.dumps({"files": files}))


def test_weights_are_looked_for_where_the_user_says_else_where_hd_bet_looks(monkeypatch):
    monkeypatch.setenv("HDBET_WEIGHTS", "~/mine")
    assert hd_bet_weights.find_weights().parts[-1] == "mine"
    monkeypatch.setenv("HDBET_WEIGHTS", "")
    monkeypatch.setenv("HOME", "/home/someone")
    expected = "/home/someone/hd-bet_params/release_2.0.0"
    assert str(hd_bet_weights.find_weights()) == expected


@pytest.mark.parametrize("name", hd_bet_weights.FILES)
def test_missing_weights_are_an_error_that_says_how_to_get_them(tmp_path, monkeypatch, name):
    folder = use(monkeypatch, tiny.write_files(tmp_path / "weights", {}))
    (folder / name).unlink()
    for read in (hd_bet_weights.verify_weights, hd_bet_weights.read_weights):
        with pytest.raises(FileNotFoundError, match=f"no weights at .*{name}.*fetch_weights"):
            read(folder)


def test_a_checkpoint_without_a_pin_is_not_opened(tmp_path):
    folder = tiny.write_files(tmp_path / "weights", {})
    with pytest.raises(ValueError, match="Expected a pinned one: set HDBET_SHA256"):
        hd_bet_weights.verify_weights(folder)


def test_what_would_run_code_is_never_unpickled(tmp_path, monkeypatch):
    trace = tmp_path / "trace"
    folder = tiny.write_files(tmp_path / "weights", {"network_weights": tiny.Harmful(trace)})
    use(monkeypatch, folder, "0" * 64)
    with pytest.raises(ValueError, match=r"has sha256 \w{64}. Expected 0{64}"):
        hd_bet_weights.read_weights(folder)
    assert not trace.exists()
    use(monkeypatch, folder)  # vouched for, and still not run
    with pytest.raises(ValueError, match="was not opened, as it holds posix.mkdir"):
        hd_bet_weights.read_weights(folder)
    assert not trace.exists()
    torch.load(folder / hd_bet_weights.CHECKPOINT, weights_only=False)
    assert trace.exists()  # it would have been


def test_numbers_of_numpy_are_plain_values_whichever_numpy_wrote_them(tmp_path, monkeypatch):
    numbers = {"logging": [np.float64(0.5), np.float32(2)], "device": torch.device("cuda")}
    folder = use(monkeypatch, tiny.write_files(tmp_path / "weights", numbers))
    assert hd_bet_weights.read_weights(folder).checkpoint == numbers
    checkpoint = folder / hd_bet_weights.CHECKPOINT
    with zipfile.ZipFile(checkpoint) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(checkpoint, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content.replace(b"numpy._core.", b"numpy.core."))
    use(monkeypatch, folder)
    assert b"numpy.core.multiarray" in checkpoint.read_bytes()
    assert hd_bet_weights.read_weights(folder).checkpoint == numbers


def test_plans_that_have_anything_but_layers_called_are_refused(tmp_path, monkeypatch):
    plans = copy.deepcopy(tiny.PLANS)
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    architecture["network_class_name"] = "subprocess.Popen"
    folder = use(monkeypatch, tiny.write_files(tmp_path / "a", {}, plans))
    with pytest.raises(ValueError, match="3d_fullres from 'subprocess.Popen'. Expected classes of"):
        hd_bet_weights.read_weights(folder)
    architecture["network_class_name"] = "torch.nn.Sequential"
    architecture["arch_kwargs"]["nonlin"] = "os.system"
    folder = use(monkeypatch, tiny.write_files(tmp_path / "b", {}, plans))
    with pytest.raises(ValueError, match=r"os\.system"):
        hd_bet_weights.read_weights(folder)


def test_pins_beside_the_weights_hold_for_every_file_and_the_users_own_comes_first(
    tmp_path, monkeypatch
):
    folder = tiny.write_files(tmp_path / "weights", {})
    pin = tiny.compute_pin(folder)
    write_pins(folder, {hd_bet_weights.CHECKPOINT: pin.upper()})
    assert hd_bet_weights.read_weights(folder).dataset == tiny.DATASET
    write_pins(folder, {hd_bet_weights.CHECKPOINT: pin, "plans.json": "1" * 64})
    for read in (hd_bet_weights.verify_weights, hd_bet_weights.read_weights):
        with pytest.raises(ValueError, match="plans.json has sha256 .* Expected 1111"):
            read(folder)
    write_pins(folder, {hd_bet_weights.CHECKPOINT: "2" * 64})
    use(monkeypatch, folder)
    hd_bet_weights.verify_weights(folder)
    (folder / hd_bet_weights.PINS).write_text("{}")
    with pytest.raises(ValueError, match="not a list of checksums"):
        hd_bet_weights.verify_weights(folder)


def test_auto_takes_hd_bet_where_all_is_there_and_deepbet_otherwise(tmp_path, monkeypatch, caplog):
    image, mask = nib.Nifti1Image(np.ones((4, 4, 4)), np.eye(4)), np.ones((4, 4, 4), bool)
    monkeypatch.setattr("scripts.brain_extraction.extract_with_deepbet", lambda _: mask)
    monkeypatch.setattr(hd_bet, "extract_brain", lambda _: mask)
    monkeypatch.setattr(hd_bet, "find_spec", lambda _: object())
    assert extract_brain(image, "auto")[1] == "deepbet"  # no weights
    folder = tiny.write_files(tmp_path / "weights", {})
    monkeypatch.setenv("HDBET_WEIGHTS", str(folder))
    assert extract_brain(image, "auto")[1] == "deepbet"  # no pin
    assert "nothing vouches for them" in caplog.text
    use(monkeypatch, folder)
    assert extract_brain(image, "auto")[1] == "hd-bet"
    monkeypatch.setattr(hd_bet, "find_spec", lambda _: None)
    assert extract_brain(image, "auto")[1] == "deepbet"  # not installed
    with pytest.raises(ValueError, match="HD-BET is not installed"):
        hd_bet.load_predictor()


def test_a_method_resolves_to_what_makes_the_mask(tmp_path, monkeypatch):
    assert resolve_method("none") == "none"
    assert resolve_method("deepbet") == "deepbet 1.0.2"
    assert resolve_method("auto") == "none or deepbet 1.0.2"
    (tmp_path / "mask.nii").write_bytes(b"mask")
    expected = f"mask file sha256:{hashlib.sha256(b'mask').hexdigest()}"
    assert resolve_method(str(tmp_path / "mask.nii")) == expected
    with pytest.raises(FileNotFoundError, match="no such mask file"):
        resolve_method(str(tmp_path / "other.nii"))
    with pytest.raises(ValueError, match="Expected auto, none"):
        resolve_method("bet")
    monkeypatch.setattr(hd_bet, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="HD-BET is not installed"):
        resolve_method("hd-bet")


def test_hd_bet_resolves_to_releases_and_weights_and_reads_them_once(tmp_path, monkeypatch):
    monkeypatch.setattr(hd_bet, "find_spec", lambda _: object())
    monkeypatch.setattr(hd_bet, "version", {"HD_BET": "2.0.1", "nnunetv2": "2.8.1"}.get)
    hashed = []

    def compute(path):
        hashed.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(checksums, "compute_sha256", compute)
    folder = use(monkeypatch, tiny.write_files(tmp_path / "weights", {}))
    each = [compute(folder / name) for name in hd_bet_weights.FILES]
    hashed.clear()
    expected = hashlib.sha256("".join(each).encode()).hexdigest()
    assert resolve_method("hd-bet") == f"hd-bet 2.0.1 nnunetv2 2.8.1 sha256:{expected}"
    assert resolve_method("auto") == f"none or {resolve_method('hd-bet')}"
    assert len(hashed) == 3
    (folder / "plans.json").write_text('{"other": 1}')
    assert resolve_method("hd-bet") != f"hd-bet 2.0.1 nnunetv2 2.8.1 sha256:{expected}"
    (folder / hd_bet_weights.CHECKPOINT).write_bytes(b"other")
    with pytest.raises(ValueError, match="has sha256"):
        resolve_method("auto")  # weights that changed are an error, not another method


# From here on with HD-BET itself.


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    pytest.importorskip("HD_BET")
    return tiny.write_files(tmp_path_factory.mktemp("hdbet") / "weights", tiny.build_checkpoint())


def make_volume(shape=tiny.PATCH[::-1], seed=0):
    """Noise with a bright block that no turn or flip of the volume leaves in its place."""
    voxels = np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)
    voxels[5:15, 4:12, 10:20] += 20
    return voxels


@hdbet
def test_the_mask_lies_where_the_brain_is(weights, monkeypatch):
    use(monkeypatch, weights)
    voxels = make_volume()
    mask, used = extract_brain(nib.Nifti1Image(voxels, np.eye(4)), "auto")
    assert used == "hd-bet"
    np.testing.assert_array_equal(mask, voxels > voxels.mean())
    assert mask.sum() == 10 * 8 * 10


@hdbet
def test_the_network_is_given_what_nnunet_reads_from_the_file(weights, monkeypatch, tmp_path):
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    use(monkeypatch, weights)
    affine = nib.affines.from_matvec(np.diag([0.9, 1.2, 3.3]), (-40, 12, 7))
    nib.save(nib.Nifti1Image(make_volume((30, 20, 25)), affine), tmp_path / "head.nii.gz")
    given = []
    predictor = hd_bet.load_predictor()

    def record(voxels, properties):
        given.extend((voxels, properties["spacing"]))
        return np.zeros(voxels.shape[1:], np.uint8)

    monkeypatch.setattr(predictor, "predict_single_npy_array", record)
    hd_bet.extract_brain(nib.load(tmp_path / "head.nii.gz"))
    voxels, properties = SimpleITKIO().read_images([str(tmp_path / "head.nii.gz")])
    np.testing.assert_array_equal(given[0], voxels)
    assert given[1] == properties["spacing"]
    np.testing.assert_allclose(given[1], [3.3, 1.2, 0.9], rtol=1e-6)


@hdbet
def test_the_mask_is_that_of_the_program_hd_bet_from_file_to_file(weights, monkeypatch, tmp_path):
    use(monkeypatch, weights)
    # Thick slices, more than one patch, and no edge that all programs would find.
    voxels = gaussian_filter(np.random.default_rng(1).normal(size=(50, 44, 14)), 2).astype("f4")
    image = nib.Nifti1Image(voxels, nib.affines.from_matvec(np.diag([0.9, 1.0, 3.1]), (9, 8, 7)))
    nib.save(image, tmp_path / "head.nii.gz")
    parameters = tmp_path / "home" / "hd-bet_params" / "release_2.0.0"
    parameters.parent.mkdir(parents=True)
    parameters.symlink_to(weights)
    (tmp_path / "out").mkdir()
    options = ["-i", "head.nii.gz", "-o", "out/brain.nii.gz", "-device", "cpu", "--disable_tta"]
    options += ["--save_bet_mask", "--no_bet_image"]
    subprocess.run(
        [sys.executable, "-m", "HD_BET.entry_point", *options],
        env={**os.environ, "HOME": str(tmp_path / "home")},
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    expected = np.asarray(nib.load(tmp_path / "out/brain_bet.nii.gz").dataobj) > 0
    assert 0.2 < expected.mean() < 0.8
    np.testing.assert_array_equal(
        hd_bet.extract_brain(nib.load(tmp_path / "head.nii.gz")), expected
    )


@hdbet
def test_it_runs_in_worker_processes_and_leaves_them_as_they_were(weights, monkeypatch, tmp_path):
    use(monkeypatch, weights)
    paths = []
    for seed in range(4):
        paths.append(str(tmp_path / f"{seed}.nii"))
        nib.save(nib.Nifti1Image(make_volume(seed=seed), np.eye(4)), paths[-1])
    results = list(
        run_for_each(
            tiny.extract_in_worker,
            paths,
            workers=Workers(2),
            name=str,
            on_death=lambda path, reason: {"used": reason},
            check=str,
        )
    )
    assert len({result["process"] for result in results} - {os.getpid()}) == 2
    for result in results:
        assert result["daemon"]  # such a process may not start others
        assert result["used"] == "hd-bet"
        assert result["changed"] == []
        assert result["mask"].sum() == 10 * 8 * 10


@hdbet
def test_a_prediction_that_fails_leaves_the_process_as_it_was(weights, monkeypatch, capfd):
    use(monkeypatch, weights)
    predictor = hd_bet.load_predictor()
    image = nib.Nifti1Image(make_volume(), np.eye(4))
    hd_bet.extract_brain(image)
    threads = torch.get_num_threads()

    def fail(*_, **__):
        print("nnU-Net talks")
        torch.set_num_threads(threads + 1)
        torch.rand(1)
        os.environ["nnUNet_left_over"] = "1"  # noqa: SIM112
        raise RuntimeError("out of memory")

    monkeypatch.setattr(predictor, "predict_logits_from_preprocessed_data", fail)
    before = tiny.observe_process()
    with pytest.raises(RuntimeError, match="out of memory"):
        hd_bet.extract_brain(image)
    assert tiny.observe_process() == before
    assert capfd.readouterr() == ("", "")


@hdbet
def test_any_trainer_will_do_and_other_weights_make_another_predictor(
    weights, monkeypatch, tmp_path
):
    use(monkeypatch, weights)
    first = hd_bet.load_predictor()
    assert hd_bet.load_predictor() is first
    # nnU-Net finds this trainer by importing others, one of which needs torchvision.
    checkpoint = tiny.build_checkpoint("nnUNetTrainerDA5")
    use(monkeypatch, tiny.write_files(tmp_path / "weights", checkpoint))
    assert hd_bet.load_predictor().trainer_name == "nnUNetTrainerDA5"


@hdbet
def test_a_changed_checkpoint_is_refused_by_a_process_that_has_used_it(monkeypatch, tmp_path):
    pytest.importorskip("HD_BET")
    folder = use(monkeypatch, tiny.write_files(tmp_path / "weights", tiny.build_checkpoint()))
    hd_bet.load_predictor()
    (folder / hd_bet_weights.CHECKPOINT).write_bytes(b"other")
    with pytest.raises(ValueError, match="has sha256"):
        hd_bet.load_predictor()


@hdbet
def test_releases_in_a_resolved_method_are_the_installed_ones(weights, monkeypatch):
    use(monkeypatch, weights)
    assert resolve_method("auto").startswith("hd-bet 2.0.1 nnunetv2 2.8.1 sha256:")


@hdbet
def test_a_subject_whose_mask_is_no_brain_is_left_out_with_the_reason(
    weights, monkeypatch, tmp_path
):
    use(monkeypatch, weights)
    heads = save_dataset(tmp_path / "heads", t1w_only=1)
    wanted = BidsInputs({"heads": heads}, DatasetOptions({"heads": "hd-bet"}, (), {}))
    with pytest.raises(ValueError, match="no image could be used"):
        build_from_bids(tmp_path / "out", wanted, BuildOptions(DEFAULT_BUNDLE, Workers(1)))
    reasons = (tmp_path / "out" / "exclusions.tsv").read_text()
    assert "brain mask fails quality control: volume 828 cm3, expected 900 to 2200" in reasons


@hdbet
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_the_mask_is_the_same_and_cudnn_is_left_alone(weights, monkeypatch):
    use(monkeypatch, weights)
    assert hd_bet.load_predictor().device.type == "cuda"
    voxels, before = make_volume(), torch.backends.cudnn.benchmark
    mask = hd_bet.extract_brain(nib.Nifti1Image(voxels, np.eye(4)))
    assert torch.backends.cudnn.benchmark == before
    np.testing.assert_array_equal(mask, voxels > voxels.mean())


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("torch.nn.modules.conv.Conv3d", True),
        ("torch.nn.LeakyReLU", True),
        ("torch.nn.functional.torch.os.system", False),
        ("torch.nn.functional.relu", False),
        ("torch.nn.Absent", False),
        ("os.system", False),
    ],
)
def test_only_layers_are_built_from_plans(target, expected):
    """`torch.nn.functional.torch.os.system` is the system's shell."""
    assert hd_bet_weights.is_layer(target) is expected
