"""Intervals that cover what they say, p-values by hand, subjects as the unit and found by name."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scripts.evaluation.statistics import (
    SMALLEST_FOR_P,
    adjust_holm,
    bootstrap_interval,
    compare_models,
    compare_paired,
    summarise_figures,
)

SIMULATIONS = 400
# Differences whose absolute ranks are 1 to 8.
RANKED = np.array([0.03, 0.05, 0.11, 0.13, 0.17, 0.19, 0.23, 0.29])


def make_row(model: str, subject_id: str, ssim: float, **keys: str) -> dict[str, object]:
    kind = "trivial" if model == "copy" else "model"
    plain = {"kind": kind, "comparison": "t2w", "dataset": "phantom", "session": ""}
    return {"model": model, "subject_id": subject_id, "ssim": ssim, **plain, **keys}


def make_table(**models: list[float]) -> pd.DataFrame:
    """Models by name with one value a subject, sub-01 and on."""
    return pd.DataFrame(
        make_row(model, f"sub-{number:02}", value)
        for model, values in models.items()
        for number, value in enumerate(values, start=1)
    )


class TestBootstrap:
    @pytest.mark.parametrize(
        ("law", "mean", "subjects", "coverage"),
        [
            ("standard_normal", 0, 5, 0.92),
            ("standard_normal", 0, 8, 0.94),
            ("standard_normal", 0, 20, 0.95),
            ("standard_exponential", 1, 8, 0.91),
            ("standard_exponential", 1, 40, 0.93),
        ],
    )
    def test_intervals_cover_the_true_mean_as_often_as_the_docstring_says(
        self, law: str, mean: float, subjects: int, coverage: float
    ) -> None:
        covered = 0
        for seed in range(SIMULATIONS):
            values = getattr(np.random.default_rng([seed, subjects]), law)(subjects)
            low, high = bootstrap_interval(values, seed=seed, resamples=1000)
            covered += low <= mean <= high
        fewest, most = stats.binom.ppf([0.001, 0.999], SIMULATIONS, coverage)
        assert fewest <= covered <= most

    def test_for_many_subjects_it_is_the_textbook_interval(self) -> None:
        values = np.random.default_rng(0).normal(10, 2, 400)
        half = 1.96 * values.std(ddof=1) / 20
        found = bootstrap_interval(values, seed=0)
        assert found == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)

    def test_a_higher_level_is_wider_and_a_seed_gives_the_same_again(self) -> None:
        low, high = bootstrap_interval(RANKED, seed=3)
        assert (low, high) == bootstrap_interval(RANKED, seed=3)
        assert (low, high) != bootstrap_interval(RANKED, seed=4)
        wide = bootstrap_interval(RANKED, seed=3, level=0.99)
        assert wide[0] < low < RANKED.mean() < high < wide[1]

    def test_two_subjects_give_no_more_than_their_range(self) -> None:
        assert bootstrap_interval([0.25, 0.75], seed=0) == (0.25, 0.75)

    @pytest.mark.parametrize("values", [[], [0.5], [0.5, math.nan, 0.7], [0.5, math.inf, 0.7]])
    def test_without_two_finite_subjects_there_are_no_bounds(self, values: list[float]) -> None:
        assert np.isnan(bootstrap_interval(values, seed=0)).all()

    @pytest.mark.parametrize("value", [0.1, math.inf])
    def test_equal_values_are_both_bounds(self, value: float) -> None:
        assert bootstrap_interval([value] * 3, seed=0) == (value, value)


class TestWilcoxon:
    def test_eight_subjects_that_agree_give_the_smallest_p_there_is(self) -> None:
        # one of 2**8 choices of signs is as extreme, and one on the other side
        found = compare_paired(0.5 + RANKED, np.full(8, 0.5), seed=0)
        assert found.p == 2 / 2**8
        assert found.mean == pytest.approx(RANKED.mean())
        assert found.subjects == 8
        assert 0 < found.low < found.mean < found.high

    def test_one_subject_of_rank_three_against_the_others(self) -> None:
        # rank sums of 3 or less: none, {1}, {2}, {3}, {1, 2}
        differences = RANKED * [1, 1, -1, 1, 1, 1, 1, 1]
        assert compare_paired(differences, np.zeros(8), seed=0).p == pytest.approx(2 * 5 / 2**8)
        assert compare_paired(np.zeros(8), differences, seed=0).p == pytest.approx(2 * 5 / 2**8)

    def test_a_subject_without_a_difference_cannot_speak_for_one(self) -> None:
        # seven signs are left; the zero takes rank 1, so the others have ranks 2 to 8
        differences = RANKED * [0, 1, 1, 1, 1, 1, 1, 1]
        assert compare_paired(differences, np.zeros(8), seed=0).p == pytest.approx(2 / 2**7)
        # rank sums of 4 or less: none, {2}, {3}, {4}
        differences = RANKED * [0, 1, 1, -1, 1, 1, 1, 1]
        assert compare_paired(differences, np.zeros(8), seed=0).p == pytest.approx(2 * 4 / 2**7)

    def test_ties_are_exact_too_even_if_rounding_hides_them(self) -> None:
        values = np.array([0.3, 0.6, 0.9, 0.4, 0.5, 0.2, 0.1, 0.2])
        others = np.array([0.2, 0.5, 0.8, 0.3, 0.4, 0.4, 0.4, 0.6])  # .3 - .2 is not .6 - .5
        signs = np.array([1, 1, 1, 1, 1, -1, -1, -1])
        ranks = np.array([3, 3, 3, 3, 3, 6, 7, 8])
        sums = [np.dot(choice, ranks) for choice in itertools.product((1, -1), repeat=8)]
        extreme = np.mean(np.abs(sums) >= abs(signs @ ranks))
        assert compare_paired(values, others, seed=0).p == pytest.approx(extreme)

    @pytest.mark.parametrize("subjects", [8, 10, 14])
    def test_it_is_the_library_s_test_with_zeros_and_ties(self, subjects: int) -> None:
        differences = np.random.default_rng(subjects).integers(-2, 4, subjects).astype(float)
        differences[:2] = 0
        expected = stats.wilcoxon(differences, zero_method="pratt").pvalue
        assert compare_paired(differences, np.zeros(subjects), seed=0).p == pytest.approx(expected)

    def test_under_eight_subjects_there_is_no_p(self) -> None:
        assert SMALLEST_FOR_P == 8
        assert compare_paired(RANKED[:7], np.zeros(7), seed=0).p is None

    def test_equal_models_do_not_differ(self) -> None:
        found = compare_paired(RANKED, RANKED, seed=0)
        assert (found.mean, found.low, found.high, found.p) == (0, 0, 0, 1)

    def test_other_numbers_of_subjects_and_nan_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"\(8,\) and \(7,\)"):
            compare_paired(RANKED, RANKED[:7], seed=0)
        with pytest.raises(ValueError, match="not finite"):
            compare_paired([0.5, math.nan], [0.5, 0.5], seed=0)


class TestHolm:
    def test_the_example_of_benjamini_and_hochberg(self) -> None:
        # 15 p-values of a trial (1995, J. R. Statist. Soc. B 57:289, section 4.2), of which
        # methods that bound the family's error reject three at .05
        p_values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
        p_values += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
        by_hand = [0.0015, 0.0056, 0.0247, 0.114, 0.2211, 0.278, 0.278, 0.278, 0.3213]
        adjusted = adjust_holm(p_values)
        assert adjusted == pytest.approx([*by_hand, 1, 1, 1, 1, 1, 1])
        assert sum(p < 0.05 for p in adjusted if p is not None) == 3

    def test_the_order_of_the_comparisons_does_not_matter(self) -> None:
        assert adjust_holm([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])

    def test_comparisons_without_a_p_do_not_count(self) -> None:
        assert adjust_holm([None, 0.02, None, 0.01]) == [None, 0.02, None, 0.02]
        assert adjust_holm([None]) == [None]

    @pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
    def test_what_is_no_probability_is_refused(self, p: float) -> None:
        with pytest.raises(ValueError, match=r"expected numbers from 0 to 1"):
            adjust_holm([0.5, p])


class TestSummary:
    def test_sessions_of_a_subject_are_averaged_first(self) -> None:
        rows = [make_row("a", "sub-01", value, session=f"ses-{value}") for value in (0.1, 0.2, 0.6)]
        rows.append(make_row("a", "sub-02", 0.7))
        (row,) = summarise_figures(pd.DataFrame(rows), ["ssim"], seed=0)
        assert row["mean"] == pytest.approx((0.3 + 0.7) / 2)
        assert row["subjects"] == 2
        assert (row["low"], row["high"]) == bootstrap_interval([0.3, 0.7], seed=0)

    def test_each_row_and_comparison_stands_alone(self) -> None:
        table = pd.concat([make_table(a=[0.2, 0.4], copy=[0.1, 0.1]), make_table(a=[0.8, 0.8])])
        table["comparison"] = ["t2w"] * 4 + ["t1w"] * 2
        found = summarise_figures(table, ["ssim"], seed=0)
        names = ("model", "kind", "comparison", "figure", "mean")
        assert [tuple(row[name] for name in names) for row in found] == [
            ("a", "model", "t2w", "ssim", pytest.approx(0.3)),
            ("copy", "trivial", "t2w", "ssim", 0.1),
            ("a", "model", "t1w", "ssim", 0.8),
        ]
        assert set(found[0]) == {*names, "low", "high", "subjects"}

    def test_subjects_of_one_name_in_two_datasets_are_two(self) -> None:
        rows = [make_row("a", "sub-01", 0.2), make_row("a", "sub-01", 0.6, dataset="other")]
        assert summarise_figures(pd.DataFrame(rows), ["ssim"], seed=0)[0]["subjects"] == 2

    def test_figures_that_are_absent_do_not_count(self) -> None:
        table = make_table(a=[0.2, math.nan, 0.4])
        table["dice"] = math.nan
        (row,) = summarise_figures(table, ["ssim", "dice"], seed=0)
        assert (row["mean"], row["subjects"]) == (pytest.approx(0.3), 2)

    def test_a_session_without_a_name_is_one_however_it_was_read(self) -> None:
        table = make_table(a=[0.2, 0.4], b=[0.2, 0.3])
        table.loc[:1, "session"] = math.nan  # as pandas reads an empty field
        assert [row["subjects"] for row in summarise_figures(table, ["ssim"], seed=0)] == [2, 2]
        (row,) = compare_models(table, ["ssim"], models=["a"], others=["b"], seed=0)
        assert row["mean"] == pytest.approx(0.05)

    def test_a_session_that_is_there_twice_and_a_missing_column_are_named(self) -> None:
        table = make_table(a=[0.2, 0.4])
        with pytest.raises(ValueError, match=r"two rows of one session.*'sub-01'"):
            summarise_figures(pd.concat([table, table]), ["ssim"], seed=0)
        with pytest.raises(ValueError, match=r"lacks session, psnr; found model"):
            summarise_figures(table.drop(columns="session"), ["ssim", "psnr"], seed=0)


class TestModels:
    def test_subjects_are_paired_by_name_not_by_order(self) -> None:
        values = list(0.5 + RANKED)
        table = make_table(a=values, b=values[::-1])
        in_order = compare_models(table, ["ssim"], models=["a"], others=["b"], seed=0)
        table.loc[8:, "subject_id"] = table.loc[8:, "subject_id"].to_numpy()[::-1]
        (by_name,) = compare_models(table, ["ssim"], models=["a"], others=["b"], seed=0)
        assert (by_name["mean"], by_name["low"], by_name["p"]) == (0, 0, 1)
        assert in_order[0]["low"] < 0

    def test_the_difference_is_that_of_the_means_over_sessions(self) -> None:
        values = {"a": [(0.1, "1"), (0.3, "2")], "b": [(0.2, "2"), (0.0, "1")]}
        rows = [
            make_row(model, "sub-01", value, session=session)
            for model, sessions in values.items()
            for value, session in sessions
        ]
        rows += [make_row("a", "sub-02", 0.9), make_row("b", "sub-02", 0.6)]
        (found,) = compare_models(pd.DataFrame(rows), ["ssim"], models=["a"], others=["b"], seed=0)
        assert found == {
            "comparison": "t2w",
            "figure": "ssim",
            "model": "a",
            "other": "b",
            "mean": pytest.approx(0.2),
            "low": pytest.approx(0.1),
            "high": pytest.approx(0.3),
            "p": None,
            "p_holm": None,
            "subjects": 2,
            "least": pytest.approx(0.1),
        }

    def test_a_family_is_one_figure_in_one_comparison(self) -> None:
        base = make_table(a=list(RANKED), b=[0.0] * 8, copy=[-1.0] * 8)
        table = pd.concat([base, base.assign(comparison="t1w")])
        table["psnr"] = table["ssim"]
        found = compare_models(table, ["ssim", "psnr"], models=["a"], others=["b", "copy"], seed=0)
        assert len(found) == 8
        assert {row["p"] for row in found} == {2 / 2**8}
        assert {row["p_holm"] for row in found} == {4 / 2**8}

    def test_no_model_meets_itself_and_no_pair_twice(self) -> None:
        table = make_table(a=[0.1, 0.2], b=[0.2, 0.2], c=[0.3, 0.3])
        names = ["a", "b", "c"]
        found = compare_models(table, ["ssim"], models=names, others=names, seed=0)
        assert [(row["model"], row["other"]) for row in found] == [
            ("a", "b"),
            ("a", "c"),
            ("b", "c"),
        ]

    @pytest.mark.parametrize(("lacking", "having"), [("a", "copy"), ("copy", "a")])
    @pytest.mark.parametrize("dropped", [True, False])
    def test_a_subject_that_one_side_lacks_is_named(
        self, lacking: str, having: str, dropped: bool
    ) -> None:
        table = make_table(a=[0.1, 0.2, 0.3], copy=[0.1, 0.2, 0.3])
        gone = (table["model"] == lacking) & (table["subject_id"] == "sub-02")
        table.loc[gone, "ssim"] = math.nan
        table = table[~gone] if dropped else table
        message = rf"sub-02 \(phantom\): ssim of t2w is there for '{having}', not for '{lacking}'"
        with pytest.raises(ValueError, match=message):
            compare_models(table, ["ssim"], models=["a"], others=["copy"], seed=0)

    def test_a_session_that_one_side_lacks_is_named(self) -> None:
        rows = [make_row("a", "sub-01", 0.5, session=name) for name in ("ses-1", "ses-2")]
        rows.append(make_row("b", "sub-01", 0.5, session="ses-1"))
        with pytest.raises(ValueError, match=r"sub-01 ses-2 \(phantom\)"):
            compare_models(pd.DataFrame(rows), ["ssim"], models=["a"], others=["b"], seed=0)

    def test_what_neither_has_does_not_count_and_what_one_never_has_is_left_out(self) -> None:
        table = make_table(a=[0.1, math.nan, 0.3], b=[0.0, math.nan, 0.0])
        table["drop"] = [0.1, 0.1, 0.1, math.nan, math.nan, math.nan]
        (row,) = compare_models(table, ["ssim", "drop"], models=["a"], others=["b"], seed=0)
        assert (row["figure"], row["subjects"]) == ("ssim", 2)

    def test_an_infinite_figure_and_an_unknown_model_are_named(self) -> None:
        table = make_table(a=[0.1, math.inf], b=[0.1, 0.2])
        with pytest.raises(ValueError, match=r"sub-02 \(phantom\): ssim of 'a' is infinite"):
            compare_models(table, ["ssim"], models=["a"], others=["b"], seed=0)
        with pytest.raises(ValueError, match="no model c; found a, b"):
            compare_models(table, ["ssim"], models=["a"], others=["c"], seed=0)

    def test_the_callers_table_stays_as_it_is(self) -> None:
        table = make_table(a=[0.1, 0.2], b=[0.2, 0.1])
        before = table.copy()
        compare_models(table, ["ssim"], models=["a"], others=["b"], seed=0)
        summarise_figures(table, ["ssim"], seed=0)
        pd.testing.assert_frame_equal(table, before)
