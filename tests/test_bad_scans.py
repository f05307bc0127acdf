"""Each bad input ends with one clear row, the others are translated, nothing is half written."""

from __future__ import annotations

import gzip
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scripts.inference.outcomes import Outcome, load_outcomes

from tests.forked_processes import start_command
from tests.inference_config import BUNDLE
from tests.inference_runs import SMALL, run, save_model
from tests.small_heads import make_head, save_dataset


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def change(**options):
    def apply(path: Path) -> None:
        head = make_head(1, "T1w")
        voxels, affine = head.get_fdata(dtype=np.float32), head.affine
        image = nib.Nifti1Image(options.get("voxels", lambda v: v)(voxels), affine)
        image.set_sform(affine, options.get("code", 1))
        image.set_qform(affine, options.get("code", 1))
        nib.save(image, path)

    return apply


def add_nan(voxels):
    voxels[26, 30, 22] = np.nan
    return voxels


def delete_brain(voxels):
    voxels[voxels > 0] = 0
    voxels[0, 0, 0] = 1
    return voxels


BAD = {
    "truncated": (truncate, "cannot be read as NIfTI"),
    "damaged": (damage, "cannot be read as NIfTI"),
    "empty file": (lambda path: path.write_bytes(b""), "cannot be read as NIfTI"),
    "text": (lambda path: path.write_text("dear reader\n"), "cannot be read as NIfTI"),
    "compressed text": (
        lambda path: path.write_bytes(gzip.compress(b"dear reader")), "cannot be read as NIfTI"
    ),
    "a series": (change(voxels=lambda v: np.stack([v, v], -1)), "Expected one 3-D volume"),
    "constant": (change(voxels=np.zeros_like), "empty or constant"),
    "not a number": (change(voxels=add_nan), "1 of 141856 voxels are NaN or infinite"),
    "no affine": (change(code=0), "no usable affine"),
    "normalised": (change(voxels=lambda v: np.where(v > 0, v - 250, 0)), "of the brain is below 0"),
    "no brain": (change(voxels=delete_brain), "brain mask"),
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, Outcome]:
    """Rows of one run over all of them, and two good heads before and behind."""
    folder = tmp_path_factory.mktemp("bad")
    save_model(folder)
    study = save_dataset(folder / "study", t1w_only=len(BAD) + 2)
    paths = sorted(study.glob("sub-*/anat/*.nii.gz"))
    for path, (spoil, _) in zip(paths[1:-1], BAD.values(), strict=True):
        spoil(path)
    rows = run(folder, input=str(study), mosaic=False)
    written = {path.name[:6] for path in (folder / "out").rglob("sub-*.nii.gz")}
    assert written == {paths[0].name[:6], paths[-1].name[:6]}
    return dict(zip(["first", *BAD, "last"], rows, strict=True))


@pytest.mark.parametrize("name", BAD)
def test_each_fault_is_named_without_the_place_of_the_file(name, outcomes):
    assert outcomes[name].status == "failed"
    assert BAD[name][1] in outcomes[name].message
    assert "popen" not in outcomes[name].message
    assert "pytest" not in outcomes[name].message


def test_good_scans_before_and_behind_are_translated(outcomes):
    assert outcomes["first"].status == outcomes["last"].status == "done"


def test_a_scan_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    save_model(tmp_path)
    study = save_dataset(tmp_path / "study", t1w_only=2)
    opened = Path.open

    def refuse(path: Path, *args, **kwargs):
        if path.name == "sub-01_T1w.nii.gz":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    original = gzip.open
    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(gzip, "open", lambda path, mode: refuse(Path(path), mode)
                        if "sub-01" in str(path) else original(path, mode))  # fmt: skip
    first, second = run(tmp_path, input=str(study), mosaic=False)
    assert (first.status, second.status) == ("failed", "done")
    assert "Permission denied" in first.message


def list_arguments(
    folder: Path, *options: str, config: str = "configs/inference.json"
) -> list[str]:
    sizes = [part for name, value in SMALL.items() for part in (f"--{name}", str(value))]
    return [
        "run", "inference", "--config_file", config, "--models_dir", str(folder),
        "--output_dir", str(folder / "out"), "--brain_extraction", "none", *sizes, *options,
    ]  # fmt: skip


