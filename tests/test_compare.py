"""Evaluations side by side: the same subjects, the same trivial rows, on the same data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scripts.evaluation.path_names import name_paths
from scripts.evaluation.statistics import bootstrap_interval

from tests.compared_evaluations import (
    GAINS,
    SSIM,
    Write,
    read_content,
    run_compare,
    write_evaluation,
)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return partial(write_evaluation, tmp_path)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    return partial(run_compare, tmp_path)


def select(content: dict[str, Any], part: str, **keys: str) -> list[dict[str, Any]]:
    return [row for row in content[part] if all(row[key] == keys[key] for key in keys)]


class TestNumbers:
    def test_means_intervals_and_differences_by_hand(
        self, tmp_path: Path, write: Write, run: Callable[..., str]
    ) -> None:
        better = [value + gain for value, gain in zip(SSIM, GAINS, strict=True)]
        run(write("a", SSIM), write("b", better), seed=7)
        content = read_content(tmp_path)
        rows = select(content, "rows", comparison="t2w", figure="ssim")
        assert [row["model"] for row in rows] == ["a", "b", "copy", "mean"]
        assert rows[0]["mean"] == pytest.approx(0.525)
        assert (rows[0]["low"], rows[0]["high"]) == bootstrap_interval(SSIM, seed=7)
        (difference,) = select(content, "differences", comparison="t2w", figure="ssim")
        assert (difference["model"], difference["other"]) == ("a", "b")
        assert difference["mean"] == pytest.approx(-0.045)
        low, high = bootstrap_interval([-gain for gain in GAINS], seed=7)
        assert (difference["low"], difference["high"]) == (pytest.approx(low), pytest.approx(high))
        assert difference["p"] == difference["p_holm"] == 2 / 2**8
        assert content["seed"] == 7

    def test_three_folders_make_three_pairs_and_holm_counts_them(
        self, tmp_path: Path, write: Write, run: Callable[..., str]
    ) -> None:
        folders = [
            write(name, [value + step * gain for value, gain in zip(SSIM, GAINS, strict=True)])
            for step, name in enumerate("abc")
        ]
        run(*folders)
        found = select(read_content(tmp_path), "differences", comparison="t1w", figure="psnr")
        assert [(row["model"], row["other"]) for row in found] == [*zip("aab", "bcc", strict=True)]
        assert [row["p_holm"] for row in found] == [3 * 2 / 2**8] * 3

    def test_under_eight_subjects_no_p_is_given_and_that_is_said(
        self, tmp_path: Path, write: Write, run: Callable[..., str]
    ) -> None:
        text = run(write("a", SSIM[:7]), write("b", GAINS[:7]))
        assert {row["p"] for row in read_content(tmp_path)["differences"]} == {None}
        note = "No p-value of 7 subjects: fewer than 8 cannot give one below .01."
        assert note in text
        assert note in (tmp_path / "out" / "comparison.html").read_text()

    def test_intervals_are_called_what_they_are(
        self, tmp_path: Path, write: Write, run: Callable[..., str]
    ) -> None:
        """Of two subjects the bounds are both of them."""
        text = run(write("a", SSIM[:2]), write("b", GAINS[:2]))
        words = "95 % bootstrap intervals over subjects (of fewer than 5 subjects their range)"
        page = (tmp_path / "out" / "comparison.html").read_text()
        assert words in text
        assert words in page
        assert "95 % interval" not in text + page

    def test_figures_are_chosen_and_what_a_comparison_lacks_is_left_out(
        self, tmp_path: Path, write: Write, run: Callable[..., str]
    ) -> None:
        run(write("a"), write("b"), figures="hidden_code_drop, ngf")
        content = read_content(tmp_path)
        found = {(row["comparison"], row["figure"]) for row in content["rows"]}
        assert found == {("t1w_cycle", "hidden_code_drop"), ("t2w", "ngf"), ("t1w", "ngf")}
        assert [row["model"] for row in select(content, "rows", comparison="t2w")][-1] == "real"

    def test_subjects_are_matched_by_name(
        self, tmp_path: Path, write: Write, run: Callable[..., str]
    ) -> None:
        run(write("a"), write("b", change=lambda metrics: metrics[::-1]))
        assert {row["mean"] for row in read_content(tmp_path)["differences"]} == {0}

    def test_a_session_that_looks_like_a_number_is_a_name(
        self, write: Write, run: Callable[..., str]
    ) -> None:
        with pytest.raises(ValueError, match=r"a lacks phantom_sub-01 1 \(phantom\)"):
            run(write("a", session="01"), write("b", session="1"))

    def test_one_subject_has_no_interval_and_the_json_no_nan(
        self, tmp_path: Path, write: Write, run: Callable[..., str]
    ) -> None:
        run(write("a", [0.5]), write("b", [0.6]))
        (row, *_) = read_content(tmp_path)["rows"]
        assert (row["mean"], row["low"], row["high"]) == (0.5, None, None)
        assert "NaN" not in (tmp_path / "out" / "comparison.json").read_text()


class TestLabels:
    def test_a_folders_name_is_its_label_unless_another_has_it(self) -> None:
        assert name_paths([Path("runs/a"), Path("runs/b")]) == ["a", "b"]
        paths = [Path("runs/a/evaluation"), Path("runs/b/evaluation")]
        assert name_paths(paths) == ["a", "b"]
        deep = [Path("runs/a/1/evaluation"), Path("runs/b/1/evaluation"), Path("old/evaluation")]
        assert name_paths(deep) == ["a/1", "b/1", "old"]

    def test_a_folder_inside_another_of_the_same_name_has_a_label_too(self) -> None:
        nested = [Path("runs/evaluation"), Path("runs/a/evaluation")]
        assert name_paths(nested) == ["runs", "a"]

    def test_paths_that_share_no_beginning_are_not_written_out(self) -> None:
        paths = [Path("/home/person/work/a/best"), Path("/data/b/best"), Path("/data/c/best")]
        assert name_paths(paths) == ["a", "b", "c"]

    def test_one_folder_twice_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="named twice"):
            name_paths([tmp_path / "a", tmp_path / "b" / ".." / "a"])

    def test_several_models_of_a_folder_keep_their_names(
        self, tmp_path: Path, write: Write, run: Callable[..., str]
    ) -> None:
        run(write("a", models=["early", "late"]), write("b"))
        rows = select(read_content(tmp_path), "rows", comparison="t2w", figure="ssim", kind="model")
        assert [row["model"] for row in rows] == ["a: early", "a: late", "b"]
        assert rows[1]["mean"] == pytest.approx(0.425)

    def test_a_folder_named_like_a_trivial_row_is_told_apart(
        self, tmp_path: Path, write: Write, run: Callable[..., str]
    ) -> None:
        run(write("real"), write("b"))
        rows = select(read_content(tmp_path), "rows", comparison="t2w", figure="ssim")
        assert [row["model"] for row in rows] == ["real (model)", "b", "copy", "mean"]


class TestOtherData:
    def test_other_splits_datasets_and_subjects_are_named(
        self, write: Write, run: Callable[..., str]
    ) -> None:
        other = write("b", SSIM[:7], split="validation", datasets=["ixi", "phantom"])
        message = (
            r"splits: a has test; b has validation\. datasets: a has phantom; b has ixi, phantom\. "
            r"subjects: b lacks phantom_sub-08 \(phantom\)\. .*--common true"
        )
        with pytest.raises(ValueError, match=message):
            run(write("a"), other, common="false")

    def test_other_comparisons_are_named(self, write: Write, run: Callable[..., str]) -> None:
        other = write("b", change=lambda rows: rows[rows["comparison"] != "t1w"])
        with pytest.raises(ValueError, match="a has t1w, t1w_cycle, t2w; b has t1w_cycle, t2w"):
            run(write("a"), other)

    def test_long_lists_of_subjects_are_cut(self, write: Write, run: Callable[..., str]) -> None:
        with pytest.raises(ValueError, match=r"sub-14 \(phantom\) and 6 more\."):
            run(write("a", [0.5] * 20), write("b", [0.5] * 4))

    def test_common_compares_the_subjects_that_all_have_and_counts_the_others(
        self, tmp_path: Path, write: Write, run: Callable[..., str]
    ) -> None:
        text = run(
            write("a", SSIM[:6]), write("b", SSIM[2:], first=3, split="external"), common="true"
        )
        content = read_content(tmp_path)
        assert {row["subjects"] for row in content["rows"]} == {4}
        assert {row["mean"] for row in content["differences"]} == {0}
        assert content["evaluations"][1]["left_out"] == {
            "label": "b",
            "subjects": 2,
            "of_subjects": 6,
            "sessions": 2,
            "of_sessions": 6,
        }
        assert "b: split external of phantom, 6 subjects, 6 sessions; left out," in text
        assert "The splits differ" in text

    def test_common_drops_sessions_of_a_subject_that_stays(
        self, tmp_path: Path, write: Write, run: Callable[..., str]
    ) -> None:
        def add_session(rows: pd.DataFrame) -> pd.DataFrame:
            again = rows.assign(session="ses-2", ssim=0.99)
            return pd.concat([rows.assign(session="ses-1"), again])

        run(write("a", session="ses-1"), write("b", change=add_session), common=True)
        content = read_content(tmp_path)
        assert {row["mean"] for row in content["differences"]} == {0}
        left_out = content["evaluations"][1]["left_out"]
        assert (left_out["subjects"], left_out["sessions"]) == (0, 8)

    def test_without_a_common_subject_there_is_nothing_to_compare(
        self, write: Write, run: Callable[..., str]
    ) -> None:
        with pytest.raises(ValueError, match="share no subject"):
            run(write("a", SSIM[:2]), write("b", SSIM[:2], first=3), common="true")

    def test_trivial_rows_that_differ_are_named_with_figure_and_subject(
        self, write: Write, run: Callable[..., str]
    ) -> None:
        def shift(rows: pd.DataFrame) -> pd.DataFrame:
            chosen = (rows["model"] == "copy") & (rows["subject_id"] == "phantom_sub-03")
            rows.loc[chosen & (rows["comparison"] == "t1w"), "psnr"] += 0.01
            return rows

        message = r"phantom_sub-03 \(phantom\): psnr of t1w of the row 'copy' is 23 in a and 23.01"
        with pytest.raises(ValueError, match=message):
            run(write("a"), write("b", change=shift))

    def test_a_trivial_row_that_one_folder_lacks_is_named(
        self, write: Write, run: Callable[..., str]
    ) -> None:
        other = write("b", change=lambda rows: rows[rows["model"] != "copy"])
        with pytest.raises(ValueError, match=r"the row 'copy' is 0.3 in a and absent in b"):
            run(write("a"), other)

    def test_rows_that_were_fitted_to_other_training_data_stand_with_their_evaluation(
        self, tmp_path: Path, write: Write, run: Callable[..., str]
    ) -> None:
        def fit_otherwise(rows: pd.DataFrame) -> pd.DataFrame:
            rows.loc[rows["model"] == "mean", "ssim"] += 0.1
            return rows

        text = run(write("a"), write("b", change=fit_otherwise))
        rows = select(read_content(tmp_path), "rows", comparison="t2w", figure="ssim")
        found = {row["model"]: round(row["mean"], 6) for row in rows if row["kind"] == "trivial"}
        assert found == {"copy": 0.3, "mean (a)": 0.25, "mean (b)": 0.35}
        assert "Fitted to different training data, so once for each evaluation: mean in" in text

    def test_dice_of_other_segmenters_is_said_to_be_that(
        self, write: Write, run: Callable[..., str]
    ) -> None:
        folders = [
            write(name, change=lambda rows, dice=dice: rows.assign(dice=dice))
            for name, dice in (("a", 0.7), ("b", 0.8))
        ]
        with pytest.raises(ValueError, match="of a segmenter that each evaluation trains"):
            run(*folders, figures="dice")

    def test_rounding_of_trivial_rows_is_no_difference(
        self, tmp_path: Path, write: Write, run: Callable[..., str]
    ) -> None:
        def shift(rows: pd.DataFrame) -> pd.DataFrame:
            return rows.assign(ssim=rows["ssim"] + 1e-6)

        run(write("a"), write("b", change=shift))
        assert len(select(read_content(tmp_path), "rows", model="copy")) == 4

    def test_a_model_that_lacks_a_session_in_one_comparison_is_named(
        self, write: Write, run: Callable[..., str]
    ) -> None:
        def drop(rows: pd.DataFrame) -> pd.DataFrame:
            chosen = (rows["comparison"] == "t1w") & (rows["subject_id"] == "phantom_sub-02")
            return rows[~(chosen & (rows["kind"] == "model"))]

        with pytest.raises(ValueError, match=r"metrics.csv: no t1w of 'model' for phantom_sub-02"):
            run(write("a"), write("b", change=drop))


class TestBadFolders:
    @pytest.mark.parametrize("name", ["metrics.csv", "summary.json"])
    def test_a_missing_file_is_named(
        self, write: Write, run: Callable[..., str], name: str
    ) -> None:
        folder = write("a")
        (folder / name).unlink()
        with pytest.raises(FileNotFoundError, match=rf"a/{name}: there is no such file"):
            run(folder, write("b"))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"format_version": 2}, "found format_version 2; expected 1"),
            ({"paired": False}, "without registered pairs"),
            (
                {"change": lambda rows: rows.drop(columns="session")},
                r"metrics.csv: .*lacks session",
            ),
            ({"change": lambda rows: rows[rows["kind"] != "model"]}, "no row of a model"),
            (
                {"change": lambda rows: rows.assign(ssim="high")},
                "metrics.csv: found 'high' in ssim",
            ),
        ],
    )
    def test_what_cannot_be_compared_is_named(
        self, write: Write, run: Callable[..., str], changes: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            run(write("a"), write("b", **changes))

    def test_a_summary_that_is_no_json_is_named(
        self, write: Write, run: Callable[..., str]
    ) -> None:
        folder = write("a")
        (folder / "summary.json").write_text("{")
        with pytest.raises(ValueError, match=r"summary.json: not JSON"):
            run(folder, write("b"))

    def test_a_figure_that_is_no_column_or_has_no_value_is_named(
        self, write: Write, run: Callable[..., str]
    ) -> None:
        folders = [write(name, change=lambda rows: rows.assign(dice=None)) for name in "ab"]
        with pytest.raises(ValueError, match=r"lacks fid; found model, kind"):
            run(*folders, figures="ssim,fid")
        with pytest.raises(ValueError, match="No evaluation has a value of dice"):
            run(*folders, figures="ssim,dice")

    def test_one_folder_is_not_enough(self, write: Write, run: Callable[..., str]) -> None:
        with pytest.raises(ValueError, match="Found 1 evaluation folders; expected 2 or more"):
            run(write("a"))

    @pytest.mark.parametrize("options", [{"seed": "x"}, {"seed": "-1"}, {"figures": ","}])
    def test_bad_options_are_named(self, run: Callable[..., str], options: dict[str, str]) -> None:
        with pytest.raises(ValueError, match="whole number from 0"):
            run(Path("a"), Path("b"), **options)
