"""The whole evaluation through MONAI's runner, and the faults that it must name."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from scripts.checkpoints import list_checkpoints
from scripts.evaluation.leakage import check_candidates_unseen, check_unseen
from scripts.evaluation.metrics import masked_psnr, masked_ssim
from scripts.evaluation.results import _log_means
from scripts.trained_images import (
    TRAINED_IMAGES,
    TrainedImages,
    list_trained_images,
    load_trained_images,
    save_trained_images,
)

from tests.slice_dataset_fixture import SPLITS, write_slice_dataset
from tests.training_runs import find_error, train, write_models


def evaluate(dataset_dir: Path, output_dir: Path, **options: Any) -> dict[str, Any]:
    brief = {"segmenter_steps": 2, "segmenter_slice_step": 4, "unpaired_slices": 12}
    options = brief | {"val_slice_step": 1} | options
    train(dataset_dir, output_dir, "evaluate.json", run_id="evaluate", **options)
    summary: dict[str, Any] = json.loads((output_dir / "evaluation/summary.json").read_text())
    return summary


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A slice dataset with known tissues, and the folder of a training on it."""
    folder = tmp_path_factory.mktemp("run")
    dataset_dir = write_slice_dataset(folder / "data", labelled=True)
    train(dataset_dir, folder / "out", max_epochs=2)
    return dataset_dir, folder / "out"


@pytest.fixture(scope="module")
def evaluated(run: tuple[Path, Path]) -> tuple[dict[str, Any], Path]:
    dataset_dir, output_dir = run
    return evaluate(dataset_dir, output_dir, evaluated_split="train"), output_dir / "evaluation"


# What an evaluation may do without where another thing is asked of it.
BRIEF = {"segmenter_steps": 0, "unpaired_slices": 0, "val_slice_step": 6}


def read_image(folder: Path, entry: dict[str, Any], name: str) -> np.ndarray:
    return np.asarray(nib.load(folder / entry["files"][name]).dataobj) / 255  # type: ignore[attr-defined]


def test_every_session_and_slice_has_a_row_beside_the_trivial_ones(
    evaluated: tuple[dict[str, Any], Path],
) -> None:
    table = pd.read_csv(evaluated[1] / "metrics.csv")
    translations = {
        (row, name) for row in ("copy", "inverted", "mean", "lookup") for name in ("t2w", "t1w")
    }
    comparisons = ("t2w", "t1w", "t1w_cycle", "t2w_cycle")
    reals = {("real", "t2w"), ("real", "t1w")}
    models = {("out", name) for name in comparisons}
    assert set(zip(table["model"], table["comparison"], strict=True)) == (
        translations | reals | models
    )
    assert len(table) == 4 * len(translations | reals | models)
    slices = pd.read_csv(evaluated[1] / "slices.csv")
    assert len(slices) == 4 * 12 * len(translations | models)
    assert sorted(slices["slice_index"].unique()) == list(range(5, 17))
    parquet = pd.read_parquet(evaluated[1] / "metrics.parquet")
    np.testing.assert_allclose(parquet["ssim"], table["ssim"], atol=1e-6)


def test_rows_say_what_must_hold_of_them(evaluated: tuple[dict[str, Any], Path]) -> None:
    table = pd.read_csv(evaluated[1] / "metrics.csv").set_index(["model", "comparison"])
    assert table.loc[("lookup", "t2w"), "ssim"].min() > 0.99  # the blobs' T2w follows from T1w
    of_real = table.loc[("real", "t2w")]
    assert of_real["ssim"].isna().all()  # no prediction
    np.testing.assert_allclose(of_real[["slice_ratio", "checkerboard"]], 1.0)
    assert (table.loc[("mean", "t2w"), "ngf"] < 0.2 * of_real["ngf"].to_numpy()).all()
    assert table.loc[("out", "t1w_cycle"), "hidden_code_drop"].notna().all()
    assert table.loc[("out", "t2w"), "dice"].between(0, 1).all()
    assert table.loc[("inverted", "t2w"), "spots_invented"].ge(0).all()