def start(
    folder: Path,
    *options: str,
    config: str = "configs/inference.json",
    cwd: Path = BUNDLE,
    **settings,
) -> subprocess.Popen[str]:
    """Start inference as a user does, in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle"]
    command += list_arguments(folder, *options, config=config)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=cwd, env=environment, encoding="utf-8",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **settings,
    )  # fmt: skip


def test_exit_code_and_last_line_say_that_some_failed_or_all(tmp_path):
    save_model(tmp_path)
    study = save_dataset(tmp_path / "study", t1w_only=2)
    bad = study / "sub-02" / "anat" / "sub-02_T1w.nii.gz"
    bad.write_text("no image")
    some, everything = (
        start_command("monai.bundle", *list_arguments(tmp_path, *options), cwd=BUNDLE, output=said)
        for *options, said in (
            ("--input", str(study), tmp_path / "some"),
            ("--input", str(bad), "--output_dir", str(tmp_path / "none"), tmp_path / "all"),
        )
    )
    some.join()
    everything.join()
    some_output, all_output = ((tmp_path / name).read_text() for name in ("some", "all"))
    assert some.exitcode == 3, some_output
    assert "1 done, 1 failed" in some_output.splitlines()[-1]
    assert "Traceback" not in some_output
    assert everything.exitcode == 1, all_output
    last = all_output.splitlines()[-1]
    assert last.startswith("ValueError: Nothing was translated (1 failed). sub-02_T1w.nii.gz")
    assert "Traceback" not in all_output


def test_a_model_of_other_sizes_is_said_once(tmp_path):
    """And not by each of its layers, as the engine logs it."""
    save_model(tmp_path)
    nib.save(make_head(1, "T1w"), tmp_path / "head.nii.gz")
    options = ("--input", str(tmp_path / "head.nii.gz"), "--features", str(2 * SMALL["features"]))
    with start(tmp_path, *options) as process:
        said = process.communicate()[0]
    assert process.returncode == 1
    assert said.count("size mismatch") == 1, said
    assert "Pass the --features" in said.splitlines()[-1]


def test_a_full_disk_is_said_and_leaves_no_half_file(tmp_path):
    """A limit on the size of files stops the write of a volume as a full disk does."""
    save_model(tmp_path)
    nib.save(make_head(1, "T1w"), tmp_path / "head.nii.gz")
    limit = (20_000, 20_000)  # bytes; the synthetic volume has more
    process = start(
        tmp_path, "--input", str(tmp_path / "head.nii.gz"), "--mosaic", "false",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )  # fmt: skip
    output = process.communicate()[0]
    assert process.returncode == 1, output
    assert "File too large" in output.splitlines()[-1]
    assert not list((tmp_path / "out").rglob("*synthetic*.nii.gz"))
    assert not list((tmp_path / "out").rglob(".unfinished*"))


@pytest.mark.slow
def test_killed_it_leaves_whole_files_and_a_second_run_ends_it(tmp_path):
    save_model(tmp_path)
    study = save_dataset(tmp_path / "study", t1w_only=6)
    process = start(tmp_path, "--input", str(study), start_new_session=True)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out").rglob("*synthetic*.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    written = list((tmp_path / "out").rglob("sub-*.nii.gz"))
    for path in written:
        nib.load(path).get_fdata()  # raises where a file is cut short
    finished = [path.with_suffix(".nii.gz") for path in (tmp_path / "out").rglob("*_T2w.json")]
    assert finished
    times = {path: path.stat().st_mtime_ns for path in finished}
    rows = run(tmp_path, input=str(study), precision="auto")
    assert {row.status for row in rows} <= {"done", "exists"}
    assert len(list((tmp_path / "out").rglob("*synthetic*.nii.gz"))) == 6
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert len(load_outcomes(tmp_path / "out" / "inference.tsv")) == 6


@pytest.mark.slow
def test_it_runs_from_another_folder(tmp_path):
    save_model(tmp_path)
    source = save_dataset(tmp_path / "study", t1w_only=1)
    process = start(
        tmp_path, "--input", str(source), "--bundle_root", str(BUNDLE), cwd=tmp_path,
        config=str(BUNDLE / "configs" / "inference.json"),
    )  # fmt: skip
    output = process.communicate()[0]
    assert process.returncode == 0, output
    assert "1 done" in output.splitlines()[-1]


@pytest.mark.slow
def test_terminated_it_finishes_what_it_writes_and_lists_it(tmp_path):
    save_model(tmp_path)
    study = save_dataset(tmp_path / "study", t1w_only=8)
    process = start(tmp_path, "--input", str(study))
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out").rglob("*synthetic*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.terminate()
    output = process.communicate()[0]
    assert process.returncode == 128 + signal.SIGTERM, output
    done = {row.output for row in load_outcomes(tmp_path / "out" / "inference.tsv")}
    written = {
        path.relative_to(tmp_path / "out").as_posix()
        for path in (tmp_path / "out").rglob("*synthetic*.nii.gz")
    }
    assert done == written
    assert 0 < len(done) < 8
    assert not list((tmp_path / "out").rglob(".unfinished*"))
