"""A slice dataset whose inputs or limits have changed: it counts nothing that is no longer so."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from data_prep import build as build_step
from data_prep.bids_inputs import BidsInputs, build_from_bids
from data_prep.build import BuildOptions
from data_prep.cluster import Workers
from data_prep.dataset_options import DatasetOptions
from data_prep.verify import verify_dataset
from tests.small_builds import build, read_exclusions, run_cli
from tests.small_heads import make_quick_bundle, save_dataset, save_head


@pytest.fixture
def heads(tmp_path) -> Path:
    return save_dataset(tmp_path / "heads", t1w_only=2)


def stop(*_, **__):
    raise KeyboardInterrupt


def spoil(path: Path) -> None:
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.ones(image.shape, np.float32), image.affine, image.header), path)


def test_a_rebuild_that_was_killed_leaves_no_finished_dataset(heads, tmp_path, monkeypatch):
    out = tmp_path / "out"
    build(out, heads, bundle=make_quick_bundle())
    save_head(heads, "sub-01", "T1w", seed=9)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(build_step, "write_group", stop)
        build(out, heads, bundle=make_quick_bundle())
    assert not (out / "dataset.json").exists()
    build(out, heads, bundle=make_quick_bundle())
    assert [*verify_dataset(out)] == []


def test_a_rebuild_that_was_killed_does_not_let_another_preprocessing_in(
    heads, tmp_path, monkeypatch
):
    out, other = tmp_path / "out", save_dataset(tmp_path / "other", t1w_only=1)
    build(out, heads, other, bundle=make_quick_bundle())
    save_head(heads, "sub-01", "T1w", seed=9)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(build_step, "write_group", stop)
        build(out, heads, bundle=make_quick_bundle())
    coarse = make_quick_bundle.__wrapped__()
    config = coarse / "configs" / "inference.json"
    config.write_text(config.read_text().replace('"spacing_mm": 1.5', '"spacing_mm": 2.5'))
    with pytest.raises(ValueError, match=r"was made with preprocessing .* so that all are made al"):
        build(out, heads, bundle=coarse)
    assert not (out / "dataset.json").exists()


def test_volumes_that_were_asked_for_once_are_written_again(heads, tmp_path):
    out = tmp_path / "out"
    inputs = BidsInputs({"heads": heads}, DatasetOptions({"heads": "none"}, (), {}))
    options = BuildOptions(make_quick_bundle(), Workers(1), write_volumes=True)
    build_from_bids(out, inputs, options)
    volume = out / "volumes/heads/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"
    before = volume.read_bytes()
    save_head(heads, "sub-01", "T1w", seed=9)
    build(out, heads, bundle=make_quick_bundle())
    assert volume.read_bytes() != before


def test_a_scan_that_dropped_out_leaves_no_image(heads, tmp_path):
    out = tmp_path / "out"
    build(out, heads, bundle=make_quick_bundle())
    assert len([*(out / "shards").rglob("sub-02_T1w*")]) == 3
    spoil(heads / "sub-02" / "anat" / "sub-02_T1w.nii.gz")
    build(out, heads, bundle=make_quick_bundle())
    assert [*(out / "shards").rglob("sub-02_T1w*")] == []
    assert "constant" in read_exclusions(out)["sub-02_T1w.nii.gz"]


def test_other_limits_of_masks_judge_all_sessions_anew(heads, tmp_path):
    out, bundle = tmp_path / "out", make_quick_bundle.__wrapped__()
    config = bundle / "configs" / "inference.json"
    adult, text = "900.0,\n            2200.0", config.read_text()
    assert text.count(adult) == 1
    build(out, heads, bundle=bundle)
    config.write_text(text.replace(adult, "2100.0,\n            2200.0"))
    with pytest.raises(ValueError, match="no image could be used"):
        build(out, heads, bundle=bundle)
    assert "expected 2100 to 2200" in read_exclusions(out)["sub-01_T1w.nii.gz"]
    config.write_text(text)
    assert build(out, heads, bundle=bundle) == 0


def test_what_was_held_out_stays_so_when_the_option_is_left_away(heads, tmp_path):
    out = tmp_path / "out"
    build(out, heads, hold_out=["heads"], bundle=make_quick_bundle())
    save_head(heads, "sub-03", "T1w", seed=2)
    build(out, heads, bundle=make_quick_bundle())
    splits = pd.read_csv(out / "splits.tsv", sep="\t")
    assert splits["split"].tolist() == ["external"] * 3


def test_a_brain_that_would_be_extracted_anew_is_left_out_with_the_way_out(tmp_path, shared_data):
    """Of a real stroke patient; a method that looks for brains in heads bites into this one."""
    out = tmp_path / "out"
    run_cli("bids", out, inputs=shared_data / "cstar", brain_extraction="cstar=deepbet")
    reason = read_exclusions(out)["sub-01_T1w.nii.gz"]
    assert "seems to be brain-extracted, and deepbet has masked it anew" in reason
    assert "--brain_extraction NAME=auto" in reason