def test_the_summary_says_what_was_measured_on_what(
    evaluated: tuple[dict[str, Any], Path],
) -> None:
    summary, folder = evaluated
    assert (summary["split"], summary["subjects"], summary["slices"]) == ("train", 4, 48)
    assert summary["paired"] and summary["chosen"] == "out"
    assert summary["registration"]["mutual_information_after"] == 1.25
    table = pd.read_csv(folder / "metrics.csv")
    rows = table[(table["model"] == "out") & (table["comparison"] == "t2w")]
    mean = next(
        row
        for row in summary["rows"]
        if (row["model"], row["comparison"], row["figure"]) == ("out", "t2w", "psnr")
    )
    assert mean["mean"] == pytest.approx(rows["psnr"].mean(), abs=1e-5)
    assert mean["low"] <= mean["mean"] <= mean["high"]
    others = {row["other"] for row in summary["differences"]}
    assert others == {"copy", "inverted", "mean", "lookup"}
    assert all(row["p"] is None for row in summary["differences"])  # four subjects
    assert {row["figure"] for row in summary["unpaired"]} >= {"sliced_wasserstein", "cycle_ssim"}


def test_shown_volumes_give_the_figure_that_chose_them(
    evaluated: tuple[dict[str, Any], Path],
) -> None:
    summary, folder = evaluated
    entries = [entry for entry in summary["shown"] if entry["comparison"] == "t2w"]
    assert [entry["rank"] for entry in entries] == ["best", "median", "worst"]
    values = [entry["value"] for entry in entries]
    assert values == sorted(values, reverse=True)
    for entry in entries:
        real, synthetic, error = (
            read_image(folder, entry, name) for name in ("real", "synthetic", "error")
        )
        images = [torch.from_numpy(np.moveaxis(each, 2, 0)[:, None]) for each in (synthetic, real)]
        mask = images[1] > 0
        assert masked_ssim(*images, mask, data_range=1.0) == pytest.approx(entry["value"], abs=0.01)
        np.testing.assert_allclose(error, np.abs(real - synthetic), atol=2 / 255)
        affine = nib.load(folder / entry["files"]["real"]).affine  # type: ignore[attr-defined]
        assert affine[2, 3] == 5.0  # slice 5 of the head is the first one
    assert (folder / "report.html").stat().st_size > 10_000


def test_figures_of_the_model_are_those_of_its_shown_volume(
    evaluated: tuple[dict[str, Any], Path],
) -> None:
    summary, folder = evaluated
    entry = summary["shown"][0]
    synthetic, real = (
        torch.from_numpy(np.moveaxis(read_image(folder, entry, name), 2, 0)[:, None])
        for name in ("synthetic", "real")
    )
    table = pd.read_csv(folder / "metrics.csv")
    row = table[
        (table["model"] == "out")
        & (table["comparison"] == "t2w")
        & (table["subject_id"] == entry["subject_id"])
    ].iloc[0]
    found = masked_psnr(synthetic, real, real > 0, data_range=1.0)
    assert found == pytest.approx(row["psnr"], abs=0.05)


def test_openings_of_the_test_part_are_kept_whatever_is_measured(run: tuple[Path, Path]) -> None:
    dataset_dir, output_dir = run
    folder = output_dir / "opened"
    figures = []
    for views in (1, 2):
        options = {"evaluation_dir": str(folder), "views": views, **BRIEF}
        train(dataset_dir, output_dir, "evaluate.json", run_id="evaluate", **options)
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["views"] == views
        figures.append(pd.read_csv(folder / "metrics.csv").set_index(["model", "comparison"]))
    is_trivial = figures[0]["kind"] == "trivial"
    pd.testing.assert_frame_equal(figures[0][is_trivial], figures[1][is_trivial])
    is_model = figures[0]["kind"] == "model"
    differences = (figures[0]["ssim"] - figures[1]["ssim"])[is_model].abs()
    assert (differences > 1e-4).all()  # the mean of a slice and its mirror image is another
    assert [each["split"] for each in summary["openings"]] == ["test", "test"]
    assert summary["openings"][0]["when"] <= summary["openings"][1]["when"]
    table = hashlib.sha256((dataset_dir / "slices.parquet").read_bytes()).hexdigest()
    assert {each["dataset"] for each in summary["openings"]} == {table}


def test_several_checkpoints_are_ranked_on_validation_alone(run: tuple[Path, Path]) -> None:
    dataset_dir, output_dir = run
    paths = list_checkpoints(output_dir)
    assert len(paths) == 2
    options = {"evaluation_dir": str(output_dir / "ranked"), **BRIEF}
    candidates = {"candidates": str(output_dir / "checkpoint_*.pt")}
    train(dataset_dir, output_dir, "evaluate.json", run_id="evaluate", **options, **candidates)
    summary = json.loads((output_dir / "ranked/summary.json").read_text())
    values = [each["validation"]["t2w_ssim"] for each in summary["candidates"]]
    assert values == sorted(values, reverse=True)
    assert summary["chosen"] == summary["candidates"][0]["model"]
    assert {each["model"] for each in summary["candidates"]} == {path.stem for path in paths}
    table = pd.read_csv(output_dir / "ranked/metrics.csv")
    assert set(table.loc[table["kind"] == "model", "model"]) == {summary["chosen"]}


def test_another_folder_can_be_the_external_test(run: tuple[Path, Path], tmp_path: Path) -> None:
    dataset_dir, output_dir = run
    other = write_slice_dataset(tmp_path / "other", splits=("test", "train"), first_seed=50)
    options = {"evaluated_dir": str(other), "evaluated_split": "all", **BRIEF}
    folder = {"evaluation_dir": str(tmp_path / "evaluation")}
    train(dataset_dir, output_dir, "evaluate.json", run_id="evaluate", **options, **folder)
    summary = json.loads((tmp_path / "evaluation/summary.json").read_text())
    assert summary["subjects"] == 2
    assert {row["model"] for row in summary["rows"]} >= {"lookup"}  # fitted to the first dataset


def test_where_nothing_trains_the_rows_that_need_no_fit_stand_alone(
    run: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = write_slice_dataset(tmp_path / "own", splits=("external",), first_seed=80)
    options = {"candidates": str(run[1]), "evaluated_split": "external", **BRIEF}
    summary = evaluate(own, tmp_path / "out", **options)
    rows = {row["model"] for row in summary["rows"]}
    assert rows == {"out", "copy", "inverted", "real"}
    note = "The dataset has no T2w and no T1w slices that train, so neither mean nor look-up table"
    assert note in summary["models_note"]
    assert "no T2w slices train, so neither mean nor look-up table of T2w is fitted" in caplog.text
    page = (tmp_path / "out/evaluation/report.html").read_text()
    assert note in page
    assert "no comparison with the mean: it is fitted to training slices, and there were" in page


def test_unpaired_data_get_no_paired_figure(tmp_path: Path) -> None:
    folder = write_slice_dataset(
        tmp_path / "data",
        splits=("train", "train", "test", "test"),
        contrasts={0: ("T1w",), 1: ("T2w",), 2: ("T1w",), 3: ("T2w",)},
    )
    train(folder, tmp_path / "out", max_epochs=1)
    summary = evaluate(folder, tmp_path / "out")
    assert not summary["paired"] and summary["rows"] == summary["shown"] == []
    assert not (tmp_path / "out/evaluation/metrics.csv").exists()
    found = {(row["model"], row["direction"], row["figure"]) for row in summary["unpaired"]}
    assert ("out", "t2w", "sliced_wasserstein") in found
    assert ("copy", "t1w", "sliced_wasserstein") in found


def test_a_split_with_nothing_to_measure_is_an_error(run: tuple[Path, Path]) -> None:
    with pytest.raises(RuntimeError) as error:
        evaluate(*run, evaluated_split="external")
    assert "the split 'external' has no registered pairs" in find_error(error)


def test_images_that_were_trained_on_are_refused_by_content(
    run: tuple[Path, Path], tmp_path: Path
) -> None:
    other = write_slice_dataset(tmp_path / "other", splits=("test", "test"))  # the same blobs
    with pytest.raises(ValueError, match=r"blobs_sub-01, blobs_sub-02"):
        check_unseen(str(other), split="test", training_dir=str(run[0]))
    unseen = write_slice_dataset(tmp_path / "unseen", splits=("test",), first_seed=90)
    check_unseen(str(unseen), split="test", training_dir=str(run[0]))


def test_the_training_part_of_another_folder_is_checked_too(
    run: tuple[Path, Path], tmp_path: Path
) -> None:
    other = write_slice_dataset(tmp_path / "other", splits=("train",))  # the same blobs
    with pytest.raises(ValueError, match=r"blobs_sub-01"):
        check_unseen(str(other), split="train", training_dir=str(run[0]))
    check_unseen(str(run[0]), split="train", training_dir=str(run[0]))


def test_a_candidate_of_another_fold_is_not_tested_on_what_trained_it(
    run: tuple[Path, Path], tmp_path: Path
) -> None:
    fold = write_slice_dataset(tmp_path / "fold", splits=("test", "validation", "train"))
    places = {"dataset_dir": str(fold), "evaluated_dir": str(fold)}
    candidates = [run[1], *list_checkpoints(run[1]), *run[1].glob("best/epoch_*")]
    for path in candidates:
        with pytest.raises(ValueError, match=rf"{path.name}: was trained on .*\(blobs_sub-01\)"):
            check_candidates_unseen(str(path), split="test", **places)
    check_candidates_unseen(str(run[1]), split="train", **places)  # asked for by name
    with pytest.raises(ValueError, match=r"'validation'"):  # which would choose among them
        check_candidates_unseen([str(each) for each in candidates], split="train", **places)
    check_candidates_unseen(str(run[1]), split="test", **dict.fromkeys(places, str(run[0])))


def test_a_candidate_that_does_not_say_what_trained_it_is_named(
    run: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_models(tmp_path / "older")
    check_candidates_unseen(
        str(folder), dataset_dir=str(run[0]), evaluated_dir=str(run[0]), split="test"
    )
    assert "older: no trained_images.json beside it says what trained it" in caplog.text


def test_what_trained_a_model_is_noted_without_names(run: tuple[Path, Path]) -> None:
    text = (run[1] / TRAINED_IMAGES).read_text()
    assert len(json.loads(text)["images"]) == 4 * 2  # subjects and contrasts
    assert "sub-" not in text and "blobs" not in text


def test_what_trained_the_first_weights_and_before_a_stop_stays_noted(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("pretrained", "out")]
    for name, folder in zip(("a", "b"), folders, strict=True):
        save_trained_images([name], folder)
    dataset_dir = write_slice_dataset(tmp_path / "data", splits=("train",))
    note = TrainedImages(
        dataset_dir=str(dataset_dir),
        folders=[str(folders[1])] * 2,
        resume="true",
        pretrained="true",
        pretrained_dir=str(folders[0]),
    )
    note(SimpleNamespace(state=SimpleNamespace(rank=0)))  # type: ignore[arg-type]
    found = load_trained_images(folders[1])
    assert found == {"a", "b"} | list_trained_images(str(dataset_dir)) and len(found) == 4


def test_black_slices_that_all_heads_share_are_no_leak(
    run: tuple[Path, Path], tmp_path: Path
) -> None:
    other = write_slice_dataset(tmp_path / "other", splits=("test",), first_seed=90)
    paths = run[0] / "slices.parquet", other / "slices.parquet"
    seen, evaluated = (pd.read_parquet(path) for path in paths)
    unused = seen[(seen["split"] == "train") & ~seen["train"]].index[0]
    evaluated.loc[0, "sha256"] = seen.loc[unused, "sha256"]
    evaluated.to_parquet(paths[1])
    check_unseen(str(other), split="test", training_dir=str(run[0]))
    used = seen[(seen["split"] == "train") & seen["train"]].index[0]
    evaluated.loc[0, "sha256"] = seen.loc[used, "sha256"]
    evaluated.to_parquet(paths[1])
    with pytest.raises(ValueError, match="blobs_sub-01"):
        check_unseen(str(other), split="test", training_dir=str(run[0]))


def test_a_checkpoint_of_other_sizes_is_named(run: tuple[Path, Path]) -> None:
    with pytest.raises(RuntimeError) as error:
        evaluate(*run, features=8)
    assert "model.pt: this is of other networks" in find_error(error)
    assert "--features" in find_error(error)


def test_a_damaged_checkpoint_is_named(run: tuple[Path, Path], tmp_path: Path) -> None:
    content = list_checkpoints(run[1])[0].read_bytes()
    damaged = tmp_path / "checkpoint_00000001.pt"
    damaged.write_bytes(content[: len(content) // 2])
    with pytest.raises(RuntimeError) as error:
        evaluate(*run, candidates=str(damaged))
    assert "checkpoint_00000001.pt: this checkpoint is damaged" in find_error(error)


def test_another_preprocessing_is_refused(run: tuple[Path, Path], tmp_path: Path) -> None:
    other = write_slice_dataset(tmp_path / "other", splits=("test",), first_seed=70)
    description = json.loads((other / "dataset.json").read_text())
    description["preprocessing"]["transforms"][0]["_target_"] = "Other"
    (other / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(RuntimeError) as error:
        evaluate(*run, evaluated_dir=str(other))
    assert "made with another preprocessing" in find_error(error)


def test_a_model_that_overflows_is_an_error_that_names_the_subject(
    run: tuple[Path, Path], tmp_path: Path
) -> None:
    for name in ("model.pt", "model_t2w_to_t1w.pt"):
        weights = torch.load(run[1] / name, weights_only=True)
        first = next(iter(weights))
        weights[first] = torch.full_like(weights[first], float("nan"))
        torch.save(weights, tmp_path / name)
    with pytest.raises(RuntimeError) as error:
        evaluate(*run, candidates=str(tmp_path))
    assert "blobs_sub-06: fake_t2w holds values that are no finite numbers" in find_error(error)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("sub-01_space-T1w_T2w_mask.npy", np.zeros_like, "the brain mask is empty"),
        ("sub-01_space-T1w_T2w.npy", lambda stored: stored[:, :64], "(1, 64, 128)"),
    ],
)
def test_a_mask_of_zeros_and_another_grid_are_named(
    run: tuple[Path, Path], tmp_path: Path, file: str, change: Any, words: str
) -> None:
    other = write_slice_dataset(tmp_path / "other", splits=("test",), first_seed=30)
    path = other / "shards/blobs" / file
    np.save(path, change(np.load(path)))
    with pytest.raises(RuntimeError) as error:
        evaluate(*run, evaluated_dir=str(other))
    assert "sub-01" in find_error(error) and words in find_error(error)


def test_the_splits_of_the_fixture_are_those_that_these_tests_count_on() -> None:
    assert (SPLITS.count("train"), SPLITS.count("test"), SPLITS[-1]) == (4, 1, "test")


def test_a_subject_of_two_sessions_counts_once_in_the_means_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    rows = [("sub-01", 0.1), ("sub-01", 0.3), ("sub-02", 0.6)]
    table = pd.DataFrame(
        {"model": "chosen", "kind": "model", "comparison": "t2w", "dataset": "d"}
        | {"subject_id": subject, "ssim": value}
        for subject, value in rows
    )
    _log_means(table)
    assert "Means over 2 subjects" in caplog.text
    assert caplog.text.split()[-1] == "0.4"
